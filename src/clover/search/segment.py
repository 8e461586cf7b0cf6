"""A part of a library in a folder: videos, their moments and vectors, in files that are never changed once written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from clover.search.compressed import CompressedVectors
from clover.search.exact import ExactVectors, Nearest
from clover.search.interface import Filter, Moment, VideoRecord

ROW = np.dtype([("video", "<u4"), ("start_seconds", "<f8"), ("end_seconds", "<f8")])
"""One moment: the number of its video in the segment, and its span."""


class Segment:
    """Videos, rows of moments and their vectors; which of the videos were removed since is kept beside."""

    def __init__(
        self,
        videos: list[VideoRecord],
        rows: np.ndarray,
        vectors: ExactVectors | CompressedVectors,
        entry: dict[str, Any] | None = None,
    ) -> None:
        """Use `of`, or `clover.search.segment_files`.

        Args:
            videos: What the rows refer to.
            rows: ``[n]`` of `ROW`.
            vectors: ``[n d]``.
            entry: What the library's header says about its files; None where it has none yet.
        """
        self.videos, self.rows, self.vectors, self.entry = videos, rows, vectors, entry
        self.is_live: Bool[np.ndarray, " videos"] = np.ones(len(videos), dtype=bool)

    @classmethod
    def of(cls, moments: Sequence[Moment], vectors: Float32[np.ndarray, "n d"]) -> Segment:
        """A segment in memory."""
        numbers: dict[VideoRecord, int] = {}
        rows = np.empty(len(moments), dtype=ROW)
        for place, moment in enumerate(moments):
            number = numbers.setdefault(VideoRecord.of(moment), len(numbers))
            rows[place] = (number, moment.start_seconds, moment.end_seconds)
        return cls(list(numbers), rows, ExactVectors(vectors))

    # what there is

    @cached_property
    def _num_rows(self) -> Int64[np.ndarray, " videos"]:
        return np.bincount(self.rows["video"], minlength=len(self.videos))

    @property
    def num_moments(self) -> int:
        """Moments that were not removed."""
        return int(self._num_rows[self.is_live].sum())

    @property
    def search(self) -> dict[str, Any]:
        """How it is searched, as the header says."""
        return {"kind": "exact"} if self.entry is None else dict(self.entry["search"])

    @property
    def is_compressed(self) -> bool:
        """Whether its vectors are codes."""
        return isinstance(self.vectors, CompressedVectors)

    @property
    def removed_share(self) -> float:
        """Share of its moments that were removed."""
        return 1 - self.num_moments / max(len(self.rows), 1)

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {}
        for number, record in enumerate(self.videos):
            numbers.setdefault(record.video, []).append(number)
        return numbers

    @cached_property
    def _by_video(self) -> Int64[np.ndarray, " n"]:
        return np.argsort(self.rows["video"], kind="stable")

    @cached_property
    def _first_by_video(self) -> Int64[np.ndarray, " videos_and_one"]:
        return np.concatenate([[0], np.cumsum(self._num_rows)])

    def rows_of(self, video: str) -> Int64[np.ndarray, " r"]:
        """Rows of a video that were not removed."""
        first = self._first_by_video
        live = [number for number in self._numbers.get(video, []) if self.is_live[number]]
        parts = [self._by_video[first[number] : first[number + 1]] for number in live]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)

    def remove(self, videos: Collection[str]) -> int:
        """Mark videos as removed; returns how many moments they had."""
        before = self.num_moments
        for video in videos:
            self.is_live[self._numbers.get(video, [])] = False
        return before - self.num_moments

    def moments(self, rows: Int64[np.ndarray, " r"]) -> list[Moment]:
        """The moments of rows."""
        return [self.videos[number].moment(start, end) for number, start, end in self.rows[rows].tolist()]

    def live_rows(self) -> Int64[np.ndarray, " r"]:
        """Rows that were not removed."""
        return np.flatnonzero(self.is_live[self.rows["video"]])

    # searching

    def nearest(self, queries: Float32[np.ndarray, "q d"], num_results: int, where: Filter | None) -> Nearest:
        """The best rows of every query among those that a filter admits."""
        is_admitted = self.is_live
        if where is not None:
            is_admitted = is_admitted & np.fromiter(map(where.admits, self.videos), dtype=bool, count=len(self.videos))
        rows = None if is_admitted.all() else is_admitted[self.rows["video"]]
        return self.vectors.nearest(queries, num_results, rows)

    def spans(self, rows: Int64[np.ndarray, " r"]) -> list[tuple[float, float]]:
        """Start and end of rows, in seconds."""
        return self.rows[["start_seconds", "end_seconds"]][rows].tolist()
