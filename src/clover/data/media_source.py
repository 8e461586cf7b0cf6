"""What a media argument is (path, bytes, array, open file), and the limits that every decoder keeps to."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from clover.errors import MediaError


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, or anything that reads like one."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes from here on."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves, and tells where to."""

    def tell(self) -> int:
        """Where the next byte is read."""


Media: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | np.ndarray | BinaryFile
"""A file's path, a whole file's bytes, frames [t, h, w, 3] uint8, or a binary file open for reading."""

MAX_SIDE = 16384
"""Largest width or height that is decoded, in pixels."""

MAX_PIXELS = 64 * 1024 * 1024
"""Largest width times height that is decoded; one such frame is 192 MiB of RGB."""

_HEAD_SIZE = 4096
_PLAYLISTS = (b"#EXTM3U", b"ffconcat version")


@dataclass(frozen=True, kw_only=True)
class OpenedMedia:
    """A media argument that exists and is not empty, and what its first bytes say about it.

    Attributes:
        name: How messages call it.
        kind: Whether frames come from an array, from a still image, or from a video container.
        array: The frames, for kind ``array``.
        path: The file, when it is one.
        file: Bytes or an open file, placed at its beginning, when there is no path.
        num_bytes: Size of the file; 0 for an array.
    """

    name: str
    kind: Literal["array", "still", "video"]
    array: np.ndarray | None = None
    path: Path | None = None
    file: BinaryFile | None = None
    num_bytes: int = 0


def open_media(source: Media) -> OpenedMedia:
    """Finds out what ``source`` is, without decoding any of it.

    Raises:
        MediaError: It is missing, a folder, empty, unreadable, a playlist, or an array of the wrong form.
    """
    if isinstance(source, np.ndarray):
        return _open_array(source)
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
        return _classify(f"<{len(content)} bytes>", content[:_HEAD_SIZE], len(content), file=io.BytesIO(content))
    if not (hasattr(source, "read") and hasattr(source, "seek")):
        raise MediaError(f"a {type(source).__name__} is not media; give a path, bytes, an array or an open binary file")
    name = str(getattr(source, "name", "<open file>"))
    try:
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        head = source.read(_HEAD_SIZE)
        source.seek(0)
    except (OSError, ValueError) as error:
        raise MediaError(f"{name}: cannot be read ({error}); give an open file that can seek") from error
    if not isinstance(head, bytes):
        raise MediaError(f"{name}: is open in text mode; open it with mode 'rb'")
    return _classify(name, head, size, file=source)


def check_size(name: str, width: int, height: int) -> None:
    """Refuses pictures so large that decoding them would exhaust the memory.

    Raises:
        MediaError: A side is below 1 or above `MAX_SIDE`, or the area is above `MAX_PIXELS`.
    """
    if width < 1 or height < 1:
        raise MediaError(f"{name}: its picture has no size ({width} x {height}); re-encode it or leave it out")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise MediaError(
            f"{name}: {width} x {height} pixels is too large (at most {MAX_SIDE} a side and "
            f"{MAX_PIXELS // 2**20} megapixels); scale it down first"
        )


def resized_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Width and height when the shorter side becomes ``short_side`` and the aspect is kept (halves round up).

    The longer side never exceeds `MAX_SIDE`: a picture of 2000 x 2 must not become one of 256000 x 256.
    """
    if short_side is None:
        return width, height
    if short_side < 1 or short_side > MAX_SIDE:
        raise MediaError(f"short_side is {short_side}; it must be between 1 and {MAX_SIDE}")
    if width <= height:
        return short_side, min(MAX_SIDE, int(height * short_side / width + 0.5))
    return min(MAX_SIDE, int(width * short_side / height + 0.5)), short_side


def _open_array(array: np.ndarray) -> OpenedMedia:
    name = f"<array of shape {tuple(array.shape)}>"
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise MediaError(f"{name}: frames must be uint8 [t, h, w, 3], not {array.dtype} with {array.ndim} dimensions")
    if len(array) == 0:
        raise MediaError(f"{name}: it has no frames; give at least one")
    check_size(name, array.shape[2], array.shape[1])
    return OpenedMedia(name=name, kind="array", array=array)


def _open_path(path: Path) -> OpenedMedia:
    name = str(path)
    if not path.exists():
        raise MediaError(f"{name}: no such file; check the path")
    if path.is_dir():
        raise MediaError(f"{name}: is a folder; name a media file in it")
    if not path.is_file():  # opening a pipe would wait for somebody to write into it
        raise MediaError(f"{name}: is not a regular file; name a media file")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_SIZE)
    except OSError as error:
        raise MediaError(f"{name}: cannot be read ({error.strerror}); check its permissions") from error
    return _classify(name, head, size, path=path)


def _classify(
    name: str, head: bytes, size: int, *, path: Path | None = None, file: BinaryFile | None = None
) -> OpenedMedia:
    if size == 0:
        raise MediaError(f"{name}: is empty (0 bytes); fetch it again")
    if head.lstrip(b"\xef\xbb\xbf\r\n ").startswith(_PLAYLISTS):
        raise MediaError(f"{name}: is a playlist, not media; name the file it points to")
    kind: Literal["still", "video"] = "still" if _is_still(head) else "video"
    return OpenedMedia(name=name, kind=kind, path=path, file=file, num_bytes=size)


def _is_still(head: bytes) -> bool:
    """Whether the first bytes are those of a still image; GIF and animated PNG are videos."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"acTL" not in head
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return True
    return head.startswith((b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*"))
