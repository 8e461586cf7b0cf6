"""Samples to batches of a run: the order, the randomness and the position, all functions of the seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from clover.data.collators import UnreadableBatchError
from clover.data.order import Draw, Mixture, Order
from clover.data.workers import Workers, num_cores_of_process
from clover.errors import ConfigError

ItemT = TypeVar("ItemT")
BatchT = TypeVar("BatchT")

_SHARES_TRIED, _SAMPLES_TRIED = 4, 64
"""A run stops where of so many shares in a row, and so many samples at least, nothing can be read."""


@dataclass(frozen=True, kw_only=True)
class Loader(Generic[ItemT, BatchT]):
    """Batches of a run from any step on; the same whatever the number of threads or worker processes.

    Of every batch each process of the run makes its share; the order of the samples does not depend on how many
    processes there are.
    """

    items: Sequence[ItemT] | Mixture[ItemT]
    make_batch: Callable[[Sequence[ItemT], np.random.Generator], BatchT]
    batch_size: int
    """Samples a step, of all processes together."""
    seed: int
    rank: int = 0
    """Number of this process, from 0."""
    num_ranks: int = 1
    """Processes that train together."""
    num_workers: int = 0
    """Processes that make batches for this one; 0 makes them in a thread, -1 takes as many as there are cores."""
    num_ahead: int = 2
    """Batches prepared while the network works; with workers, beyond the one that each is making."""

    def __post_init__(self) -> None:
        if self.batch_size < self.num_ranks:
            raise ConfigError(
                f"a batch of {self.batch_size} cannot be shared among {self.num_ranks} processes; give a larger batch"
            )
        if self.num_workers < -1:
            raise ConfigError(f"num_workers is {self.num_workers}; give 0 or more, or -1 for one a core")
        _ = self.order  # now, and not at the first step, a source that is too small is refused

    @cached_property
    def mixture(self) -> Mixture[ItemT]:
        """Where the samples come from."""
        return self.items if isinstance(self.items, Mixture) else Mixture(sources=(self.items,))

    @cached_property
    def order(self) -> Order:
        """Which samples make each step."""
        lengths = [len(source) for source in self.mixture.sources]
        return Order(lengths, self.mixture.weights, batch_size=self.batch_size, seed=self.seed)

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every source was passed over once, less what does not fill a batch."""
        return self.order.steps_per_epoch

    def batch(self, step: int) -> BatchT:
        """This process's share of the batch of one step.

        What cannot be read is left out; where nothing would be left, others are drawn in its place.

        Raises:
            UnreadableBatchError: of these nothing can be read either, several times in a row.
        """
        return self._make(self.order.draw(step))

    def batches(self, first_step: int, num_steps: int) -> Iterator[BatchT]:
        """Batches of steps ``first_step`` to ``num_steps - 1``, prepared ahead.

        Raises:
            TrainingError: a worker process died; the sample it was reading is named.
        """
        steps = range(first_step, num_steps)
        with self._made(iter(steps)) as made:
            pool = ThreadPoolExecutor(1)
            waiting: deque[Future[BatchT]] = deque()
            try:
                for _ in steps:
                    waiting.append(pool.submit(next, made))
                    if len(waiting) > self.num_ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _made(self, steps: Iterator[int]) -> Iterator[Iterator[BatchT]]:
        """Batches made as they are asked for, or by workers."""
        num_workers = num_cores_of_process() if self.num_workers == -1 else self.num_workers
        if not num_workers:
            yield map(self.batch, steps)
            return
        # what a worker is told must be short: one that waits to be heard does not listen
        workers = Workers(self.batch, steps, num_workers=num_workers, num_ahead=self.num_ahead)
        try:
            yield iter(workers)
        finally:
            workers.close()

    def _make(self, draw: Draw) -> BatchT:
        rows = np.array_split(draw.rows, self.num_ranks)[self.rank]
        most_lost = max(_SHARES_TRIED * len(rows), _SAMPLES_TRIED)
        generator = np.random.default_rng([self.seed, 2, draw.step, *([self.rank] if self.num_ranks > 1 else [])])
        source = self.mixture.sources[draw.source]
        lost: tuple[tuple[str, str], ...] = ()
        while True:
            try:
                batch = self.make_batch([source[row] for row in rows.tolist()], generator)
            except UnreadableBatchError as error:
                lost += error.skipped
                generator = np.random.default_rng([self.seed, 3, draw.step, self.rank, len(lost)])
                rows = self._others(draw, generator)
                if len(lost) >= most_lost or not len(rows):
                    where = f"step {draw.step}" if self.num_ranks == 1 else f"step {draw.step}, process {self.rank}"
                    more = f" (nor can any of {len(lost)} drawn in a row)" if len(lost) > len(error.skipped) else ""
                    raise UnreadableBatchError(f"{where}: {error}{more}", lost, step=draw.step) from error
            else:
                return _with_skipped(batch, lost) if lost else batch

    def _others(self, draw: Draw, generator: np.random.Generator) -> np.ndarray:
        """Rows in place of a share of which nothing can be read: of the same source, best such as no process has."""
        own = np.array_split(draw.rows, self.num_ranks)[self.rank]
        length = len(self.mixture.sources[draw.source])
        drawn = generator.choice(length, size=min(length, len(draw.rows) + len(own)), replace=False)
        is_elsewhere = np.isin(drawn, draw.rows)
        return np.concatenate([drawn[~is_elsewhere], drawn[is_elsewhere & ~np.isin(drawn, own)]])[: len(own)]


def _with_skipped(batch: Any, more: tuple[tuple[str, str], ...]) -> Any:
    return replace(batch, skipped=(*more, *batch.skipped))
