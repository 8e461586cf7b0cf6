"""Indexes of shards, kept in JSON: made when there is none, or when the shard has changed since."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from clover.data.annotations.problems import Problem
from clover.data.corpora.shard_index import FailedSample, IndexedSample, ShardIndex, index_shard, stats_file
from clover.errors import DataError
from clover.files import WriteError, write_text

_FORMAT = {"format": "clover-shard-index", "version": 2}


def index_file(shard: Path, cache_folder: Path | None) -> Path:
    """Where the index of a shard is kept: beside it, or in a folder for indexes, named after the shard's full path."""
    if cache_folder is None:
        return shard.with_name(f"{shard.name}.index.json")
    digest = hashlib.sha256(str(shard.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(cache_folder) / f"{shard.stem}-{digest}.index.json"


def load_or_index(shard: Path, cache_folder: Path | None) -> ShardIndex:
    """The index of a shard, read when it was kept, else made and kept.

    Where nothing can be written beside a shard its index is made anew each time, and the problems say so.

    Raises:
        DataError: the shard is missing, cannot be read, or is no uncompressed tar.
        WriteError: the folder for indexes cannot be written.
    """
    stamp = _stamp(shard)
    path = index_file(shard, cache_folder)
    kept = _load(path, shard, stamp)
    if kept is not None:
        return kept
    index = index_shard(shard)
    try:
        write_text(path, json.dumps(_to_json(index, stamp)))
    except WriteError as error:
        if cache_folder is not None:
            raise
        found = f"{error}; or give a cache_folder"
        index.problems.append(Problem(shard, None, "a place beside it to keep its index", found))
    return index


def _stamp(shard: Path) -> list[list[int] | None]:
    """Size and time of change of the shard and of the counts beside it."""
    stamps: list[list[int] | None] = []
    for path in (shard, stats_file(shard)):
        try:
            status = path.stat()
        except OSError as error:
            if path == shard:
                raise DataError(f"{shard}: expected a tar archive, found {error.strerror}; check the path") from error
            stamps.append(None)
        else:
            stamps.append([status.st_size, status.st_mtime_ns])
    return stamps


def _to_json(index: ShardIndex, stamp: list[list[int] | None]) -> dict[str, Any]:
    return {
        **_FORMAT,
        "stamp": stamp,
        "samples": [_row(sample) for sample in index.samples],
        "failed": [[failed.key, failed.status] for failed in index.failed],
        "problems": [[problem.row, problem.expected, problem.found] for problem in index.problems],
    }


def _row(sample: IndexedSample) -> list[str | int]:
    return [sample.key, sample.caption, sample.offset, sample.size, sample.about_offset, sample.about_size]


def _load(path: Path, shard: Path, stamp: list[list[int] | None]) -> ShardIndex | None:
    """A kept index; None when there is none, when it is of another state of the shard, or damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if {name: kept[name] for name in (*_FORMAT, "stamp")} != {**_FORMAT, "stamp": stamp}:
            return None
        index = ShardIndex(
            shard=shard,
            samples=[_sample(row, stamp) for row in kept["samples"]],
            failed=[FailedSample(shard, *_typed(row, str, str)) for row in kept["failed"]],
            problems=[Problem(shard, *_typed(row, (int, type(None)), str, str)) for row in kept["problems"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return index


def _sample(row: Any, stamp: list[list[int] | None]) -> IndexedSample:
    sample = IndexedSample(*_typed(row, str, str, int, int, int, int))
    shard_size = stamp[0][0] if stamp[0] else 0
    for offset, size in ((sample.offset, sample.size), (sample.about_offset, sample.about_size)):
        if offset < 0 or not 0 <= size <= shard_size - offset:
            raise ValueError(f"not within the shard: {row}")
    return sample


def _typed(row: Any, *types: type | tuple[type, ...]) -> Any:
    """The row, if its fields are of these types.

    Raises:
        TypeError: they are not.
        UnicodeEncodeError: there is half of a surrogate pair in one.
    """
    if not isinstance(row, list) or len(row) != len(types) or not all(map(isinstance, row, types)):
        raise TypeError(f"not a row of an index: {row}")
    for text in row:
        if isinstance(text, str):
            text.encode("utf-8")
    return row
