"""Seeded draws: one independent stream of random numbers for every use, and two small helpers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from clover.data.shapes.vocabulary import SPLITS

Item = TypeVar("Item")

STREAMS = (
    *("scene", "captions", "questions", "choices", "cloze", "held out", "paragraph", "transitions"),
    *("repetitions", "when", "stills", "frames", "noise", "near-duplicates", "probes"),
)
"""Uses of randomness; each has its own stream, so that a change in one leaves the others alone."""


def generator(seed: int, split: str, index: int, stream: str) -> np.random.Generator:
    """Return the generator of one use of randomness in one video: a pure function of its arguments."""
    return np.random.default_rng([seed, SPLITS.index(split), index, STREAMS.index(stream)])


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """Return one of the items, all equally likely."""
    return items[int(rng.integers(len(items)))]


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number between two bounds, rounded to four places so that it reads well in a file."""
    return round(float(rng.uniform(low, high)), 4)
