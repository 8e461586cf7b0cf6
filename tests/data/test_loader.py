"""Batches are the same for any number of workers, processes and starts; a worker that dies says what it was at."""

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from clover.data.collators import Batch, read_clips
from clover.data.loader import Loader
from clover.data.order import Mixture
from clover.data.workers import note_reading
from clover.errors import ConfigError, DataError, MediaError, TrainingError


@dataclass(frozen=True, kw_only=True)
class Drawn(Batch):
    values: torch.Tensor
    noise: torch.Tensor


def collate(items, generator):
    return Drawn(
        names=tuple(map(str, items)),
        values=torch.tensor(items),
        noise=torch.from_numpy(generator.random(len(items))),
    )


def loader(items=range(50), make_batch=collate, **settings):
    return Loader(**{"items": items, "make_batch": make_batch, "batch_size": 8, "seed": 5, **settings})


def seen(batches):
    return [(batch.names, batch.noise.tolist()) for batch in batches]


def test_the_batch_of_a_step_is_drawn_as_it_always_was():
    order = np.random.default_rng([5, 1, 1]).permutation(50)
    batch = loader().batch(7)  # the second batch of the second pass
    assert batch.values.tolist() == order[8:16].tolist()
    assert batch.noise.tolist() == np.random.default_rng([5, 2, 7]).random(8).tolist()


MIXED = Mixture(sources=(range(50), range(100, 133)), weights=(2.0, 1.0))


@pytest.mark.parametrize("items", [range(50), MIXED], ids=["one source", "mixed"])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_and_starts_change_nothing(items, num_workers):
    plain = loader(items)
    expected = seen(plain.batch(step) for step in range(17))
    assert seen(plain.batches(0, 17)) == expected
    assert seen(loader(items, num_workers=num_workers).batches(0, 17)) == expected
    # in the middle of an epoch, with another number of workers
    assert seen(loader(items, num_workers=num_workers).batches(10, 17)) == expected[10:]
    assert seen(plain.batches(10, 17)) == expected[10:]


@pytest.mark.parametrize("num_ranks", [2, 3, 8])
def test_processes_share_the_batch_of_one(num_ranks):
    whole = loader().batch(3)
    shares = [loader(rank=rank, num_ranks=num_ranks).batch(3) for rank in range(num_ranks)]
    assert torch.equal(torch.cat([share.values for share in shares]), whole.values)
    assert all(len(share.names) >= 1 for share in shares)
    noises = [share.noise[0].item() for share in shares]
    assert len(set(noises)) == num_ranks  # each has randomness of its own
    with pytest.raises(ConfigError, match="batch of 8 cannot be shared among 9"):
        loader(rank=0, num_ranks=9)
    with pytest.raises(ConfigError, match="num_workers is -2"):
        loader(num_workers=-2)


def unreadable(bad):
    """Items that `bad` holds of cannot be read."""

    def make_batch(items, generator):
        def read(item):
            if bad(item):
                raise MediaError(f"{item}.mp4: is cut short")
            return np.full((1, 2, 2, 3), item, np.uint8)

        found = read_clips(items, read, str, strict=False)
        return Drawn(
            names=found.named.names,
            skipped=found.named.skipped,
            values=torch.tensor(found.items),
            noise=torch.zeros(len(found.items)),
        )

    return make_batch


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_cannot_be_read_is_skipped_counted_and_named(num_workers):
    run = loader(make_batch=unreadable(lambda item: item % 10 == 3), num_workers=num_workers)
    batches = list(run.batches(0, 6))
    skipped = {name: reason for batch in batches for name, reason in batch.skipped}
    assert sum(len(batch.names) for batch in batches) == 48 - len(skipped)
    drawn = {str(row) for row in np.random.default_rng([5, 1, 0]).permutation(50)[:48]}
    assert skipped == {name: f"{name}.mp4: is cut short" for name in drawn if name.endswith("3")}
    assert all(name not in batch.names for batch in batches for name in skipped)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_ranks", [1, 2, 8])
def test_a_share_of_which_nothing_can_be_read_is_made_of_others(num_workers, num_ranks):
    """Drawn by the seed, from outside of the batch; all that was tried is told, and other shares stay as they are."""
    rank, order = num_ranks - 1, np.random.default_rng([5, 1, 0]).permutation(50)
    lost = set(np.array_split(order[8:16], num_ranks)[rank].tolist()) | {int(row) for row in order[16:50:2]}
    settings = {"make_batch": unreadable(lost.__contains__), "num_ranks": num_ranks, "num_workers": num_workers}
    run = loader(rank=rank, **settings)
    [found] = run.batches(1, 2)
    assert len(found.names) >= 1
    assert not {int(name) for name in found.names} & ({*order[8:16].tolist()} | lost)
    assert {name for name, _ in found.skipped} >= {str(row) for row in lost & {*order[8:16].tolist()}}
    assert found.names == run.batch(1).names == loader(rank=rank, **settings).batch(1).names
    if rank:
        assert loader(rank=0, **settings).batch(1).names == loader(rank=0, num_ranks=num_ranks).batch(1).names


def test_others_are_taken_from_the_batch_where_there_is_nothing_else():
    lost = set(np.random.default_rng([5, 1, 0]).permutation(8)[4:].tolist())
    run = loader(range(8), make_batch=unreadable(lost.__contains__), rank=1, num_ranks=2)
    assert {int(name) for name in run.batch(0).names} == set(range(8)) - lost


@pytest.mark.parametrize("num_workers", [0, 2])
def test_where_nothing_can_be_read_several_times_in_a_row_the_run_stops(num_workers):
    run = loader(make_batch=unreadable(lambda item: True), num_workers=num_workers, rank=1, num_ranks=2)
    with pytest.raises(
        DataError, match=r"step 1, process 1: none of the 4 videos .* is cut short \(nor can any of 64 drawn"
    ):
        list(run.batches(1, 2))
    with pytest.raises(DataError, match=r"step 0: none of the 8 videos of a batch can be read; the last: .*short$"):
        loader(range(8), make_batch=unreadable(lambda item: True)).batch(0)  # there are no others


@pytest.fixture
def started():
    """The processes that this test began and that still run; other tests of this process may have left some."""
    before = set(multiprocessing.active_children())
    return lambda: set(multiprocessing.active_children()) - before


def dying(how):
    def make_batch(items, generator):
        for item in items:
            note_reading(f"clips/{item}.mp4")
            if item == 23:
                faulthandler.disable()
                how()
        return collate(items, generator)

    return make_batch


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"killed \(Killed\) .*clips/23\.mp4.*ran out of memory"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), r"Segmentation fault.*clips/23\.mp4.*leave it out"),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), r"clips/23\.mp4.*/dev/shm"),
        (lambda: os._exit(7), r"ended with status 7 while reading clips/23\.mp4"),
    ],
    ids=["killed", "decoder", "memory", "left"],
)
def test_a_worker_that_dies_names_the_sample(how, said, started):
    run = loader(make_batch=dying(how), num_workers=2)
    with pytest.raises(TrainingError, match=said):
        list(run.batches(0, 6))
    assert not started()


def test_an_error_in_a_worker_is_the_error_of_the_run(started):
    def refuse():
        raise MediaError("23.mp4: is no video; leave it out")

    with pytest.raises(MediaError, match="is no video; leave it out"):
        list(loader(make_batch=dying(refuse), num_workers=2).batches(0, 6))
    with pytest.raises(RuntimeError, match=r"in a worker process(.|\n)*ZeroDivisionError"):
        list(loader(make_batch=dying(lambda: 1 // 0), num_workers=2).batches(0, 6))
    assert not started()


def test_workers_end_with_the_run_whenever_it_stops(started):
    with closing(loader(num_workers=2).batches(0, 1000)) as batches:
        next(batches)
        assert len(started()) == 2
    assert not started()


def test_a_request_to_stop_sent_to_all_is_for_the_parent_to_answer():
    def stubborn(items, generator):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        return collate(items, generator)

    assert seen(loader(make_batch=stubborn, num_workers=1).batches(0, 3)) == seen(loader().batches(0, 3))


def test_a_worker_computes_with_one_thread():
    def count(items, generator):
        frames = torch.zeros(8, 3, 256, 256, dtype=torch.uint8)
        torch.nn.functional.interpolate(frames, size=(224, 224), mode="bilinear", antialias=True)
        threads = len(list(Path("/proc/self/task").iterdir())) - threading.active_count()
        return Drawn(values=torch.tensor([torch.get_num_threads(), threads]), noise=torch.zeros(2))

    first = next(loader(make_batch=count, num_workers=1).batches(0, 1))
    assert first.values.tolist() == [1, 0]  # of torch, and beside those of Python


ORPHANS = """
import os, sys, time, torch
sys.path.insert(0, sys.argv[1])
from test_loader import loader, Drawn
def slow(items, generator):
    time.sleep(600)
batches = loader(make_batch=slow, num_workers=2).batches(0, 4)
import threading
threading.Thread(target=lambda: next(batches), daemon=True).start()
import faulthandler
import multiprocessing
while len(multiprocessing.active_children()) < 2:
    time.sleep(0.01)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(600)
"""


def test_workers_do_not_outlive_a_killed_run():
    run = subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    workers = [int(word) for word in run.stdout.readline().split()]
    assert len(workers) == 2
    run.kill()
    run.wait()
    run.stdout.close()
    end = time.monotonic() + 60
    while any(_is_running(pid) for pid in workers):
        assert time.monotonic() < end, "the workers are still there"
        time.sleep(0.02)


def _is_running(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"
