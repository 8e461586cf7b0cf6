"""How hard a compressed search must look: recall against exact search, measured on the library's own vectors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clover.search.compressed import CompressedVectors, Effort
from clover.search.exact import ExactVectors

NUM_RESULTS = 10
"""Recall is that of the ten nearest."""
_NUM_QUERIES = 1024
_CANDIDATES = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The least effort that reaches a recall, and the recall that was measured with it."""

    effort: Effort
    recall: float
    """Share of the ten exact nearest that were found; of the library's own vectors or of sample queries, the lower."""


def calibrate(
    vectors: ExactVectors,
    compressed: CompressedVectors,
    target_recall: float,
    sample_queries: Float32[np.ndarray, "q d"] | None = None,
) -> Calibration | None:
    """The least effort that finds enough, for queries that are vectors of the library and for sample queries, both.

    Args:
        vectors: What was compressed.
        compressed: The same rows.
        target_recall: Share of the ten exact nearest that must be found.
        sample_queries: Such as the model makes of texts; they lie elsewhere than videos.

    Returns:
        None where no effort reaches the target.
    """
    own = np.sort(np.random.default_rng(2).permutation(len(vectors))[:_NUM_QUERIES])
    sets = [_QuerySet(vectors, vectors.rows(own), own)]
    if sample_queries is not None and len(sample_queries):
        sets.append(_QuerySet(vectors, sample_queries[:_NUM_QUERIES], None))
    for queries in sets:  # is it in reach at all?
        queries.propose(compressed, compressed.lists.nlist)
        if _surely(queries.recalls(compressed, _CANDIDATES[-1])) < target_recall:
            return None
    best: Calibration | None = None
    for num_lists in _rising(compressed.lists.nlist):
        for queries in sets:
            queries.propose(compressed, num_lists)
        for num_candidates in _CANDIDATES:
            effort = Effort(num_lists=num_lists, num_candidates=num_candidates)
            if best is not None and _cost(compressed, effort) >= _cost(compressed, best.effort):
                break
            # what is not proposed is not found: only where enough is, the codes are asked
            if any(queries.proposed_share(num_candidates).mean() < target_recall for queries in sets):
                continue
            recalls = [queries.recalls(compressed, num_candidates) for queries in sets]
            if all(_surely(some) >= target_recall for some in recalls):
                best = Calibration(effort=effort, recall=float(min(some.mean() for some in recalls)))
                break
        least = Effort(num_lists=num_lists, num_candidates=_CANDIDATES[0])
        if best is not None and _cost(compressed, least) >= _cost(compressed, best.effort):
            break
    return best


class _QuerySet:
    """Queries with their exact nearest; a query that is itself a row does not count among them."""

    def __init__(
        self,
        vectors: ExactVectors,
        queries: Float32[np.ndarray, "q d"],
        own: Int64[np.ndarray, " q"] | None,
    ) -> None:
        self.queries = queries
        self.own = [-1] * len(queries) if own is None else own.tolist()
        found = vectors.nearest(queries, NUM_RESULTS + 1).rows
        self.truth = [self._first(rows, itself) for rows, itself in zip(found, self.own, strict=True)]
        self.proposed: list[np.ndarray] = []

    def _first(self, rows: Int64[np.ndarray, " k"], itself: int) -> Int64[np.ndarray, " first"]:
        return rows[rows != itself][:NUM_RESULTS]

    def propose(self, compressed: CompressedVectors, num_lists: int) -> None:
        """Candidates of every query, the most promising first."""
        self.proposed = compressed.proposed(self.queries, num_lists, _CANDIDATES[-1])

    def proposed_share(self, num_candidates: int) -> Float64[np.ndarray, " q"]:
        """Per query, the share of the exact nearest that is among the first candidates: recall is no larger."""
        return self._share([rows[:num_candidates] for rows in self.proposed])

    def recalls(self, compressed: CompressedVectors, num_candidates: int) -> Float64[np.ndarray, " q"]:
        """Per query, the share of the exact nearest that is found among the first candidates."""
        found = []
        for query, candidates, itself in zip(self.queries, self.proposed, self.own, strict=True):
            rows, _ = compressed.best(query, np.sort(candidates[:num_candidates]), NUM_RESULTS + 1)
            found.append(self._first(rows, itself))
        return self._share(found)

    def _share(self, found: list[np.ndarray]) -> Float64[np.ndarray, " q"]:
        return np.array([np.isin(right, rows).mean() for right, rows in zip(self.truth, found, strict=True)])


def _surely(recalls: Float64[np.ndarray, " q"]) -> float:
    """Mean recall less two standard errors: other queries should find enough, too."""
    return float(recalls.mean() - 2 * recalls.std() / np.sqrt(len(recalls)))


def _rising(most: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, 16 and so on, up to ``most`` and with it."""
    for power in itertools.count():
        for number in (2**power, 3 * 2 ** (power - 1)) if power else (1,):
            if number >= most:
                yield most
                return
            yield int(number)


def _cost(compressed: CompressedVectors, effort: Effort) -> float:
    """Bytes that are looked at, by and large: of the inverted file, and of the candidates' codes.

    The codes lie scattered and are taken apart in memory; a byte of them counts as much as 4 that are scanned.
    """
    scanned = effort.num_lists * len(compressed) / compressed.lists.nlist * compressed.lists.pq.M / 2
    return scanned + 4 * effort.num_candidates * compressed.codec.size
