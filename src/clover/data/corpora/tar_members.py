"""The members of a tar, also of one that was cut short or damaged: what is there, and what is wrong."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from clover.data.annotations.problems import Problems
from clover.errors import DataError

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_DAMAGE = (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError)
"""What the standard library raises for headers that make no sense."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: its name and where its bytes are."""

    name: str
    offset: int
    size: int


def printable(text: str) -> str:
    """Text with halves of surrogate pairs, which stand for bytes that are not UTF-8, written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def check_is_tar(file: BinaryIO, path: Path) -> None:
    """Look at the beginning of an open file.

    Raises:
        DataError: it is empty, or does not begin as an uncompressed tar does.
    """
    file.seek(0)
    block = file.read(_BLOCK)
    if not block:
        raise DataError(f"{path}: expected a tar archive, found an empty file; fetch it again")
    try:
        if any(block):
            tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except _DAMAGE as error:
        raise DataError(
            f"{path}: expected an uncompressed tar archive, found another beginning ({error}); fetch or unpack it again"
        ) from error


def read_members(file: BinaryIO, path: Path, problems: Problems) -> Iterator[Member]:
    """All regular files in an open tar, in their order, whether or not their bytes are all there.

    After bytes that are no header the next header is looked for. Nothing is unpacked.

    Args:
        file: The tar.
        path: Its path, for ``problems``.
        problems: Takes what is wrong with the archive as a whole.
    """
    size = file.seek(0, 2)
    end = 0
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", ignore_zeros=True) as archive:
            while (member := archive.next()) is not None:
                if member.offset < end or member.size < 0:
                    raise tarfile.ReadError("a member that begins in the one before")
                _check_gap(file, path, end, member.offset, problems)
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if member.isreg() and not member.issparse():
                    yield Member(printable(member.name), member.offset_data, member.size)
    except _DAMAGE as error:
        if end <= size:
            problems.add(path, None, f"a member from byte {end} on", f"damage ({error})")
    if end > size:
        problems.add(path, None, f"{end} bytes or more", f"{size}: it was cut short")
    elif size - end < _BLOCK:
        problems.add(path, None, "the end mark of an archive", "none: it may have been cut short")
    elif not _is_zero(file, end, size):
        problems.add(path, None, f"only members, of which the last ends at byte {end}", f"{size - end} more bytes")


def _check_gap(file: BinaryIO, path: Path, end: int, start: int, problems: Problems) -> None:
    """Note bytes between two members, unless they are the zeros that end an archive with another behind it."""
    if start > end:
        place = file.tell()
        if not _is_zero(file, end, start):
            problems.add(path, None, f"a member at byte {end}", f"{start - end} bytes that are none")
        file.seek(place)


def _is_zero(file: BinaryIO, start: int, end: int) -> bool:
    file.seek(start)
    while start < end:
        chunk = file.read(min(_CHUNK, end - start))
        if not chunk or any(chunk):
            return False
        start += len(chunk)
    return True
