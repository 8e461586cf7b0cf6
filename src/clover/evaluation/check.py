"""Whether a benchmark could be run as published from the files that are here: everything that is wrong, at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from clover.data.annotations.checks import shared_videos
from clover.data.annotations.media import AnyRecord, MediaIndex
from clover.data.annotations.problems import Problems, counted
from clover.data.annotations.rows import NUM_OPTIONS
from clover.data.video import probe
from clover.errors import CloverError, MediaError
from clover.evaluation.benchmark_data import BenchmarkData, Role
from clover.evaluation.benchmarks import Benchmark
from clover.types import MultiChoice, Pair

_SLIGHT = "notes"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a check found."""

    counts: list[str] = field(default_factory=list)
    """A line per split: rows and videos, beside the published number."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """Lines under what they have in common."""

    @property
    def is_as_published(self) -> bool:
        """Nothing but notes."""
        return not set(self.groups) - {_SLIGHT}

    def add(self, heading: str, line: str) -> None:
        """One more line."""
        self.groups.setdefault(heading, []).append(line)


def check_benchmark(
    row: Benchmark,
    annotations: Path,
    videos: Path,
    *,
    probe_media: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Read all splits and look for all media; nothing stops it.

    Args:
        row: The benchmark.
        annotations: Folder of the publisher's annotation files.
        videos: Folder of the media.
        probe_media: Open every file that a row names.
        progress: Called with (videos opened, videos).

    Raises:
        DataError: there is no folder of annotations.
    """
    found = Found()
    data = BenchmarkData(row, annotations, videos, "drop")
    try:
        media: MediaIndex | None = data.media
    except CloverError as error:
        found.add("media folder", str(error))
        media = None
    splits: dict[Role, list[Any]] = {}
    wanted: dict[Path, None] = {}
    for role in get_args(Role):
        if getattr(row.splits, role) is None:
            continue
        rows = _read(data, role, found)
        if rows is None:
            continue
        splits[role] = rows
        if media is not None:
            wanted |= _locate(role, rows, media, found)
    _compare_splits(splits, found)
    if probe_media:
        for done, path in enumerate(wanted, start=1):
            try:
                probe(path)
            except MediaError as error:
                found.add("media that cannot be read", str(error))
            if progress is not None:
                progress(done, len(wanted))
    for lines in found.groups.values():
        lines[:] = dict.fromkeys(lines)  # what several splits share is read with each of them
    return found


def _read(data: BenchmarkData, role: Role, found: Found) -> list[Any] | None:
    row = data.benchmark
    try:
        rows, problems = data.read(role)
    except CloverError as error:
        found.add("annotation files", f"{role}: {error}")
        return None
    for note in problems.notes:
        found.add(_SLIGHT, note)
    repeated = len(rows) - len({_content(record) for record in rows})
    if repeated:
        found.add(_SLIGHT, f"{role}: rows that occur twice: {repeated:,}")
    _look_at_counting(role, rows, problems, found)
    for problem in problems:
        found.add(_SLIGHT if problem.is_published else f"rows left out, {problem.kind}", str(problem))
    published = row.counts.get(role)
    num_videos = len({record.video for record in rows})
    line = f"{role:10} {len(rows):>8,} row{'s' * (len(rows) != 1)}, {num_videos:>7,} video{'s' * (num_videos != 1)}"
    if published is not None and published != len(rows):
        found.add(
            "counts that differ from the published ones",
            f"{role}: {counted(len(rows), 'row')}, published {published:,}",
        )
        line += f"   published {published:,} rows"
    found.counts.append(line)
    if not rows:
        found.add("annotation files", f"{role}: the split is empty")
    return rows


def _content(record: AnyRecord) -> tuple[Any, ...]:
    """What a row says, whatever its place in the file and the order of its options."""
    if isinstance(record, MultiChoice):
        return record.video, record.question, tuple(sorted(record.options)), record.options[record.label]
    return record.video, record.text if isinstance(record, Pair) else (record.question, record.answer)


def _look_at_counting(role: Role, rows: list[Any], problems: Problems, found: Found) -> None:
    """Right options counted from 1 would all be one too high; only those of the last option are out of range."""
    last = f"a right option from 0 to {NUM_OPTIONS - 1} "
    beyond = [
        problem for problem in problems if problem.expected.startswith(last) and problem.found == str(NUM_OPTIONS)
    ]
    if beyond and all(isinstance(record, MultiChoice) and record.label > 0 for record in rows):
        often = f"{NUM_OPTIONS} in {counted(len(beyond), 'row')} (first: {beyond[0]})"
        heading = "answers that look counted from 1 and must be counted from 0"
        found.add(heading, f"{role}: the right option is never 0 and {often}")


def _locate(role: Role, rows: list[Any], media: MediaIndex, found: Found) -> dict[Path, None]:
    wanted: dict[Path, None] = {}
    for video in dict.fromkeys(record.video for record in rows):
        candidates = media.candidates(video)
        if not candidates:
            found.add(f"media missing in {role}", str(video))
            continue
        if len(candidates) > 1:
            found.add("names that several media files bear", f"{video}: {', '.join(map(str, candidates[:3]))}")
        wanted[candidates[0]] = None
    return wanted


def _compare_splits(splits: dict[Role, list[Any]], found: Found) -> None:
    roles = list(splits)
    for place, first in enumerate(roles):
        for second in roles[place + 1 :]:
            for name in shared_videos(splits[first], splits[second]):
                found.add(f"videos in both {first} and {second}", name)
