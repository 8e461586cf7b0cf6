"""Vectors compared one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

_BLOCK = 65_536


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """What a search over the rows of one part found.

    Attributes:
        rows: Per query, the best rows, best first; equal scores by row.
        scores: Their dot products.
    """

    rows: list[np.ndarray]
    scores: list[np.ndarray]


class ExactVectors:
    """Normalised vectors as they are, in memory or mapped from a file."""

    def __init__(self, vectors: Float32[np.ndarray, "n d"]) -> None:
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def rows(self, rows: Int64[np.ndarray, " r"] | slice) -> Float32[np.ndarray, "r d"]:
        """Some of the vectors."""
        return np.asarray(self.vectors[rows])

    def nearest(
        self,
        queries: Float32[np.ndarray, "q d"],
        num_results: int,
        admitted: Bool[np.ndarray, " n"] | None = None,
    ) -> Nearest:
        """The best rows of every query among those admitted."""
        rows = np.arange(len(self)) if admitted is None else np.flatnonzero(admitted)
        found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in queries]
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            is_everything = len(block) == block[-1] - block[0] + 1
            taken = self.vectors[block[0] : block[-1] + 1] if is_everything else self.vectors[block]
            for place, scores in enumerate(queries @ taken.T):
                best = top(scores, num_results)
                found[place].append((block[best], scores[best]))
        return merged(found, num_results)


def top(scores: Float32[np.ndarray, " n"], count: int) -> Int64[np.ndarray, " k"]:
    """Places of the largest scores, largest first; equal ones by place."""
    count = min(count, len(scores))
    if not count:
        return np.zeros(0, dtype=np.int64)
    candidates = np.arange(len(scores))
    if count < len(scores):
        lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
        candidates = np.flatnonzero(scores >= lowest)
    return candidates[np.argsort(-scores[candidates], kind="stable")][:count]


def merged(found: list[list[tuple[np.ndarray, np.ndarray]]], num_results: int) -> Nearest:
    """The best of several parts, given in the order of their rows: per query, rows and scores of each part."""
    all_rows, all_scores = [], []
    for parts in found:
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *(rows for rows, _ in parts)])
        scores = np.concatenate([np.zeros(0, dtype=np.float32), *(scores for _, scores in parts)])
        best = np.argsort(-scores, kind="stable")[:num_results]
        all_rows.append(rows[best])
        all_scores.append(scores[best])
    return Nearest(rows=all_rows, scores=all_scores)
