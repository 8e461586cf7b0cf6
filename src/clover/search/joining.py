"""Libraries that several machines made, joined into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clover.errors import LibraryError
from clover.search.confidence import join_null_scores
from clover.search.index import Index, create_index, is_library, open_index
from clover.search.indexing import UNFINISHED
from clover.search.windows import WindowConfig

_AT_ONCE = 65_536


def part_folder(out: Path, index: int, count: int) -> Path:
    """Where part ``index`` of ``count`` of a library is made: beside it, a library of its own."""
    digits = len(str(count))
    return out.with_name(f"{out.name}-part-{index:0{digits}d}-of-{count}")


def join_libraries(parts: Sequence[str | Path], out: str | Path) -> Index:
    """Add the moments of several libraries to one, new or there already, in one transaction.

    Args:
        parts: Libraries of one model and one cut. A video that is in several is taken from the last.
        out: The library that gets them.

    Raises:
        LibraryError: one is missing or broken, was made by another model, cut in another way, or is not finished.
        WriteError: ``out`` cannot be written; it is then as it was.
    """
    opened = [open_index(part) for part in parts]
    if not opened:
        raise LibraryError("there is nothing to join; name the libraries")
    first = opened[0]
    was_there = is_library(out)
    if was_there:
        joined = open_index(out, fingerprint=first.fingerprint)
    else:
        joined = create_index(out, width=first.width, fingerprint=first.fingerprint, details=dict(first.details))
    windows = WindowConfig.from_details(joined.details)
    for part in opened:
        _check(part, joined, windows)
    with joined.locked():
        for part in opened:
            joined.remove_all(set(part.videos()) & set(joined.videos()))
            moments = part.moments
            for start in range(0, len(moments), _AT_ONCE):
                some = moments[start : start + _AT_ONCE]
                joined.add(some, part.vectors_of(some))
        join_null_scores([*([joined] if was_there else []), *opened], joined)
        joined.save()
    return joined


def _check(part: Index, joined: Index, windows: WindowConfig) -> None:
    if part.fingerprint != joined.fingerprint:
        raise LibraryError(
            f"{part.place} was made by model {part.fingerprint}, {joined.place} by {joined.fingerprint}: "
            "their vectors cannot be compared; join libraries of one model"
        )
    there = WindowConfig.from_details(part.details)
    if there.as_details() != windows.as_details():
        raise LibraryError(
            f"{part.place} is cut into {there}, {joined.place} into {windows}; join libraries of one cut"
        )
    if unfinished := part.details.get(UNFINISHED):
        raise LibraryError(
            f"{part.place} is not finished: {len(unfinished)} videos are half indexed "
            f"(first: {next(iter(unfinished))}); run its clover index again"
        )
