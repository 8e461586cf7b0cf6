"""The training loop, on one page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from clover.objectives.pretraining import Losses
from clover.training.checkpoint import TrainingState
from clover.training.logbook import Logbook
from clover.training.optimizer import Optimizer

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, kw_only=True)
class Occasional:
    """Something to do every so many steps: evaluate, save."""

    every: int
    """Number of steps between two times; 0 means never."""
    run: Callable[[int], Mapping[str, float] | None]
    """Called with the number of steps done; gives figures for the book, if any."""

    def run_if_due(self, num_done: int) -> Mapping[str, float] | None:
        """Do it when its time has come."""
        return self.run(num_done) if self.every and num_done % self.every == 0 else None


@dataclass(frozen=True, kw_only=True)
class Training(Generic[BatchT]):
    """One run: batches in, weights changed, losses in the book."""

    losses: Callable[[BatchT, int], Losses]
    """Batch and step to losses; calls the network."""
    leaves_gradients: bool = False
    """Whether `losses` itself adds the gradients to the weights' and gives numbers without a graph."""
    optimizer: Optimizer
    logbook: Logbook
    state: TrainingState | None = None
    save_every: int = 0
    """Steps between two saved states; 0 saves none."""
    occasional: Sequence[Occasional] = ()

    def run(self, batches: Iterable[BatchT], *, first_step: int = 0) -> None:
        """Train until the batches end."""
        for step, (batch, waiting_seconds) in enumerate(_timed(batches), start=first_step):
            if self.leaves_gradients:
                self.optimizer.clear()
            losses = self.losses(batch, step)
            rate = self.optimizer.learning_rate(step)
            update = self.optimizer.update_from_gradients if self.leaves_gradients else self.optimizer.update
            norm = update(losses.total, step)
            values = {name: loss.item() for name, loss in losses.terms.items()}
            values |= {"total": losses.total.item(), "gradient_norm": norm}
            self.logbook.write(step, values, learning_rate=rate, waiting_seconds=waiting_seconds)
            for task in self.occasional:  # before the state is saved: what they find out is then never older than it
                if found := task.run_if_due(step + 1):
                    self.logbook.note(num_steps=step + 1, **found)
            if self.state is not None and self.save_every and (step + 1) % self.save_every == 0:
                self.state.save(step + 1)


def _timed(batches: Iterable[BatchT]) -> Iterator[tuple[BatchT, float]]:
    """Batches with the seconds that were spent waiting for each."""
    iterator = iter(batches)
    while True:
        start = time.perf_counter()
        try:
            batch = next(iterator)
        except StopIteration:
            return
        yield batch, time.perf_counter() - start
