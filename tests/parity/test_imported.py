"""The golden recognizers again, their weights now through a file as the authors' code writes it and `clover import`."""

import numpy as np
import pytest
import recognizers
import torch
from networks import channels_first, channels_last

import golden
from clover.experiment.importing import VideoOptions, import_encoders
from clover.experiment.official import CloverOptions, import_clover
from clover.modeling.initialise import initialise
from clover.modeling.video_swin import VideoEncoder
from clover.modeling.weights import load_strictly

WHOLE = [path for path in golden.folder().glob("*.safetensors") if path.stem.startswith(("pretrain", "finetune"))]
VIDEO = [path for path in golden.folder().glob("swin_*.safetensors") if "tables" not in path.stem]
TASKS = {
    "pretrain": "pre-training",
    "finetune_retrieval": "retrieval",
    "finetune_mcqa": "multiple-choice",
    "finetune_oeqa": "open-answers",
    "finetune_fib": "fill-in-the-blank",
}


def write_vocabulary(folder, size):
    words = [f"word{number}" for number in range(size)]
    for place, word in {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}.items():
        words[place] = word
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


@pytest.mark.parametrize("path", WHOLE, ids=[path.stem for path in WHOLE])
def test_an_imported_official_clover_gives_the_golden_numbers(path, tmp_path, monkeypatch):
    case = golden.Golden.load(path)
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    best = {"best_score": np.float64(0.386), "best_ckpt": "best_recall_1.pth"}  # as mmcv's evaluation leaves it
    content = {"meta": {"epoch": 3, "iter": 7, "hook_msgs": best}, "state_dict": case.weights(), "optimizer": optimizer}
    torch.save(content, tmp_path / "official.pth")
    qa = case.config["model"].get("qa_head") or {}
    num_answers = qa.get("num_labels") or 0
    if num_answers and "fib" not in path.stem:
        (tmp_path / "answers.txt").write_text("\n".join(f"answer {number}" for number in range(num_answers)))
    elif num_answers:
        (tmp_path / "answers.txt").write_text("\n".join(f"word {number}" for number in range(num_answers)))
    options = CloverOptions(
        tokenizer=str(write_vocabulary(tmp_path, case.config["bert"]["vocab_size"])),
        answers=str(tmp_path / "answers.txt") if (tmp_path / "answers.txt").exists() else "",
        num_heads=case.config["bert"]["num_attention_heads"],
        pairing="first_release" if "aug2022" in path.stem else "paper",
    )
    clover, told = import_clover(str(tmp_path / "official.pth"), options)
    task = next(task for stem, task in TASKS.items() if path.stem.startswith(stem))
    assert told[0].startswith(f"official Clover, {task}: ")
    assert ("fresh" in "".join(told)) == (task != "pre-training")
    assert clover.config.model.pixels.channel_order == "bgr"
    monkeypatch.setattr(recognizers, "whole_model", lambda *_, **__: clover.network)
    kind = "pretrain" if path.stem.startswith("pretrain") else "finetune"
    getattr(recognizers, kind)(case)


@pytest.mark.parametrize("path", VIDEO, ids=[path.stem for path in VIDEO])
@torch.no_grad()
def test_an_imported_video_swin_gives_the_golden_features(path, tmp_path):
    case = golden.Golden.load(path)
    state = case.weights("backbone.") | {
        "cls_head.fc_cls.weight": torch.zeros(4, 64),
        "cls_head.fc_cls.bias": torch.zeros(4),
    }
    has_mask = "in.v_token_mask" in case.tensors
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "swin.pth")
    encoders, _ = import_encoders(str(tmp_path / "swin.pth"), "", options=VideoOptions())
    assert encoders.config.video.window == (8, 7, 7)
    encoder = VideoEncoder(encoders.config.video).eval()
    initialise(encoder, seed=0)
    bare = {name.removeprefix("video_encoder."): value for name, value in encoders.state.items()}
    load_strictly(encoder, bare, source="imported", may_lack="" if has_mask else "mask_token")
    inputs = case.group("in.")
    cells = inputs["v_token_mask"].flatten(0, 1).bool() if has_mask else None
    features = channels_first(encoder(channels_last(inputs["imgs"]), cells))
    expected = case.tensors["out.features"]
    assert (features - expected).abs().max() <= golden.TOLERANCE * expected.abs().max()
