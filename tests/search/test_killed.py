"""SIGKILL at any instant leaves the library as it was before a save, or as it is after it."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from clover.search.folder_index import FolderIndex

BATCH = 50
WRITER = """
import os, signal, sys
import numpy as np
from pathlib import Path
from clover.search.folder_index import FolderIndex
from clover.search.index import Moment

def write(folder):
    index = FolderIndex.open(Path(folder))
    while True:
        number = int(index.details["next"])
        index.details["next"] = number + 1
        moments = [Moment(video=f"{number}.mp4", start_seconds=i, end_seconds=i + 1, signature="") for i in range(50)]
        index.add(moments, np.random.default_rng(number).normal(size=(50, 6)))
        index.remove(f"{number - 5}.mp4")
        index.compact() if number % 3 == 0 else index.save()

for line in sys.stdin:  # a child each, so that a life costs no start of Python
    child = os.fork()
    if not child:
        write(line.strip())
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


def check(folder):
    """Every state has the last five batches, whole; returns the number of the next."""
    index = FolderIndex.open(folder)
    assert index.verify().problems == []
    number = int(index.details["next"])
    assert index.videos() == [f"{batch}.mp4" for batch in range(max(0, number - 5), number)]
    assert len(index) == BATCH * min(number, 5)
    for batch in range(max(0, number - 5), number):
        vectors = np.random.default_rng(batch).normal(size=(BATCH, 6))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(index.vectors_of(index.moments_of(f"{batch}.mp4")), vectors / lengths, atol=1e-6)
    return number


@pytest.mark.slow
def test_killed_at_random_instants(tmp_path):
    index = FolderIndex.create(tmp_path / "l", width=6, fingerprint="f", details={"next": 0})
    index.save()
    instants = random.Random(0)
    command = [sys.executable, "-W", "ignore", "-c", WRITER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        numbers = [0]
        for _ in range(60):
            parent.stdin.write(f"{tmp_path / 'l'}\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            time.sleep(instants.uniform(0.0, 0.2))
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "gone\n"
            numbers.append(check(tmp_path / "l"))
        parent.stdin.close()
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 20  # it did write in between
