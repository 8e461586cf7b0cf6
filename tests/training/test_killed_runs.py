"""A run that is killed again and again, at any moment, ends in the weights of one that never was."""

import os
import random
import signal
import time

import pytest
import torch
from test_loop import rows, same, toy_run

from clover.training.checkpoint import saved_states

VALUES = [1.0] * 400


def child(folder, seed):
    """Forked: the run in a process of its own, going on from what is there; returns its number."""
    number = os.fork()
    if number:
        return number
    try:
        toy_run(folder, VALUES, save_every=1 + seed % 3, resume=bool(saved_states(folder / "states")))
    except BaseException:
        os._exit(1)
    os._exit(0)


def killed_until_it_ends(folder, instants):
    """How often it was killed before it came to its end."""
    for num_kills in range(1000):
        number = child(folder, num_kills)
        time.sleep(instants.uniform(0.0, 0.3))
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
        kills, lives = kills + killed_until_it_ends(folder, instants), lives + 1
        assert same(toy_run(folder, VALUES, resume=True), whole)
        assert [row["step"] for row in rows(folder)] == list(range(len(VALUES)))
