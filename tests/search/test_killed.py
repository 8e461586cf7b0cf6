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
from clover.search.index import Moment, create_index, open_index
from clover.search.milvus_server import Server

BATCH = 50
WRITES = {
    "insert",
    "upsert",
    "delete",
    "create_collection",
    "create_index",
    "drop_index",
    "release_collection",
    "flush",
}
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


def check(place, num_kept=5):
    """Every state has the last batches, whole; returns the number of the next."""
    index = open_index(place)
    assert index.verify().problems == []
    number = int(index.details["next"])
    assert index.videos() == [f"{batch}.mp4" for batch in range(max(0, number - num_kept), number)]
    assert len(index) == BATCH * min(number, num_kept)
    for batch in range(max(0, number - num_kept), number):
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
        while len(numbers) <= 60 or len(set(numbers)) <= 20:  # it does write in between
            parent.stdin.write(f"{tmp_path / 'l'}\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            time.sleep(instants.uniform(0.0, 0.2) * 1.02 ** len(numbers))  # a slow machine comes to write as well
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "gone\n"
            numbers.append(check(tmp_path / "l"))
        parent.stdin.close()
    assert numbers == sorted(numbers)


class Killed(BaseException):
    """In place of a SIGKILL between two requests."""


def changed(place, monkeypatch, num_requests):
    """Change a library and be killed after some requests that write; says whether that was before the end."""
    index = open_index(place)
    number = int(index.details["next"])
    left, call = num_requests, Server.call

    def counted(self, method, *arguments, **options):
        nonlocal left
        if method in WRITES:
            if not left:
                raise Killed
            left -= 1
        return call(self, method, *arguments, **options)

    index.details["next"] = number + 1
    moments = [
        Moment(video=f"{number}.mp4", start_seconds=float(i), end_seconds=i + 1.0, signature="") for i in range(BATCH)
    ]
    index.add(moments, np.random.default_rng(number).normal(size=(BATCH, 6)))
    index.remove(f"{number - 2}.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(Server, "call", counted)
        try:
            index.compact() if number % 3 == 0 else index.save()
        except Killed:
            return True
    return False


@pytest.mark.slow
def test_killed_between_any_two_requests_to_a_server(milvus_server, monkeypatch):
    """Each request is one transaction of the server, so that these are all the instants that there are."""
    place = f"milvus://{milvus_server}/killed_{os.getpid()}"
    index = create_index(place, width=6, fingerprint="f", details={"next": 0})
    index.save()
    num_kills = num_ends = num_requests = 0
    while num_ends < 3:
        is_killed = changed(place, monkeypatch, num_requests)
        num_kills, num_ends = num_kills + is_killed, num_ends + (not is_killed)
        num_requests = num_requests + 1 if is_killed else 0
        check(place, num_kept=2)
    assert num_kills >= 10
