"""All runs of an ablation, one after another or side by side; stopped and begun again at any time."""

from __future__ import annotations

import heapq
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event

import torch

from clover.ablation.folders import AblationFolder
from clover.ablation.jobs import Doing, Job
from clover.ablation.settings import AblationConfig
from clover.allocator import keep_freed_memory
from clover.data.annotations.problems import counted
from clover.errors import ConfigError, TrainingError
from clover.training.compute import ComputeConfig
from clover.training.interruption import InterruptedRunError
from clover.training.records import num_cpus

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A share of the runs, for one of several machines: ``1/3`` is the first of three."""

    number: int = 1
    count: int = 1

    @classmethod
    def read(cls, text: str) -> Part:
        """From ``i/n``.

        Raises:
            ConfigError: it is no such pair.
        """
        found = re.fullmatch(r"(\d{1,18})/(\d{1,18})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"--part is {text[:40]!r}; give the number of this machine and of all, such as 1/3")
        return cls(int(found[1]), int(found[2]))

    def of(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of this machine, in their order; by their cost all machines get about as much to do.

        Of more machines than runs the last ones get none.
        """
        loads = [(0.0, number) for number in range(1, min(self.count, len(jobs)) + 1)]
        mine = set()
        for job in sorted(jobs, key=lambda job: -job.cost):
            load, number = loads[0]  # the least; of several the first machine's
            heapq.heapreplace(loads, (load + job.cost, number))
            if number == self.number:
                mine.add(job)
        return [job for job in jobs if job in mine]


def run_jobs(
    jobs: Sequence[Job],
    folder: AblationFolder,
    config: AblationConfig,
    compute: ComputeConfig,
    *,
    num_processes: int,
    say: Say,
) -> None:
    """Do what is not done yet; a line is said after each with the time left.

    Args:
        jobs: Runs, those that are done included.
        folder: Of the ablation, prepared.
        config: Its settings.
        compute: Device and number format.
        num_processes: Runs side by side; each gets its share of the processor's cores.
        say: Where lines go.

    Raises:
        CloverError: a run could not be done; those before are kept.
        TrainingError: a process was killed, for instance for want of memory.
    """
    if not jobs:
        say("no runs for this machine: there are more machines than runs (--part)")
        return
    left = [job for job in jobs if not job.is_done(folder)]
    say(f"{counted(len(jobs), 'run')}, {len(jobs) - len(left)} of them done before")
    if not left:
        return
    clock = _Clock(left, say)
    works = [Doing(job=job, ablation=folder, config=config, compute=compute) for job in left]
    for job in _done(works, num_processes):
        clock.tell(job)


def _done(works: Sequence[Doing], num_processes: int) -> Iterator[Job]:
    if num_processes == 1:
        for work in works:
            work.run()
            yield work.job
        return
    threads = max(1, num_cpus() // num_processes)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(num_processes, mp_context=context, initializer=_begin, initargs=(threads, stop)) as pool:
        waiting = {pool.submit(_do, work): work.job for work in works}
        try:
            for future in as_completed(waiting):
                if stopped := future.result():
                    raise InterruptedRunError(*stopped)
                yield waiting[future]
        except BrokenProcessPool as error:
            stop.set()
            raise TrainingError(
                "a run was killed from outside, perhaps for want of memory; run the same command again, with fewer "
                "--jobs if it happens again"
            ) from error
        except BaseException:
            stop.set()  # those that are at work save what they have, and none begins another
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_stop: Event | None = None
"""In each process: set when all are to end."""


def _begin(threads: int, stop: Event) -> None:
    """In each process, before its first run."""
    global _stop
    _stop = stop
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(threads)
    keep_freed_memory()
    threading.Thread(target=_end_with, args=(os.getppid(), stop), daemon=True).start()


def _end_with(parent: int, stop: Event) -> None:
    """A run whose command was killed or asked to stop must not go on in the background; its states are on the disk."""
    while os.getppid() == parent:
        if stop.wait(1.0):
            os.kill(os.getpid(), signal.SIGTERM)  # in training it is heard, and the state saved
            return
    os._exit(1)


def _do(work: Doing) -> tuple[str, int] | None:
    """Do a run; its message and the signal's number where it was asked to stop (that error cannot be sent)."""
    if _stop is not None and _stop.is_set():  # the pool hands out one run more than there are processes
        return "", int(signal.SIGTERM)
    try:
        work.run()
    except InterruptedRunError as error:
        return str(error), error.exit_status - 128
    return None


class _Clock:
    """Time left, from what the runs so far took for their cost."""

    def __init__(self, jobs: Sequence[Job], say: Say) -> None:
        self._begin, self._say = time.monotonic(), say
        self._done, self._num_done, self._num = 0.0, 0, len(jobs)
        self._all = sum(job.cost for job in jobs)

    def tell(self, job: Job) -> None:
        """A run is done."""
        self._done += job.cost
        self._num_done += 1
        seconds = time.monotonic() - self._begin
        left = seconds * (self._all - self._done) / self._done
        self._say(
            f"{self._num_done}/{self._num} done: {job.title}; {_hours(seconds)} so far, about {_hours(left)} left"
        )


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"
