"""Finds media files in folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from clover.errors import MediaError

VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)
"""File name endings taken for videos, lower case."""

IMAGE_SUFFIXES = frozenset((".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
"""File name endings taken for still images, lower case."""


def find_media(paths: Iterable[Path], *, unread: dict[str, str] | None = None) -> list[Path]:
    """Expands folders, at any depth, to the media files in them; keeps files that are named themselves.

    A file that is named is kept whatever its ending; in folders the ending decides. Names that begin with a
    dot are passed over; links are followed, each folder once.

    Args:
        paths: Files and folders.
        unread: Gets the folders below those named that cannot be read, and why; without it they are errors.

    Returns:
        The files, without repeats, sorted.

    Raises:
        MediaError: One of the paths does not exist or cannot be read, or, without ``unread``, a folder below.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            found.update(_media_in(path, unread))
        elif path.exists():
            found.add(path)
        else:
            raise MediaError(f"{path}: no such file or folder; check the path")
    return sorted(found)


def _media_in(folder: Path, unread: dict[str, str] | None) -> list[Path]:
    endings = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return [path for path in walk_files(folder, unread=unread) if os.path.splitext(path.name)[1].lower() in endings]  # noqa: PTH122


def walk_files(folder: Path, *, unread: dict[str, str] | None = None) -> Iterator[Path]:
    """The files at any depth; names that begin with a dot are passed over; links are followed, each folder once.

    Args:
        folder: Where to look.
        unread: Gets the folders below it that cannot be read, and why; without it they are errors.

    Raises:
        MediaError: The folder cannot be read, or, without ``unread``, one below.
    """

    def refuse(error: OSError) -> None:
        reason = f"{error.filename}: cannot be read ({error.strerror}); check its permissions"
        if unread is None or Path(error.filename) == folder:
            raise MediaError(reason) from error
        unread[str(error.filename)] = reason

    visited: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        if real in visited:  # a link back up would never end
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))
