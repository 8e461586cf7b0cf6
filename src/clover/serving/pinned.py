"""Opens a file of the library only while it is the one that was indexed, and no link was put in its place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from clover.search.interface import VideoRecord
from clover.serving.problems import ServingError

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# opening a pipe that was put in a file's place must not wait for a writer
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_indexed(record: VideoRecord) -> BufferedReader:
    """Open the file of a video for reading.

    Raises:
        ServingError: it is gone, was changed since it was indexed, or is now reached by a symbolic link (404).
    """
    try:
        file = os.fdopen(_descriptor(record.video), "rb")
    except (OSError, ValueError):
        raise _gone() from None
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode) or f"{state.st_size}-{state.st_mtime_ns}" != record.signature:
        file.close()
        raise _gone()
    return file


@contextmanager
def indexed_path(record: VideoRecord) -> Iterator[Path]:
    """A path of the opened file, for what reads by paths; where the system has them, one that cannot be exchanged.

    Raises:
        ServingError: as `open_indexed`.
    """
    with open_indexed(record) as file:
        descriptor = Path(f"/proc/self/fd/{file.fileno()}")
        yield descriptor if descriptor.exists() else Path(record.video)


def _descriptor(path: str) -> int:
    """Go down from the root, folder by folder: no part of the path may be a link."""
    if os.open not in os.supports_dir_fd:
        if Path(path).resolve() != Path(path):
            raise OSError("a link was put in its place")
        return os.open(path, _FILE)
    *folders, name = Path(path).parts[1:]
    place = os.open(Path(path).anchor, _FOLDER)
    try:
        for folder in folders:
            inner = os.open(folder, _FOLDER, dir_fd=place)
            os.close(place)
            place = inner
        return os.open(name, _FILE, dir_fd=place)
    finally:
        with suppress(OSError):
            os.close(place)


def _gone() -> ServingError:
    return ServingError(404, "the file of this video is gone, or is no longer the one that was indexed")
