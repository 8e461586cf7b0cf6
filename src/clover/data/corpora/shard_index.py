"""The index of one tar shard: where its samples are, which failed, what is wrong; made once and kept beside it.

Source: iejMac/video2dataset ``data_writer.py``, ``download_worker.py``; rom1504/img2dataset. A sample is the members
of one key: media, ``.txt`` and ``.json``. Keys are not sorted. Videos that could not be fetched are there without
media, with their ``status``; images are not there at all, only counted in ``<shard>_stats.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from clover.data.annotations.problems import Problem, Problems, quoted
from clover.data.corpora.tar_members import Member, check_is_tar, printable, read_members
from clover.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from clover.errors import DataError

_LONGEST_TEXT = 1 << 20
_LONGEST_STATUS = 200
_MOST_KEYS = 1_000_000
_PACKED = frozenset(("tags", "other_captions"))
"""What the JSON of a sample from `clover data pack` holds that training asks for."""


@dataclass(frozen=True, slots=True)
class IndexedSample:
    """One sample that can be used: key, caption, and where in the shard its media lie, and JSON if it was packed."""

    key: str
    caption: str
    offset: int
    size: int
    about_offset: int = 0
    about_size: int = 0
    """0 where the JSON says nothing that training asks for."""


@dataclass(frozen=True, slots=True)
class FailedSample:
    """One sample that the shard's maker could not fetch, and what was noted about it."""

    shard: Path
    key: str
    status: str


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """All samples of a shard. Every key is in one of the three lists."""

    shard: Path
    samples: list[IndexedSample]
    failed: list[FailedSample]
    problems: list[Problem]


@dataclass(slots=True)
class _Entry:
    """The members of one key, by their ending in lower case."""

    row: int
    members: dict[str, Member] = field(default_factory=dict)

    def media(self) -> Member | None:
        """The video, or without one the image."""
        for suffixes in (VIDEO_SUFFIXES, IMAGE_SUFFIXES):
            for ending, member in self.members.items():
                if ending in suffixes:
                    return member
        return None


class _UnusableError(Exception):
    """What was expected of a sample, and what was found."""


class _NotFetchedError(Exception):
    """What was noted about a sample that could not be fetched."""


def index_shard(shard: Path) -> ShardIndex:
    """Go through a shard once.

    Raises:
        DataError: it is missing, cannot be read, or is no uncompressed tar.
    """
    problems = Problems()
    samples: list[IndexedSample] = []
    failed: list[FailedSample] = []
    try:
        with shard.open("rb") as file:
            check_is_tar(file, shard)
            entries = _entries(file, shard, problems)
            size = file.seek(0, 2)
            for key, entry in entries.items():
                try:
                    samples.append(_sample(file, size, key, entry))
                except _NotFetchedError as status:
                    failed.append(FailedSample(shard, key, str(status)))
                except _UnusableError as reason:
                    expected, found = reason.args
                    problems.add(shard, entry.row, expected, f"{found} (sample {key})")
    except OSError as error:
        raise DataError(f"{shard}: expected a readable tar archive, found {error.strerror or error}") from error
    if not entries:
        problems.add(shard, None, "samples", "none")
    failed += [FailedSample(shard, key, "not in the shard") for key in _absent(shard, list(entries), problems)]
    return ShardIndex(shard=shard, samples=samples, failed=failed, problems=list(problems))


def stats_file(shard: Path) -> Path:
    """Where the shard's maker counted what it fetched."""
    return shard.with_name(f"{shard.stem}_stats.json")


def _entries(file: BinaryIO, shard: Path, problems: Problems) -> dict[str, _Entry]:
    """Members by key, in the order in which the keys first appear; hidden files and those without ending left out."""
    entries: dict[str, _Entry] = {}
    for member in read_members(file, shard, problems):
        path = PurePosixPath(member.name)
        stem, dot, ending = path.name.partition(".")
        if not stem or not dot:
            continue
        key = str(path.with_name(stem))
        entry = entries.setdefault(key, _Entry(len(entries)))
        if f".{ending.lower()}" in entry.members:
            problems.add(shard, None, "every member once", f"another {member.name}, which is not read")
        else:
            entry.members[f".{ending.lower()}"] = member
    return entries


def _sample(file: BinaryIO, size: int, key: str, entry: _Entry) -> IndexedSample:
    """What the members of a key amount to.

    Raises:
        _NotFetchedError: they say that it could not be fetched.
        _UnusableError: something is missing or damaged.
    """
    about = _json(file, entry.members.get(".json"))
    status = about.get("status")
    if status not in (None, "success"):
        message = about.get("error_message")
        raise _NotFetchedError(printable(f"{status}: {message}" if message else f"{status}")[:_LONGEST_STATUS])
    media = entry.media()
    if media is None:
        raise _UnusableError("media", f"only {', '.join(entry.members)}")
    if media.size == 0:
        raise _UnusableError("media", f"an empty {media.name}")
    if media.offset + media.size > size:
        raise _UnusableError(f"{media.size} bytes of media", f"{max(0, size - media.offset)}: the shard was cut short")
    caption = _text(file, entry.members[".txt"]) if ".txt" in entry.members else about.get("caption")
    if not isinstance(caption, str):
        raise _UnusableError("a caption", "neither .txt nor caption in .json")
    caption = caption.strip()
    if not caption:
        raise _UnusableError("a caption", "an empty one")
    try:
        caption.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _UnusableError("a caption in Unicode", f"half of a surrogate pair in {quoted(caption)}") from error
    about_member = entry.members.get(".json")
    if about_member is None or not _PACKED & about.keys():
        return IndexedSample(key, caption, media.offset, media.size)
    return IndexedSample(key, caption, media.offset, media.size, about_member.offset, about_member.size)


def _json(file: BinaryIO, member: Member | None) -> dict[str, Any]:
    if member is None:
        return {}
    try:
        about = json.loads(_text(file, member))
    except (ValueError, RecursionError) as error:
        raise _UnusableError("JSON", f"none in {member.name} ({error})") from error
    if not isinstance(about, dict):
        raise _UnusableError("a JSON object", f"{type(about).__name__} in {member.name}")
    return about


def _text(file: BinaryIO, member: Member) -> str:
    if member.size > _LONGEST_TEXT:
        raise _UnusableError(f"at most {_LONGEST_TEXT} bytes of text", f"{member.size} in {member.name}")
    file.seek(member.offset)
    content = file.read(member.size)
    if len(content) < member.size:
        raise _UnusableError(f"{member.size} bytes of {member.name}", f"{len(content)}: the shard was cut short")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _UnusableError("UTF-8", f"other bytes in {member.name}") from error


def _absent(shard: Path, keys: list[str], problems: Problems) -> list[str]:
    """Keys that the counts beside the shard promise and that are not in it.

    A key is the shard's number and a position. Without counts, or with keys of clips (``00000000_001``), nothing can be
    known.
    """
    stats = stats_file(shard)
    if not stats.is_file() or not keys:
        return []
    try:
        count = json.loads(stats.read_text(encoding="utf-8"))["count"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problems.add(shard, None, f"a count in {stats.name}", f"none ({error})")
        return []
    width = len(keys[0])
    if not all(len(key) == width and key.isdecimal() and key.startswith(shard.stem) for key in keys):
        return []
    num_digits = width - len(shard.stem)
    if type(count) is not int or not 0 <= count <= min(_MOST_KEYS, 10**num_digits):
        problems.add(shard, None, f"a count from 0 to {10**num_digits} in {stats.name}", quoted(str(count)))
        return []
    there = set(keys)
    promised = (f"{shard.stem}{position:0{num_digits}d}" for position in range(count))
    return [key for key in promised if key not in there]
