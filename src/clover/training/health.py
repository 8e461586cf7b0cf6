"""What to do about a step whose loss or gradient is no number, or a spike."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from clover.errors import ConfigError, TrainingError

_REMEDY = "try a lower learning rate, or leave such steps out (--health.bad-step skip)"
_NUM_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """Which steps are bad, and what is done about them."""

    bad_step: Literal["stop", "skip"] = "stop"
    """Stop the run at a bad step, or leave it out, weights and averages unchanged, and go on."""
    spike: float = 0.0
    """A gradient norm above this many times the median of the last 50 is bad too, once there are 10; 0 minds no
    spikes."""
    most_skipped: int = 20
    """So many bad steps one after the other stop the run all the same."""

    def __post_init__(self) -> None:
        if self.spike and self.spike <= 1:
            raise ConfigError(f"spike is {self.spike}; give a factor above 1, or 0 to mind no spikes")
        if self.most_skipped < 1:
            raise ConfigError(f"most_skipped is {self.most_skipped}; give 1 or more")


_NUM_REMEMBERED, _NUM_NEEDED = 50, 10


@dataclass
class Health:
    """Judges the steps of a run."""

    config: HealthConfig = field(default_factory=HealthConfig)
    num_skipped: int = 0
    """Bad steps one after the other, up to now."""
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=_NUM_REMEMBERED))
    """Of the last good steps."""

    def problem(self, loss: float, norm: float) -> str | None:
        """What is wrong with a step, or None; a good one is remembered."""
        found = self._problem(loss, norm)
        if found is None:
            self.norms.append(norm)
            self.num_skipped = 0
        return found

    def _problem(self, loss: float, norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient has norm {norm}"
        if self.config.spike and len(self.norms) >= _NUM_NEEDED:
            usual = median(self.norms)
            if norm > self.config.spike * usual:
                return f"the gradient has norm {norm:.4g}, {norm / usual:.3g} times the usual {usual:.4g}"
        return None

    def answer(self, step: int, problem: str, names: Sequence[str], folder: Path, *, writes: bool = True) -> None:
        """Stop or go on after a bad step; its samples are listed in ``bad_steps.jsonl``.

        Raises:
            TrainingError: the run stops here.
        """
        path = folder / "bad_steps.jsonl"
        if writes:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "problem": problem, "samples": list(names)}) + "\n")
        more = f" and {len(names) - _NUM_SHOWN} more in {path}" if len(names) > _NUM_SHOWN else ""
        samples = f"; its samples: {', '.join(names[:_NUM_SHOWN])}{more}" if names else ""
        if self.config.bad_step == "stop":
            raise TrainingError(f"step {step}: {problem}{samples}; {_REMEDY}")
        self.num_skipped += 1
        if self.num_skipped >= self.config.most_skipped:
            raise TrainingError(
                f"step {step}: {problem}{samples}; {self.num_skipped} steps one after the other were bad: "
                "go on from an earlier state with a lower learning rate"
            )

    def state(self) -> torch.Tensor:
        """For a checkpoint."""
        return torch.tensor([float(self.num_skipped), *self.norms], dtype=torch.float64)

    def restore(self, state: torch.Tensor) -> None:
        """The inverse of `state`."""
        num_skipped, *norms = state.tolist()
        self.num_skipped = int(num_skipped)
        self.norms = deque(norms, maxlen=_NUM_REMEMBERED)
