"""What `clover export --to onnx` leaves: one folder is made, and looked at from all sides."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from made_checkpoint import TEXTS

from clover.cli import main
from clover.errors import ExportError
from clover.export.checking import check, made_clips
from clover.export.folder import export_onnx
from clover.export.graphs import graphs_of
from clover.export.onnx_files import OnnxModel
from clover.pipeline import Clover

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(clover, tmp_path_factory):
    place = tmp_path_factory.mktemp("exported")
    clover.save_pretrained(place / "checkpoint")
    assert main(["export", str(place / "checkpoint"), "--to", "onnx", str(place / "onnx"), "--int8", "--debug"]) == 0
    return place / "onnx"


def test_the_folder_is_complete_and_tells_how_to_feed_it(folder, clover):
    names = {"config.json", "tokenizer.json", "README.md"}
    for graph in ("video", "text", "fusion"):
        names |= {f"{graph}.onnx", f"{graph}.int8.onnx"}
    assert {path.name for path in folder.iterdir()} == names
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == "clover-onnx-1"
    assert config["fingerprint"] == clover.fingerprint
    assert config["answers"] == ["red", "blue", "yes"]
    assert config["preprocessing"]["frames"]["size"] == 32
    assert config["preprocessing"]["text"]["first"] == clover.tokenizer.cls_id
    assert config["graphs"]["video"]["inputs"]["clip"]["shape"] == ["batch", "frames", 32, 32, 3]
    assert config["graphs"]["fusion"]["inputs"]["video_tokens"]["shape"][1] == "cells <= 4"
    assert max(config["largest_differences"].values()) < 1e-5
    assert config["int8"]["text_to_video"] == "not measured"


def test_sizes_that_are_free_carry_their_names(folder):
    session = onnxruntime.InferenceSession(str(folder / "video.onnx"))
    assert session.get_inputs()[0].shape == ["batch", "frames", 32, 32, 3]
    assert session.get_outputs()[1].shape == ["batch", 32]
    session = onnxruntime.InferenceSession(str(folder / "text.onnx"))
    assert [one.shape for one in session.get_inputs()] == [["batch", "length"]] * 2


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (2, 3), (5, 8), (1, 31)])
@torch.no_grad()
def test_any_number_of_clips_and_frames(folder, clover, batch, frames):
    clips = np.random.default_rng(batch).integers(0, 256, (batch, frames, 32, 32, 3), dtype=np.uint8)
    tokens, embedding = OnnxModel(folder).run("video", {"clip": clips})
    np.testing.assert_allclose(tokens, clover.video_tokens(list(clips)).numpy(), atol=1e-5)
    np.testing.assert_allclose(embedding, clover.embed_clips(list(clips)).numpy(), atol=1e-5)


def outputs_of(model, clover, clips):
    """All outputs of a chain of graphs, by name."""
    token_ids, is_token = (value.numpy() for value in clover.encode_words(TEXTS))
    video = model.run("video", {"clip": clips})
    text = model.run("text", {"token_ids": token_ids, "is_token": is_token})
    fused = model.run("fusion", {"video_tokens": video[0], "text_tokens": text[0], "is_token": is_token})
    names = [name for graph in graphs_of(clover) for name in graph.outputs]
    return dict(zip(names, [*video, *text, *fused], strict=True))


def test_graphs_in_8_bits_compute_nearly_the_same(folder, clover):
    clips = np.stack(made_clips(clover, len(TEXTS)))
    plain, coarse = (outputs_of(OnnxModel(folder, suffix=suffix), clover, clips) for suffix in ("", ".int8"))
    assert plain.keys() == coarse.keys() >= {"video_embedding", "text_embedding", "fused_for_text", "choice_score"}
    for name, exact in plain.items():
        assert not np.array_equal(exact, coarse[name]), f"{name}: nothing was rounded"
    for name in ("video_embedding", "text_embedding", "fused_for_video", "fused_for_text"):
        cosines = (plain[name] * coarse[name]).sum(axis=1)
        assert cosines.min() > 0.999, name
    for name in ("video_tokens", "text_tokens", "answer_scores", "choice_score"):
        rounded = np.linalg.norm(coarse[name] - plain[name]) / np.linalg.norm(plain[name])
        assert rounded < 0.1, name
    told = json.loads((folder / "config.json").read_text())["int8"]
    assert 0.999 < min(told["lowest_video_cosine"], told["lowest_text_cosine"]) < 1
    assert told["bytes_after"] == sum(path.stat().st_size for path in folder.glob("*.int8.onnx"))


def test_heads_answer_as_the_checkpoint_does(folder, clover, video):
    model = OnnxModel(folder)
    (tokens, _) = model.run("video", {"clip": clover.clip(video)[None]})
    token_ids, is_token = (value.numpy() for value in clover.encode_words([TEXTS[2]]))
    text, _ = model.run("text", {"token_ids": token_ids, "is_token": is_token})
    fused = model.run("fusion", {"video_tokens": tokens, "text_tokens": text, "is_token": is_token})
    own = clover.answer_probabilities(clover.video_tokens([clover.clip(video)]), [TEXTS[2]])
    np.testing.assert_allclose(torch.from_numpy(fused[2]).softmax(dim=-1), own, atol=1e-5)
    choice = clover.choice_scores(clover.video_tokens([clover.clip(video)]), [[TEXTS[2]]])
    np.testing.assert_allclose(fused[3], choice[0], atol=1e-5)


def test_the_example_of_the_readme_runs_as_it_stands(folder, clover, video, tmp_path):
    place = shutil.copytree(folder, tmp_path / "onnx")
    shutil.copy(video, place / "clip.mp4")
    code = re.search(r"```python\n(.*?)```", (place / "README.md").read_text(), re.DOTALL)[1]
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", _WITHOUT_CLOVER, str(tmp_path / "example.py"), *sys.path],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    shown = [float(word) for word in re.findall(r"-?\d\.\d+", done.stdout.splitlines()[0])]
    own = (clover.encode_text(["a red ball moves left", "a green star spins"]) @ clover.encode_video(video)).tolist()
    assert shown == pytest.approx(own, abs=0.02), "frames are resized by another library there"


_WITHOUT_CLOVER = """
import runpy, sys
sys.path += [path for path in sys.argv[2:] if "site-packages" in path]
class NoClover:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("clover", "torch"):
            raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, NoClover())
runpy.run_path(sys.argv[1])
"""


def test_a_graph_of_other_weights_is_found_out(folder, clover):
    other = Clover(clover.network, clover.tokenizer, clover.config)
    run = OnnxModel(folder).run

    def shifted(name, inputs):
        outputs = run(name, inputs)
        return [outputs[0], outputs[1] + 2e-4, *outputs[2:]] if name == "text" else outputs

    assert check(other, graphs_of(other), run, made_clips(other, 2)).keys() >= {"video_tokens", "choice_score"}
    with pytest.raises(ExportError, match=r"the exported text graph is wrong by 2\.\de-04 in text_embedding"):
        check(other, graphs_of(other), shifted, ())


def test_nothing_is_left_when_the_check_fails(clover, tmp_path, monkeypatch):
    monkeypatch.setattr("clover.export.folder.write_onnx", lambda graph, path: path.write_bytes(b""))
    monkeypatch.setattr("clover.export.folder.OnnxModel", _Wrong)
    with pytest.raises(ExportError, match="video graph is wrong by inf in video_tokens"):
        export_onnx(clover, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


class _Wrong:
    def __init__(self, folder):
        assert (folder / "video.onnx").is_file()

    def run(self, name, inputs):
        return [np.zeros(1), np.zeros(1)]
