"""An index in a folder; every save is one transaction. No torch.

The folder holds ``library.json`` (`Header`) and the files of segments, which are never changed once written. Files are
written first and ``library.json`` is renamed last, so that a kill at any instant leaves the previous or the new state.
What was added since becomes a segment of its own and is joined with the last ones as long as they are not much larger:
saving n times costs n log n, and a search looks into a handful of segments.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from clover.errors import LibraryBusyError, LibraryError
from clover.search.compressed import has_faiss
from clover.search.header import Header, generation_of, open_version_1, read_header
from clover.search.interface import (
    Filter,
    Hit,
    Index,
    Information,
    Moment,
    SearchOptions,
    Verification,
    VideoRecord,
    checked,
    checked_queries,
    refuse_other_model,
)
from clover.search.lock import lock_file
from clover.search.segment import Segment
from clover.search.segment_files import PATTERNS, num_bytes, open_segment, problems_of, write_joined

_MIGRATION = "migration"
_LEFT_OVER = re.compile(
    r"\.lock|\.library\.json\..*\.part"
    r"|(videos|moments|vectors|codes|codec|lists)-000001\.(jsonl|npy|npz|faiss)|\..*-000001\..*\.part"
)
"""What a first save leaves behind that was killed, or had no room; the next one takes it away."""
_REMOVED_SHARE = 0.25
_ATTEMPTS = 5


def _is_left_over(path: Path) -> bool:
    return _LEFT_OVER.fullmatch(path.name) is not None and path.is_file()


class FolderIndex(Index):
    """See the module."""

    def __init__(self, folder: Path, header: Header) -> None:
        """Use `create` or `open`."""
        self.folder, self.place = folder, str(folder)
        self.fingerprint, self.width, self.details = header.fingerprint, header.width, header.details
        self.options = header.options
        self._generation = header.generation
        self._segments: list[Segment] = []
        self._added: list[tuple[list[Moment], Float32[np.ndarray, "n d"]]] = []
        self._lock_depth = 0

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        width: int,
        fingerprint: str,
        details: dict[str, Any],
        options: SearchOptions | None = None,
    ) -> FolderIndex:
        """Make an empty library in a new or empty folder; nothing is on disk before `save`.

        Args:
            folder: Where to put it.
            width: Width of the vectors.
            fingerprint: Of the model that makes them.
            details: Anything else worth keeping, as JSON values.
            options: How to search.

        Raises:
            LibraryError: the folder holds something else.
        """
        folder = Path(folder)
        if folder.exists() and not (folder.is_dir() and all(map(_is_left_over, folder.iterdir()))):
            raise LibraryError(f"{folder} is not empty and not a library; choose another place")
        return cls(
            folder,
            Header(
                width=width,
                fingerprint=fingerprint,
                details=details,
                generation=0,
                options=options or SearchOptions(),
            ),
        )

    @classmethod
    def open(cls, folder: Path, *, fingerprint: str | None = None) -> FolderIndex:
        """Open a library.

        Args:
            folder: Where it is.
            fingerprint: Of the model that will be used with it; None opens it just for looking.

        Raises:
            LibraryError: it is missing, broken, of a later version, or made by another model.
        """
        folder = Path(folder)
        for attempt in range(_ATTEMPTS):
            header = read_header(folder)
            refuse_other_model(str(folder), header.fingerprint, fingerprint, header.details)
            index = cls(folder, header)
            try:
                index._load(header)
            except LibraryError:
                # a save in between may have taken the files away that this header names
                if attempt == _ATTEMPTS - 1 or generation_of(folder) == header.generation:
                    raise
            else:
                return index
        raise AssertionError("the last attempt returns or raises")

    def _load(self, header: Header) -> None:
        if header.version == 1:
            self._segments = [open_version_1(self.folder, header)]
            return
        self._segments = [open_segment(self.folder, entry, self.width) for entry in header.segments]
        for segment, entry in zip(self._segments, header.segments, strict=True):
            segment.is_live[header.removed.get(str(entry["number"]), [])] = False

    def __len__(self) -> int:
        return sum(segment.num_moments for segment in self._all())

    def _all(self) -> list[Segment]:
        """The segments, what was added since the last save among them."""
        if self._added:
            moments = [moment for some, _ in self._added for moment in some]
            self._segments.append(Segment.of(moments, np.concatenate([vectors for _, vectors in self._added])))
            self._added = []
        return self._segments

    @property
    def moments(self) -> list[Moment]:
        return [moment for segment in self._all() for moment in segment.moments(segment.live_rows())]

    def video_records(self) -> list[VideoRecord]:
        return list(
            dict.fromkeys(
                video
                for segment in self._all()
                for video, is_live in zip(segment.videos, segment.is_live, strict=True)
                if is_live
            )
        )

    def moments_of(self, video: str) -> list[Moment]:
        return [moment for segment in self._all() for moment in segment.moments(segment.rows_of(video))]

    def add(self, moments: Sequence[Moment], vectors: Float[np.ndarray, "n d"]) -> None:
        rows = checked(moments, vectors, self.width)
        if len(rows):
            self._added.append((list(moments), rows))

    def remove_all(self, videos: Collection[str]) -> int:
        return sum(segment.remove(videos) for segment in self._all())

    def nearest(
        self, queries: Float[np.ndarray, "*q d"], num_results: int, where: Filter | None = None
    ) -> list[list[Hit]]:
        rows = checked_queries(queries, self.width)
        segments = self._all()
        found = [segment.nearest(rows, num_results, where) for segment in segments]
        hits = []
        for place in range(len(rows)):
            some = [
                Hit(moment=moment, score=score)
                for segment, nearest in zip(segments, found, strict=True)
                for moment, score in zip(
                    segment.moments(nearest.rows[place]), nearest.scores[place].tolist(), strict=True
                )
            ]
            # sorting keeps the order of equal scores: that of the segments, and of the rows in each
            hits.append(sorted(some, key=lambda hit: -hit.score)[:num_results])
        return hits

    def vectors_of(self, moments: Sequence[Moment]) -> Float32[np.ndarray, "n d"]:
        places: dict[str, list[int]] = {}
        for place, moment in enumerate(moments):
            places.setdefault(moment.video, []).append(place)
        vectors = np.empty((len(moments), self.width), dtype=np.float32)
        is_found = np.zeros(len(moments), dtype=bool)
        for segment in self._all():
            for video, wanted in places.items():
                rows = segment.rows_of(video)
                row_of = {span: row for row, span in zip(rows.tolist(), segment.spans(rows), strict=True)}
                found = [
                    (place, row_of[span])
                    for place in wanted
                    if (span := (moments[place].start_seconds, moments[place].end_seconds)) in row_of
                ]
                if found:
                    taken, from_rows = map(np.array, zip(*found, strict=True))
                    vectors[taken], is_found[taken] = segment.vectors.rows(from_rows), True
        if not is_found.all():
            missing = moments[int(np.argmin(is_found))]
            raise LibraryError(
                f"{self.place} has no moment of {missing.video} "
                f"from {missing.start_seconds:g} to {missing.end_seconds:g} s; search it again"
            )
        return vectors

    @contextmanager
    def locked(self) -> Iterator[None]:
        if self._lock_depth:
            self._lock_depth += 1
            try:
                yield
            finally:
                self._lock_depth -= 1
            return
        with lock_file(self.folder / ".lock", self.place):
            self._check_generation()
            self._lock_depth = 1
            try:
                yield
            finally:
                self._lock_depth = 0

    def is_current(self) -> bool:
        return generation_of(self.folder) == self._generation

    def _check_generation(self) -> None:
        if not self.is_current():
            raise LibraryBusyError(f"{self.folder} was changed by another command meanwhile; run this one again")

    def save(self) -> None:
        with self.locked():
            self._check_generation()
            self._write(self._first_to_join(may_compress=False), may_compress=False)

    def compact(self) -> None:
        with self.locked():
            self._check_generation()
            self._write(self._first_to_join(may_compress=True), may_compress=True)

    def is_due(self) -> bool:
        waiting = [segment for segment in self._all() if segment.search == {"kind": "exact"}]
        num_waiting = sum(segment.num_moments for segment in waiting)
        num_removed = sum(len(segment.rows) - segment.num_moments for segment in self._segments)
        is_grown = has_faiss() and num_waiting > max(self.options.exact_up_to, (len(self) - num_waiting) / 4)
        return is_grown or num_removed > _REMOVED_SHARE * (len(self) + num_removed)

    def _first_to_join(self, *, may_compress: bool) -> int:
        """The segment from which on all become one, so that there are few and most of them are left alone.

        What is new joins the last ones as long as they are at most twice as large. Compressed ones lose a little when
        they are compressed anew; only `compact` touches them.
        """
        segments = self._all()
        must = [
            place
            for place, segment in enumerate(segments)
            if segment.entry is None
            or (may_compress and (not segment.is_compressed or segment.removed_share > _REMOVED_SHARE))
        ]
        first = min(must, default=len(segments))
        while first and (may_compress or not segments[first - 1].is_compressed):
            if segments[first - 1].num_moments > 2 * sum(segment.num_moments for segment in segments[first:]):
                break
            first -= 1
        return first

    def _write(self, first: int, *, may_compress: bool) -> None:
        """Join the segments from one on, and make that the state of the library."""
        self._segments = self._written(self._segments[:first], self._segments[first:], may_compress=may_compress)

    def _written(self, kept: list[Segment], joined: list[Segment], *, may_compress: bool) -> list[Segment]:
        """Write some segments as one, and a header that names it and those kept; returns all of them."""
        generation = self._generation + 1
        segments = list(kept)
        if any(segment.num_moments for segment in joined):
            written = write_joined(
                joined,
                self.folder,
                generation,
                width=self.width,
                options=self.options,
                sample_queries=self.sample_queries,
                may_compress=may_compress,
            )
            segments.append(written)
        entries = [segment.entry for segment in segments if segment.entry is not None]
        removed = {
            str(entry["number"]): np.flatnonzero(~segment.is_live).tolist()
            for segment, entry in zip(segments, entries, strict=True)
            if not segment.is_live.all()
        }
        header = Header(
            fingerprint=self.fingerprint,
            width=self.width,
            details=self.details,
            generation=generation,
            options=self.options,
            segments=entries,
            removed=removed,
        )
        header.write(self.folder)
        self._generation = generation
        self._sweep({name for entry in entries for name in entry["files"]})
        return segments

    def _sweep(self, kept: set[str]) -> None:
        """Take away what no longer counts, and what killed commands left."""
        stale = [path for pattern in PATTERNS for path in self.folder.glob(pattern) if path.name not in kept]
        stale += [path for pattern in (*PATTERNS, "library.json") for path in self.folder.glob(f".{pattern}.*.part")]
        for path in stale:
            with suppress(OSError):  # where mapped files cannot be removed, the next save tries again
                path.unlink()
        migration = self.folder / _MIGRATION
        with suppress(LibraryError):
            if migration.is_dir() and read_header(migration).fingerprint == self.fingerprint:
                shutil.rmtree(migration, ignore_errors=True)

    def verify(self) -> Verification:
        problems: list[str] = []
        num_files = num_moments = num_unproven = 0
        for segment in self._segments:
            if segment.entry is None:
                num_unproven += len(segment.rows)
            else:
                problems += problems_of(self.folder, segment.entry, segment)
                num_files += len(segment.entry["files"])
                num_moments += len(segment.rows)
        return Verification(
            num_files=num_files + 1, num_moments=num_moments, problems=problems, num_unproven=num_unproven
        )

    def information(self) -> Information:
        return Information(
            place=self.place,
            fingerprint=self.fingerprint,
            width=self.width,
            num_videos=len(self.video_records()),
            num_moments=len(self),
            details=self.details,
            search=[
                segment.search
                | {"moments": segment.num_moments, "removed": len(segment.rows) - segment.num_moments}
                | {"bytes": num_bytes(segment)}
                for segment in self._all()
            ],
        )

    def migration(self, *, width: int, fingerprint: str, details: dict[str, Any]) -> FolderIndex:
        folder = self.folder / _MIGRATION
        if not (folder / "library.json").exists():
            return FolderIndex.create(
                folder, width=width, fingerprint=fingerprint, details=details, options=self.options
            )
        begun = FolderIndex.open(folder)
        if begun.fingerprint != fingerprint:
            raise LibraryError(
                f"{self.place} is being taken over by model {begun.fingerprint} "
                f"({begun.details.get('checkpoint')}), and this is model {fingerprint}; "
                f"go on with that one, or remove {folder}"
            )
        return begun

    def adopt(self, successor: Index) -> None:
        if not isinstance(successor, FolderIndex):
            raise LibraryError(f"{self.place} cannot take over {successor.place}: it is kept in another way")
        with self.locked():
            self._check_generation()
            before = self.fingerprint, self.width, self.details, self.sample_queries
            self.fingerprint, self.width, self.details = successor.fingerprint, successor.width, successor.details
            self.sample_queries = successor.sample_queries
            try:
                self._segments = self._written([], successor._all(), may_compress=True)
            except BaseException:
                self.fingerprint, self.width, self.details, self.sample_queries = before
                raise
