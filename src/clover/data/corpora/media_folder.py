"""A folder of media files, listed once: which file belongs to a usual path, whatever the folder's own layout."""

from __future__ import annotations

import hashlib
import os
from array import array
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from clover.data.corpora.text_column import TextColumn
from clover.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, walk_files
from clover.errors import DataError, MediaError


def stem_of(name: str) -> str:
    """A file's name without its ending, if that is one of video or image files."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122 (names, not paths)
    return stem if ending.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES else name


class MediaFolder:
    """The files below a folder, found by their stem: some 60 bytes a file.

    Hidden files and folders are passed over; links are followed, each folder once.
    """

    def __init__(self, folder: Path) -> None:
        """List the folder.

        Raises:
            DataError: it does not exist, or a folder in it cannot be read.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(f"{folder}: expected a folder of media files, found none; check the path")
        paths, keys = TextColumn(), array("q")
        for path in _files_in(self.folder):
            try:
                paths.append(path)
            except UnicodeEncodeError:  # no caption file in UTF-8 can mean this one
                continue
            keys.append(_key(PurePosixPath(path).name))
        self._paths = paths
        self._order = np.argsort(np.frombuffer(keys, dtype=np.int64), kind="stable")
        self._keys = np.frombuffer(keys, dtype=np.int64)[self._order]

    def __len__(self) -> int:
        return len(self._paths)

    def find(self, locator: str) -> Path | None:
        """The file at this path within the folder, else one of this name anywhere, else of this stem; or None.

        A video is never found for an image's path, nor an image (or a file without an ending) for a video's.
        """
        usual = PurePosixPath(locator)
        key = _key(usual.name)
        first, last = np.searchsorted(self._keys, key, "left"), np.searchsorted(self._keys, key, "right")
        found = [PurePosixPath(self._paths[place]) for place in self._order[first:last]]
        same = [path for path in found if _identity(path.name) == _identity(usual.name)]
        if not same:
            return None
        return self.folder / min(same, key=lambda path: (path != usual, path.name != usual.name, path))

    def missing(self, locators: TextColumn) -> Int64[np.ndarray, " missing"]:
        """Positions of the paths that `find` has no file for."""
        keys = np.fromiter((_key(PurePosixPath(path).name) for path in locators), dtype=np.int64, count=len(locators))
        return np.flatnonzero(~np.isin(keys, self._keys))


def _identity(name: str) -> str:
    """What two names have in common that can be the same video or image."""
    is_video = os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122 (names, not paths)
    return ("video:" if is_video else "image:") + stem_of(name)


def _key(name: str) -> int:
    """A number for a file's identity, the same in every process."""
    digest = hashlib.blake2b(_identity(name).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _files_in(folder: Path) -> list[str]:
    """Paths of all files, from the folder on, with ``/`` between their parts, in sorted order."""
    try:
        return sorted(path.relative_to(folder).as_posix() for path in walk_files(folder))
    except MediaError as error:
        raise DataError(str(error)) from error
