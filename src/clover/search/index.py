"""Opens and makes libraries by their place: a folder, or a collection of a Milvus server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clover.search.folder_index import FolderIndex
from clover.search.interface import Filter, Hit, Index, Moment, SearchOptions

__all__ = ["Filter", "Hit", "Index", "Moment", "SearchOptions", "create_index", "is_library", "is_remote", "open_index"]

_SCHEME = "milvus://"


def is_remote(place: str | Path) -> bool:
    """Whether a library is not a folder of this machine."""
    return str(place).startswith(_SCHEME)


def is_library(place: str | Path) -> bool:
    """Whether there is a library, whole or not.

    Raises:
        LibraryError: the server cannot be reached.
    """
    if is_remote(place):
        from clover.search.milvus_index import MilvusIndex

        return MilvusIndex.exists(str(place))
    return (Path(place) / "library.json").exists()


def open_index(place: str | Path, *, fingerprint: str | None = None) -> Index:
    """Open a library.

    Args:
        place: A folder, or ``milvus://host:port/name``.
        fingerprint: Of the model that will be used with it; None opens it just for looking.

    Raises:
        LibraryError: it is missing, broken, of a later version, or made by another model; no such server.
    """
    if is_remote(place):
        from clover.search.milvus_index import MilvusIndex

        return MilvusIndex.open(str(place), fingerprint=fingerprint)
    return FolderIndex.open(Path(place), fingerprint=fingerprint)


def create_index(
    place: str | Path, *, width: int, fingerprint: str, details: dict[str, Any], options: SearchOptions | None = None
) -> Index:
    """Make an empty library; nothing is kept before it is saved.

    Args:
        place: A new or empty folder, or ``milvus://host:port/name``.
        width: Width of the vectors.
        fingerprint: Of the model that makes them.
        details: Anything else worth keeping, as JSON values.
        options: How to search.

    Raises:
        LibraryError: there is something else; no such server.
    """
    if is_remote(place):
        from clover.search.milvus_index import MilvusIndex

        return MilvusIndex.create(str(place), width=width, fingerprint=fingerprint, details=details, options=options)
    return FolderIndex.create(Path(place), width=width, fingerprint=fingerprint, details=details, options=options)
