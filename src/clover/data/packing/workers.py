"""Samples packed in processes of their own, given back in order; one that kills its process costs only itself."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from clover.data.packing.samples import BadSample, PackedSample, SampleJob, pack_sample
from clover.data.packing.settings import PackingConfig
from clover.data.processes import obey_parent

_NUM_AHEAD = 4
"""Samples under way for each process."""

Job = SampleJob | BadSample
Outcome = PackedSample | BadSample


def pack_samples(jobs: Iterable[Job], config: PackingConfig, num_workers: int | None) -> Generator[Outcome, None, None]:
    """Pack samples, in the order given, the same whatever the number of processes.

    Args:
        jobs: The samples.
        config: What they become.
        num_workers: Processes, one core each; None packs in this one, which then dies with its decoder.
    """
    if num_workers is None:
        for job in jobs:
            yield pack_sample(job, config)
        return
    remaining = iter(jobs)
    waiting: deque[tuple[Job, Future[Outcome]]] = deque()
    pool = _pool(num_workers)
    try:
        while True:
            while len(waiting) < _NUM_AHEAD * num_workers and (following := next(remaining, None)) is not None:
                waiting.append((following, _submit(pool, following, config)))
            if not waiting:
                return
            job, future = waiting.popleft()
            try:
                outcome = future.result()
            except BrokenProcessPool:
                outcome = _pack_alone(job, config)
                pool = _pool(num_workers)
                waiting = deque((job, _again(pool, job, future, config)) for job, future in waiting)
            yield outcome
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pool(num_workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=_prepare)


def _prepare() -> None:
    obey_parent()
    torch.set_num_threads(1)


def _pack_alone(job: Job, config: PackingConfig) -> Outcome:
    """Find out whether it was this sample that killed a process."""
    with _pool(1) as pool:
        try:
            return pool.submit(pack_sample, job, config).result()
        except BrokenProcessPool:
            return BadSample(position=job.position, name=job.name, reason="the process that decoded it was killed")


def _again(pool: ProcessPoolExecutor, job: Job, future: Future[Outcome], config: PackingConfig) -> Future[Outcome]:
    """What was finished before the processes died, or a new attempt."""
    if future.done() and not future.cancelled() and future.exception() is None:
        return future
    return _submit(pool, job, config)


def _submit(pool: ProcessPoolExecutor, job: Job, config: PackingConfig) -> Future[Outcome]:
    """Hand over a sample; to a pool that has just died too, which its result then tells."""
    try:
        return pool.submit(pack_sample, job, config)
    except BrokenProcessPool as error:
        failed: Future[Outcome] = Future()
        failed.set_exception(error)
        return failed
