"""A run that is killed again and again, at any moment, ends in the weights of one that never was."""

import json
import os
import random
import signal
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_loop import rows, same, toy_run

from clover.cli import main
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.data.transforms import TransformConfig
from clover.modeling.sizes import tiny
from clover.recipes import pretrain
from clover.training.checkpoint import saved_states

VALUES = [1.0] * 400


def child(run):
    """Forked: a run in a process of its own, going on from what is there; returns its number."""
    number = os.fork()
    if number:
        return number
    try:
        run()
    except BaseException:
        os._exit(1)
    os._exit(0)


def killed_until_it_ends(run, draw_seconds):
    """How often it was killed before it came to its end.

    What it is left for grows from kill to kill: on a machine that has become slow it would come no further for ever.
    """
    for num_kills in range(200):
        number = child(lambda num_kills=num_kills: run(num_kills))
        time.sleep(draw_seconds() * 1.03**num_kills)
        os.kill(number, signal.SIGKILL)
        _, status = os.waitpid(number, 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return num_kills
    raise AssertionError("it never came to its end")


@pytest.mark.slow
def test_killed_at_random_instants(tmp_path):
    torch.set_num_threads(1)  # what is forked must not wait for threads that stayed behind
    instants = random.Random(0)
    whole = toy_run(tmp_path / "whole", VALUES)
    kills = lives = 0
    while kills < 20:
        folder = tmp_path / f"killed{lives}"

        def run(number, folder=folder):
            toy_run(folder, VALUES, save_every=1 + number % 3, resume=bool(saved_states(folder / "states")))

        kills, lives = kills + killed_until_it_ends(run, lambda: instants.uniform(0.0, 0.3)), lives + 1
        assert same(toy_run(folder, VALUES, resume=True), whole)
        assert [row["step"] for row in rows(folder)] == list(range(len(VALUES)))


def shrunk(corpus):
    """The shipped recipe with its three stages and its whole objective, in seconds; with dropout."""
    plain = pretrain.shapes()
    stages = {
        name: replace(getattr(plain, name), num_steps=8, batch_size=8)
        for name in ("video_warm_start", "text_warm_start", "training")
    }
    stages["training"] = replace(stages["training"], micro_batch_size=3)
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    return replace(
        plain,
        model=replace(tiny(vocabulary_size=1), initial_weights="fan_in", fused_dropout=0.1),
        data=replace(plain.data, corpus=str(corpus), num_kept_frames=8),
        inputs=replace(plain.inputs, frames=frames),
        **stages,
    )


def what_is_left(out):
    """Weights, and every logged number but times."""
    logs = [out / stage / "log.jsonl" for stage in ("video_warm_start", "text_warm_start", "pretraining")]
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    plain = [{name: value for name, value in line.items() if not name.startswith("time_")} for line in lines]
    return load_file(out / "checkpoint" / "model.safetensors"), plain


@pytest.mark.slow
def test_the_recipe_killed_at_random_instants(tmp_path, monkeypatch):
    """`clover pretrain shapes --resume auto`, now with worker processes and now without, until it ends."""
    torch.set_num_threads(1)
    write_corpus(tmp_path / "corpus", ShapesConfig(num_videos=32, size=64), num_processes=1)
    monkeypatch.setitem(pretrain.RECIPES, "shapes", lambda: shrunk(tmp_path / "corpus"))

    def pretrained(out, *, num_workers=0, save_every=200):
        options = {"out": out, "num-workers": num_workers, "save-every": save_every, "resume": "auto"}
        status = main(["pretrain", "shapes", *(f"--{name}={value}" for name, value in options.items())])
        assert status in (0, None)

    pretrained(tmp_path / "frames")  # they are decoded once
    start = time.perf_counter()
    pretrained(tmp_path / "whole")
    seconds = time.perf_counter() - start
    weights, logged = what_is_left(tmp_path / "whole")
    instants = random.Random(1)
    kills = lives = 0
    while kills < 20:
        out = tmp_path / f"killed{lives}"

        def run(number, out=out):
            pretrained(out, num_workers=2 * (number % 2), save_every=1 + number % 3)

        kills, lives = kills + killed_until_it_ends(run, lambda: instants.uniform(0.1, 0.6) * seconds), lives + 1
        found = what_is_left(out)
        assert found[0].keys() == weights.keys() and same(found[0], weights)
        assert found[1] == logged
