"""How much a score means in a library: compared with the best scores that meaningless queries reach there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clover.errors import LibraryError
from clover.pipeline import Clover
from clover.search.index import Index

NULL_SCORES = "null_scores"
"""Name of the detail of a library that holds the best score of each meaningless query, in their order."""

_NUM_QUERIES = 500
_AT_ONCE = 16
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MOST_GROWTH = 2.0
"""A library this many times larger or smaller than when it was calibrated is calibrated anew."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Best scores of meaningless queries in a library."""

    null_scores: Float[np.ndarray, " n"]
    """Increasing."""

    def confidence(self, score: float) -> float:
        """Share of meaningless queries whose best result scores lower, 0 to 1 (never quite 1).

        A result of confidence 0.95 is better than what 95 in 100 queries without any meaning find. It says that there
        is something to a match, not that the match is right.
        """
        return float(np.searchsorted(self.null_scores, score, side="left")) / (len(self.null_scores) + 1)


def null_queries() -> list[str]:
    """Sentences of invented words, always the same ones: no library shows what they say, whatever it holds."""
    generator = np.random.default_rng(0)

    def word() -> str:
        return "".join(_LETTERS[place] for place in generator.integers(0, len(_LETTERS), generator.integers(2, 9)))

    return [" ".join(word() for _ in range(generator.integers(3, 10))) for _ in range(_NUM_QUERIES)]


def calibrate(index: Index, clover: Clover) -> Calibration:
    """Ask a library the meaningless queries, and note the answers in its details (`Index.save` keeps them).

    Raises:
        LibraryError: the library is empty.
    """
    if not len(index):
        raise LibraryError(f"{index.place} is empty: there is nothing to find; index videos first")
    queries, scores = null_queries(), []
    for start in range(0, len(queries), _AT_ONCE):
        vectors = clover.encode_text(queries[start : start + _AT_ONCE]).cpu().numpy()
        scores += [hits[0].score for hits in index.nearest(vectors, 1)]
    index.details[NULL_SCORES] = {"num_moments": len(index), "scores": [round(score, 5) for score in scores]}
    return Calibration(null_scores=np.sort(np.array(scores)))


def calibration_of(index: Index, clover: Clover) -> Calibration:
    """The calibration that a library remembers; a new one where it has none, or is of another size by now.

    Raises:
        LibraryError: the library is empty.
    """
    known = index.details.get(NULL_SCORES)
    if not isinstance(known, dict) or not known.get("scores"):
        return calibrate(index, clover)
    growth = len(index) / max(1, known["num_moments"])
    if not 1 / _MOST_GROWTH <= growth <= _MOST_GROWTH:
        return calibrate(index, clover)
    return Calibration(null_scores=np.sort(np.array(known["scores"], dtype=np.float64)))


def join_null_scores(libraries: Sequence[Index], joined: Index) -> None:
    """Note for a library of several others what it would be calibrated to: the best of their best scores."""
    known = [library.details.get(NULL_SCORES) for library in libraries]
    if all(isinstance(one, dict) and len(one["scores"]) == _NUM_QUERIES for one in known):
        scores = np.max([one["scores"] for one in known if one], axis=0).tolist()
        joined.details[NULL_SCORES] = {"num_moments": len(joined), "scores": scores}
    else:
        joined.details.pop(NULL_SCORES, None)
