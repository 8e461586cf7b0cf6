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


def find_media(paths: Iterable[Path]) -> list[Path]:
    """Expands folders, at any depth, to the media files in them; keeps files that are named themselves.

    A file that is named is kept whatever its ending; in folders the ending decides. Names that begin with a
    dot are passed over; links are followed, each folder once.

    Returns:
        The files, without repeats, sorted.

    Raises:
        MediaError: One of the paths does not exist, or a folder cannot be read.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            found.update(_media_in(path))
        elif path.exists():
            found.add(path)
        else:
            raise MediaError(f"{path}: no such file or folder; check the path")
    return sorted(found)


def _media_in(folder: Path) -> list[Path]:
    endings = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return [path for path in walk_files(folder) if os.path.splitext(path.name)[1].lower() in endings]  # noqa: PTH122


def walk_files(folder: Path) -> Iterator[Path]:
    """The files at any depth; names that begin with a dot are passed over; links are followed, each folder once.

    Raises:
        MediaError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise MediaError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error

    visited: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        if real in visited:  # a link back up would never end
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))
