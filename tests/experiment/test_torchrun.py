"""Runs started by torchrun as users start them: asked to stop, they save; one process goes on.

Some videos are broken, among them all that the second of two processes is to read for the second step.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from clover.data.order import Order
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.experiment.pieces import captioned_videos
from clover.training.checkpoint import best_state

NUM_STEPS, BATCH_SIZE = 12, 6
SETTINGS = {
    "video-warm-start.num-steps": 1,
    "video-warm-start.batch-size": 4,
    "text-warm-start.num-steps": 1,
    "text-warm-start.batch-size": 4,
    "batch-size": BATCH_SIZE,
    "micro-batch-size": 2,
    "data.num-kept-frames": 0,
    "save-every": 2,
    "num-workers": 1,
    "validation.every": 4,
    "keep.best-by": "validation_recall_at_10",
}
OPTIONS = [f"--{name}={value}" for name, value in SETTINGS.items()]


def environment():
    """With patience for a busy machine: after a SIGTERM torchrun kills in 30 seconds what has not saved and ended."""
    patience = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "300"}
    return os.environ | patience | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def rows(out):
    path = out / "pretraining" / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def steps_of(out):
    return sum("step" in row for row in rows(out))


def arguments(corpus, out, num_steps, *more):
    command = ["clover", "pretrain", "shapes", "--data.corpus", str(corpus), "--out", str(out), *OPTIONS]
    return ["-m", *command, "--training.num-steps", str(num_steps), *more]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "corpus"
    write_corpus(folder, ShapesConfig(num_videos=70, size=64))
    for name in broken(folder):
        Path(name).write_bytes(b"no video")
    return folder


def drawn(corpus, step):
    """The videos of a step of pre-training."""
    videos = captioned_videos(corpus, "train")
    order = Order([len(videos)], (), batch_size=BATCH_SIZE, seed=0)
    return [videos[row].name for row in order.draw(step).rows]


def broken(corpus):
    return {*drawn(corpus, 1)[BATCH_SIZE // 2 :], *drawn(corpus, 2)[::3]}


def assert_listed(corpus, out):
    """Every broken video that was drawn, once, with the step and the reason."""
    listed = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert {row["path"] for row in listed} == broken(corpus)
    assert len({row["path"] for row in listed}) == len(listed)
    assert all("is not a video" in row["reason"] for row in listed)


@pytest.mark.slow
def test_asked_to_stop_all_save_and_one_goes_on(corpus, tmp_path):
    """Weights shared out over two processes, then whole on one."""
    out, num_steps = tmp_path / "run", NUM_STEPS
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.Popen(
        [*torchrun, *arguments(corpus, out, num_steps, "--parallel", "fsdp")],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    start = time.monotonic()
    while run.poll() is None and steps_of(out) < 5:
        assert time.monotonic() - start < 600, "it never took five steps"
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    said = run.communicate(timeout=600)[1]
    assert "asked to stop; the state after" in said, said
    assert not (out / "checkpoint").exists()
    num_done = steps_of(out)
    assert 5 <= num_done < num_steps
    done = subprocess.run(
        [sys.executable, *arguments(corpus, out, num_steps, "--resume", "auto", "--parallel", "ddp")],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"going on at step {num_done}" in done.stderr
    assert [row["step"] for row in rows(out) if "step" in row] == list(range(num_steps))
    notes = [row for row in rows(out) if "num_steps" in row]
    assert [row["num_steps"] for row in notes] == [4, 8, 12]
    best = max(notes, key=lambda row: row["validation_recall_at_10"])["num_steps"]
    assert best_state(out / "pretraining" / "states", "validation_recall_at_10").name == f"step-{best:08d}"
    assert_listed(corpus, out)
    assert all(weight.isfinite().all() for weight in load_file(out / "checkpoint" / "model.safetensors").values())
