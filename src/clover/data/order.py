"""Which samples make each step: a pure function of seed and step, for one source or several in turn."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Int64

from clover.errors import ConfigError, DataError

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, kw_only=True)
class Mixture(Generic[ItemT]):
    """Samples of several sources; every batch is of one of them."""

    sources: tuple[Sequence[ItemT], ...]
    weights: tuple[float, ...] = ()
    """Shares of the steps that the sources get; none gives equal shares: they alternate in their order."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("a mixture of no sources; give one or more")
        if self.weights and len(self.weights) != len(self.sources):
            raise ConfigError(
                f"{len(self.weights)} weights for {len(self.sources)} sources of data; give one each, or none"
            )
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise ConfigError(f"weights of sources are {self.weights}; they must be above 0")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The samples of one step."""

    step: int
    source: int
    """Which source, from 0."""
    rows: Int64[np.ndarray, " b"]
    """Positions in it."""


def shares_of_steps(num_sources: int, weights: Sequence[float] = ()) -> list[float]:
    """Which share of the steps each source of a mixture gets; ``weights`` as in `Mixture`."""
    weights = weights or [1.0] * num_sources
    return [weight / sum(weights) for weight in weights]


def steps_per_epoch(lengths: Sequence[int], weights: Sequence[float] = (), *, batch_size: int) -> int:
    """Steps until every source of a mixture was passed over once, less what does not fill a batch.

    While the source that takes longest is passed over, the others begin anew.
    """
    batches = [length // batch_size for length in lengths]
    weights = weights or [1.0] * len(lengths)
    return max(math.ceil(count * sum(weights) / weight) for count, weight in zip(batches, weights, strict=True))


def steps_of_epochs(
    num_epochs: float, lengths: Sequence[int], weights: Sequence[float] = (), *, batch_size: int
) -> int:
    """Steps of a run whose length is given in passes over the source that takes longest; at least one."""
    return max(1, round(num_epochs * steps_per_epoch(lengths, weights, batch_size=batch_size)))


class Order:
    """Every pass over a source is a new permutation of it; what does not fill a batch at its end is left to later ones.

    The sources of a mixture take turns so that each is as near to its share of the steps as can be, the first one
    first; a shorter source begins anew while a longer one goes on.
    """

    def __init__(self, lengths: Sequence[int], weights: Sequence[float], *, batch_size: int, seed: int) -> None:
        """Order of sources of these lengths; ``weights`` as in `Mixture`.

        Raises:
            DataError: a source does not fill a batch.
        """
        for length in lengths:
            if length < batch_size:
                raise DataError(
                    f"{length} samples do not fill a batch of {batch_size}; give more data or a smaller batch"
                )
        self._lengths, self._batch_size, self._seed = list(lengths), batch_size, seed
        self._shares = shares_of_steps(len(lengths), weights)
        self._sources, self._places = array("B"), array("q")
        self._counts = [0] * len(lengths)
        self._passes: dict[int, tuple[int, np.ndarray]] = {}
        self.steps_per_epoch = steps_per_epoch(lengths, weights, batch_size=batch_size)
        """Steps until every source was passed over once."""

    def draw(self, step: int) -> Draw:
        """The samples of a step, in their order."""
        source, place = self._turn(step)
        epoch, batch = divmod(place, self._lengths[source] // self._batch_size)
        order = self._permutation(source, epoch)
        rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
        return Draw(step=step, source=source, rows=rows.astype(np.int64))

    def _turn(self, step: int) -> tuple[int, int]:
        """Whose turn a step is, and how many it had before."""
        if len(self._lengths) == 1:
            return 0, step
        while len(self._sources) <= step:
            done = len(self._sources) + 1
            behind = [share * done - count for share, count in zip(self._shares, self._counts, strict=True)]
            source = behind.index(max(behind))
            self._sources.append(source)
            self._places.append(self._counts[source])
            self._counts[source] += 1
        return self._sources[step], self._places[step]

    def _permutation(self, source: int, epoch: int) -> np.ndarray:
        """Kept for one pass: that of millions of samples takes longer than a step may wait."""
        kept = self._passes.get(source)
        if kept is None or kept[0] != epoch:
            seed = [self._seed, 1, epoch, *([source] if source else [])]
            order = np.random.default_rng(seed).permutation(self._lengths[source])
            kept = epoch, order.astype(np.int32) if len(order) < 2**31 else order
            self._passes[source] = kept
        return kept[1]
