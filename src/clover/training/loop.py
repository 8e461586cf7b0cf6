"""The training loop, on one page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from clover.distributed import ALONE, Processes
from clover.objectives.pretraining import Losses
from clover.training.checkpoint import TrainingStates
from clover.training.health import Health
from clover.training.interruption import InterruptedRunError, StopRequest
from clover.training.logbook import Logbook
from clover.training.optimizer import Optimizer
from clover.training.skipped import SkippedSamples

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, kw_only=True)
class Occasional:
    """Something to do every so many steps: evaluate, save."""

    every: int
    """Number of steps between two times; 0 means never."""
    run: Callable[[int], Mapping[str, float] | None]
    """Called with the number of steps done; gives figures for the book, if any."""
    figures: tuple[str, ...] = ()
    """Names of the figures by which the best state may be chosen."""

    def run_if_due(self, num_done: int) -> Mapping[str, float] | None:
        """Do it when its time has come."""
        return self.run(num_done) if self.every and num_done % self.every == 0 else None


@dataclass(frozen=True, kw_only=True)
class Training(Generic[BatchT]):
    """One run: batches in, weights changed, losses in the book."""

    gradients: Callable[[BatchT, int], Losses]
    """Adds the gradients of a batch at a step to the weights', and gives the losses without a graph."""
    optimizer: Optimizer
    logbook: Logbook
    states: TrainingStates
    save_every: int = 0
    """Steps between two saved states; 0 saves none but when the run is asked to stop."""
    occasional: Sequence[Occasional] = ()
    processes: Processes = field(default=ALONE)
    skipped: SkippedSamples | None = None
    """Lists what could not be read."""
    stage: str = ""
    """What that list calls this stretch of the run."""

    @property
    def health(self) -> Health:
        """Judges the steps; saved with the state."""
        return self.states.health

    def run(self, batches: Iterable[BatchT], *, first_step: int = 0) -> None:
        """Train until the batches end.

        Raises:
            TrainingError: a bad step, and the policy is to stop.
            InterruptedRunError: the process was asked to stop; the state is saved.
        """
        if self.states.owes_occasional:
            self._do_what_is_due(first_step)
        with StopRequest() as stop:
            for step, (batch, waiting_seconds) in enumerate(_timed(batches), start=first_step):
                self._step(batch, step, waiting_seconds)
                self._hear(batch, step, stop)
                # before the state is saved: what is found out is then never older
                decides = self._do_what_is_due(step + 1)
                if decides or (self.save_every and (step + 1) % self.save_every == 0):
                    self.states.save(step + 1)

    def _step(self, batch: BatchT, step: int, waiting_seconds: float) -> None:
        self.optimizer.clear()
        losses = self.gradients(batch, step)
        norm = self.optimizer.clip()
        values = {name: loss.item() for name, loss in losses.terms.items()} | {"total": losses.total.item()}
        problem = self.health.problem(values["total"], norm)
        if problem is None:
            self.optimizer.update(step)
            self.states.remember(values)
            rate = self.optimizer.learning_rate(step)
            self.logbook.write(
                step, values | {"gradient_norm": norm}, learning_rate=rate, waiting_seconds=waiting_seconds
            )
        else:
            names = [name for each in self.processes.told(_names(batch)) for name in each]
            self.logbook.note(step=step, problem=problem)
            self.health.answer(step, problem, names, self.logbook.path.parent, writes=self.processes.is_first)

    def _do_what_is_due(self, num_done: int) -> bool:
        """Gives whether the best state is chosen by what was found out."""
        decides = False
        for task in self.occasional:
            if figures := task.run_if_due(num_done):
                self.logbook.note(num_steps=num_done, **figures)
                decides |= self.states.judge(figures, num_done)
        return decides

    def _hear(self, batch: BatchT, step: int, stop: StopRequest) -> None:
        """What each process says after a step: samples that it could not read, and whether it was asked to stop."""
        new = self.skipped.new_of(batch) if self.skipped is not None else {}
        said = self.processes.each([stop.number, len(new)])
        if self.skipped is not None and any(num_new for _, num_new in said):
            self.skipped.add(new, stage=self.stage, step=step)
        number = max(number for number, _ in said)
        if number:
            self.states.save(step + 1, owes_occasional=True)
            raise InterruptedRunError(
                f"asked to stop; the state after {step + 1} steps is saved in {self.states.folder}: "
                "go on with --resume auto",
                number,
            )


def _names(batch: Any) -> list[str]:
    """What messages call a batch's samples."""
    return [str(name) for name in getattr(batch, "names", ())]


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
