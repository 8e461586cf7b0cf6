"""Vectors at about a byte per dimension: an inverted file proposes, codes decide. Needs FAISS.

The leading principal axes go into an inverted file of 4-bit product codes (`IndexIVFPQFastScan`), which proposes
candidates; their `Codec` codes, mapped from disk, give the scores. How many lists are looked at and how many candidates
are taken is chosen by measuring recall against exact search on the vectors themselves (`calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from clover.errors import LibraryError
from clover.search.codec import Codec
from clover.search.exact import ExactVectors, Nearest, top

_BLOCK = 65_536
_SAMPLE = 100_000
_LEADING_SHARE = 0.8
"""Of the variance, that the axes in the inverted file must hold at least."""
_ROW_BYTES = 11
"""What it needs per row beside product codes: the row's number, and shares of the centroids and of unfilled blocks."""
_POINTS_PER_LIST = 64
_FEW_ROWS = 20_000
_LEAST_ROUGH = 64
"""Bytes of codes that tell which candidates stay."""
_LEAST_KEPT = 48
"""Candidates that stay when the first bytes of their codes are compared; the whole codes decide among them."""


def faiss() -> Any:
    """The library.

    Raises:
        LibraryError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise LibraryError("a compressed library needs FAISS; pip install 'clover-vl[search]'") from error
    return faiss


def has_faiss() -> bool:
    """Whether libraries can be compressed here."""
    try:
        faiss()
    except LibraryError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard a compressed search looks."""

    num_lists: int
    """Lists of the inverted file that are looked at."""
    num_candidates: int
    """Rows that it proposes, to be scored by their codes."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """How the bytes of a vector, 1.1 per dimension, are shared out."""

    bits: float
    """Of a code, per dimension."""
    list_bytes: float
    """Of the inverted file, per dimension."""


SPLITS = (Split(bits=7.3, list_bytes=0.16), Split(bits=7.95, list_bytes=0.1))
"""The first proposes well, so few candidates are enough; with the second, codes tell apart what is nearly as near."""


class CompressedVectors:
    """Codes of normalised vectors and the inverted file that leads to them."""

    def __init__(self, codec: Codec, codes: UInt8[np.ndarray, "n c"], lists: Any, effort: Effort) -> None:
        self.codec, self.codes, self.lists, self.effort = codec, codes, lists, effort

    def __len__(self) -> int:
        return len(self.codes)

    def rows(self, rows: Int64[np.ndarray, " r"] | slice) -> Float32[np.ndarray, "r d"]:
        """Some of the vectors, as their codes tell."""
        return self.codec.decode(np.asarray(self.codes[rows]))

    def nearest(
        self,
        queries: Float32[np.ndarray, "q d"],
        num_results: int,
        admitted: Bool[np.ndarray, " n"] | None = None,
    ) -> Nearest:
        """The best rows of every query among those admitted: as many as there are, up to the number asked for."""
        num_admitted = len(self) if admitted is None else int(np.count_nonzero(admitted))
        wanted = min(num_results, num_admitted)
        if num_admitted <= wanted or (admitted is not None and num_admitted <= _FEW_ROWS):
            few = np.arange(len(self)) if admitted is None else np.flatnonzero(admitted)
            proposed = [few] * len(queries)
        else:
            num_candidates = min(max(self.effort.num_candidates, 4 * wanted), num_admitted)
            # where few rows are admitted, more lists must be looked at to see as many of them
            num_lists = math.ceil(self.effort.num_lists * len(self) / num_admitted)
            proposed = self.proposed(queries, num_lists, num_candidates, admitted)
            while min(map(len, proposed)) < wanted and num_lists < self.lists.nlist:
                num_lists *= 2
                proposed = self.proposed(queries, num_lists, num_candidates, admitted)
        found = [
            self.best(query, np.sort(candidates), wanted) for query, candidates in zip(queries, proposed, strict=True)
        ]
        return Nearest(rows=[rows for rows, _ in found], scores=[scores for _, scores in found])

    def best(
        self, query: Float32[np.ndarray, " d"], candidates: Int64[np.ndarray, " r"], num_results: int
    ) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, " k"]]:
        """The best rows of some, given in order, and their scores."""
        if len(candidates) > 2 * (kept := max(_LEAST_KEPT, 4 * num_results, len(candidates) // 8)):
            num_bytes = min(max(_LEAST_ROUGH, len(self.codec.low) // 4), int(self.codec.counts[0]))
            rough = self.codec.rough_scores(np.asarray(self.codes[candidates, :num_bytes]), query)
            candidates = candidates[np.sort(np.argpartition(-rough, kept)[:kept])]
        scores = self.codec.scores(np.asarray(self.codes[candidates]), query[None])[:, 0]
        first = top(scores, num_results)
        return candidates[first], scores[first]

    def proposed(
        self,
        queries: Float32[np.ndarray, "q d"],
        num_lists: int,
        num_candidates: int,
        admitted: Bool[np.ndarray, " n"] | None = None,
    ) -> list[np.ndarray]:
        """Rows that the inverted file takes for the nearest of every query, the most promising first."""
        library = faiss()
        leading = np.ascontiguousarray(self.codec.turned(queries)[:, : self.lists.d])
        bits = None if admitted is None else np.packbits(admitted, bitorder="little")
        selector = None if bits is None else library.IDSelectorBitmap(bits)
        settings = library.IVFSearchParameters(nprobe=min(num_lists, self.lists.nlist), sel=selector)
        _, found = self.lists.search(leading, num_candidates, params=settings)
        return [candidates[candidates >= 0] for candidates in found]


class Compressor:
    """A codec and an inverted file for vectors like those it is made with, still without any."""

    def __init__(
        self,
        vectors: ExactVectors,
        sample_queries: Float32[np.ndarray, "q d"] | None = None,
        split: Split = SPLITS[0],
    ) -> None:
        """Choose and train.

        Args:
            vectors: At least 2,000.
            sample_queries: As they will be asked.
            split: Of the bytes.

        Raises:
            LibraryError: FAISS is missing.
        """
        library = faiss()
        chosen = np.random.default_rng(0).permutation(len(vectors))[:_SAMPLE]
        self.codec = Codec.fit(vectors.rows(np.sort(chosen)), sample_queries, bits_per_dimension=split.bits)
        self.vectors = vectors
        self.lists = _trained_lists(library, self.codec, vectors, split.list_bytes)

    def codes(self) -> Iterator[UInt8[np.ndarray, "n c"]]:
        """Codes of all vectors, block by block; the inverted file takes them in on the way."""
        for start in range(0, len(self.vectors), _BLOCK):
            turned = self.codec.turned(self.vectors.rows(slice(start, start + _BLOCK)))
            self.lists.add(np.ascontiguousarray(turned[:, : self.lists.d]))
            yield self.codec.encode(turned)


def _trained_lists(library: Any, codec: Codec, vectors: ExactVectors, list_bytes: float) -> Any:
    """An empty inverted file for vectors like these."""
    width = len(codec.low)
    num_lists = max(16, int(4 * math.sqrt(len(vectors))))
    chosen = np.random.default_rng(1).permutation(len(vectors))[: num_lists * _POINTS_PER_LIST]
    turned = codec.turned(vectors.rows(np.sort(chosen)))
    num_groups = max(width // 10, 1, 2 * int(list_bytes * width - _ROW_BYTES))
    shares = np.cumsum(turned.var(axis=0))
    num_leading = int(np.searchsorted(shares, _LEADING_SHARE * shares[-1])) + 1
    # an axis for each four bits tells most; only where the variance is spread wide, several share them
    leading = num_groups * min(-(-num_leading // num_groups), width // num_groups)
    coarse = library.IndexFlatL2(leading)
    lists = library.IndexIVFPQFastScan(coarse, leading, num_lists, num_groups, 4)
    lists.own_fields = True
    coarse.this.disown()
    lists.cp.niter, lists.cp.max_points_per_centroid, lists.cp.seed = 8, _POINTS_PER_LIST, 1
    lists.cp.min_points_per_centroid = 1
    lists.train(np.ascontiguousarray(turned[:, :leading]))
    return lists
