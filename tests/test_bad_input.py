"""What people give by mistake, to the commands: one line, an exit status, nothing half-written."""

import io
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from clover.checkpoints import CloverConfig, InputConfig
from clover.cli import main
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video_writer import write_video
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model that was never trained, with an answer head."""
    tokenizer = Tokenizer.train(["a red ball moves left", "what color is the ball?"], 100)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), heads=HeadConfig(num_answers=3))
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=16)
    config = CloverConfig(model=model, inputs=inputs, answers=("red", "blue", "yes"))
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    Clover(new_model(model, seed=0), tokenizer, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (24, 48, 64, 3), dtype=np.uint8)
    return write_video(tmp_path_factory.mktemp("media") / "clip.mp4", images)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "corpus"
    write_corpus(folder, ShapesConfig(num_videos=20, size=64), num_processes=1)
    return folder


def run(*arguments):
    """Exit status, output and error lines of a command."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        status = main([str(argument) for argument in arguments])
    return status, output.getvalue(), errors.getvalue().splitlines()


def no_traces(folder):
    return [path for path in folder.rglob("*") if ".part" in path.name or ".old" in path.name] == []


def sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


BROKEN = {
    "truncated.mp4": (lambda path, whole: path.write_bytes(whole[: len(whole) // 3]), "not a video or image"),
    "zero.mp4": (lambda path, whole: path.write_bytes(b""), "is empty"),
    "letter.mp4": (lambda path, whole: path.write_text("dear all"), "not a video or image"),
    "sound.mp4": (lambda path, whole: sound_only(path), "has only sound"),
    "wide.png": (lambda path, whole: Image.new("RGB", (20_000, 2)).save(path), "is too large"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_cannot_be_read(name, checkpoint, video, tmp_path):
    make, reason = BROKEN[name]
    path = tmp_path / name
    make(path, video.read_bytes())
    status, _, errors = run("ask", checkpoint, path, "what?")
    assert (status, len(errors)) == (2, 1)
    assert name in errors[0]
    assert reason in errors[0]
    library = tmp_path / "library"
    status, output, errors = run("index", path, "--checkpoint", checkpoint, "--out", library)
    assert status == 2
    assert reason in output
    assert errors[-1] == f"clover: none of 1 files can be read; {library} was not made"
    assert not library.exists()
    status, output, _ = run("index", path, video, "--checkpoint", checkpoint, "--out", library)
    assert (status, reason in output) == (0, True)
    assert "1 added" in output


def test_a_long_text_is_cut_and_said_so(checkpoint, video, tmp_path):
    run("index", video, "--checkpoint", checkpoint, "--out", tmp_path / "library")
    long = "ball " * 10_000
    for arguments in (("search", tmp_path / "library", long), ("ask", checkpoint, video, long)):
        status, output, errors = run(*arguments)
        assert status == 0
        assert output
        assert errors == ["clover: the text is long; only its first 14 word pieces are read"]


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_blank_texts(text, checkpoint, video):
    assert run("ask", checkpoint, video, text)[::2] == (2, ["clover: the question is blank; ask something"])
    assert run("search", "library", text)[::2] == (2, ["clover: the query is blank; say what to look for"])


@pytest.mark.parametrize("number", ["0", "-3"])
def test_no_results_are_no_question(number, checkpoint, video):
    for arguments in (("ask", checkpoint, video, "what?"), ("search", "library", "a ball")):
        status, _, errors = run(*arguments, "-k", number)
        assert (status, len(errors)) == (2, 1)
        assert "ask for at least 1" in errors[0]


def test_a_folder_without_media(checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, errors = run("index", tmp_path / "empty", "--checkpoint", checkpoint, "--out", tmp_path / "library")
    assert (status, errors) == (2, [f"clover: there are no videos or images in {tmp_path / 'empty'}"])


def writers(checkpoint, corpus, video, out):
    return {
        "corpus": ("corpus", "shapes", out, "--num-videos", "3"),
        "index": ("index", video, "--checkpoint", checkpoint, "--out", out),
        "pretrain": ("pretrain", "shapes", "--data.corpus", corpus, "--out", out),
        "finetune": ("finetune", "shapes-questions", "--checkpoint", checkpoint, "--data.corpus", corpus, "--out", out),
        "demo": ("demo", "--quick", "--out", out),
    }


@pytest.mark.parametrize("command", ["corpus", "index", "pretrain", "finetune", "demo"])
def test_a_place_that_cannot_be_written(command, checkpoint, corpus, video, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    status, _, errors = run(*writers(checkpoint, corpus, video, out)[command])
    assert status == 2
    assert errors[-1].startswith(f"clover: cannot write {out}")
    assert "choose a writable place" in errors[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "most_bytes"), [("corpus", 2000), ("index", 100), ("finetune", 20_000)])
def test_a_disk_that_is_full_during_a_write(command, most_bytes, checkpoint, corpus, video, tmp_path):
    arguments = writers(checkpoint, corpus, video, tmp_path / "out")[command]
    done = subprocess.run(
        [sys.executable, "-m", "clover", *map(str, arguments)],
        capture_output=True,
        text=True,
        # or Python would leave its own compiled modules cut short, for every later run
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert last.startswith("clover: cannot write")
    assert "File too large" in last
    assert "Traceback" not in done.stderr
    assert no_traces(tmp_path)


def test_the_demo_never_touches_a_folder_of_the_users(tmp_path):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "book.txt").write_text("mine")
    status, _, errors = run("demo", "--quick", "--out", tmp_path)
    assert status == 2
    assert errors[-1].startswith(f"clover: {tmp_path / 'library'} is in the way")
    assert [path.name for path in tmp_path.iterdir()] == ["library"]


def test_names_in_brackets_are_printed_whole(checkpoint, video, tmp_path):
    path = tmp_path / "clip [dQw4w9WgXcQ] [" / "b].mp4"
    path.parent.mkdir()
    path.write_bytes(video.read_bytes())
    run("index", path, "--checkpoint", checkpoint, "--out", tmp_path / "library")
    status, output, errors = run("search", tmp_path / "library", "ball")
    assert (status, errors) == (0, [])
    assert output.splitlines()[1].endswith(str(path))


def test_a_run_is_not_overwritten_by_mistake(checkpoint, corpus, video, tmp_path):
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    for command in ("pretrain", "finetune"):
        status, _, errors = run(*writers(checkpoint, corpus, video, tmp_path / "run")[command])
        assert status == 2
        assert "holds a run already; go on with --resume auto, start over with --overwrite" in errors[-1]


def _change_width(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"embedding_width": 32', '"embedding_width": 48'))


def test_a_checkpoint_of_another_shape(checkpoint, video, tmp_path):
    tmp_path.joinpath("c").mkdir()
    for path in checkpoint.iterdir():
        (tmp_path / "c" / path.name).write_bytes(path.read_bytes())
    _change_width(tmp_path / "c")
    status, _, errors = run("ask", tmp_path / "c", video, "what?")
    assert (status, len(errors)) == (2, 1)
    assert "does not fit this model" in errors[0]


@pytest.mark.slow
def test_ctrl_c_while_videos_are_written_by_all_processes(tmp_path):
    """As a terminal does it: the signal goes to the command and to all its workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clover", "corpus", "shapes", str(tmp_path / "c"), "--num-videos", "2000"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs tests in the background ignores it
    )
    while process.poll() is None and len(list(tmp_path.rglob("0*.mp4"))) < 20:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "clover: interrupted; what was finished is kept"
    assert "Traceback" not in errors
    assert no_traces(tmp_path)
