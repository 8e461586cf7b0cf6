"""Looks into a file that a stranger sent, in a process of its own with little time and memory: what is it?

    python -m clover.serving.probing FILE

prints one JSON object: ``suffix``, the ending that a file of this content has, and ``seconds``; or ``problem``, and
``is_media``. Started by `clover.serving.uploads`; imports no torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MEMORY_BYTES = 2 * 2**30
_PROCESSOR_SECONDS = 30
_WALL_SECONDS = 90
_LONGEST_HOURS = 24
_SUFFIXES = {
    "mov,mp4,m4a,3gp,3g2,mj2": ".mp4",
    "matroska,webm": ".mkv",
    "avi": ".avi",
    "mpegts": ".ts",
    "mpeg": ".mpg",
    "flv": ".flv",
    "asf": ".wmv",
    "ogg": ".ogv",
    "gif": ".gif",
}
"""Containers that are taken; there are formats that any text fits, or that refer to other files."""

_WEBM_CODECS = frozenset({"vp8", "vp9", "av1"})
_STILLS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a file is."""

    suffix: str = ""
    """The ending of its name, by its content."""
    problem: str = ""
    """Why it is not taken; empty where it is."""
    is_media: bool = True
    """Whether it is a video or an image at all."""


def probe_apart(path: Path, *, seconds: float = _WALL_SECONDS) -> Probed:
    """Look into a file in another process; whatever happens to that, there is an answer.

    Args:
        path: The file.
        seconds: Longest that it may take.
    """
    command = [sys.executable, "-m", "clover.serving.probing", str(path)]
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, env={**os.environ, **alone}
        )
        if done.returncode == 0:
            return Probed(**json.loads(done.stdout))
    except (subprocess.TimeoutExpired, ValueError, TypeError):
        pass
    return Probed(problem="it takes too much time or memory to read, or is broken")


def main() -> None:
    """Print what the file is."""
    _limit()
    from clover.errors import MediaError

    path = Path(sys.argv[1])
    found: dict[str, Any]
    try:
        found = {"suffix": _look(path)}
    except MediaError as error:
        found = {"problem": str(error).removeprefix(f"{path}: ")}
    except _NotMediaError as error:
        found = {"problem": str(error), "is_media": False}
    print(json.dumps(found))


class _NotMediaError(Exception):
    """A file that is neither a video nor an image."""


def _limit() -> None:
    """Bound this process, where the system can."""
    try:
        import resource
    except ImportError:  # not on Windows: there the time alone is bounded
        return
    for limit, most in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CPU, _PROCESSOR_SECONDS),
        (resource.RLIMIT_FSIZE, 2**20),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))


def _look(path: Path) -> str:
    """The ending for this content, once some of it was decoded.

    Raises:
        MediaError: it is broken, or too large or long.
        _NotMediaError: it is something else.
    """
    import av

    from clover.data.media_source import open_media
    from clover.errors import MediaError

    try:
        kind = open_media(path).kind
    except MediaError as error:
        raise _NotMediaError(f"it {str(error).removeprefix(f'{path}: ')}") from None
    try:
        return _still(path) if kind == "still" else _video(path)
    except (av.FFmpegError, OSError, ValueError, SyntaxError):
        raise MediaError("it is broken: its pictures cannot be decoded; fetch it again or re-encode it") from None


def _still(path: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    from clover.data.media_source import check_size

    Image.MAX_IMAGE_PIXELS = None  # what is too large is said by `check_size`
    try:
        with Image.open(path) as image:
            check_size(path.name, image.width, image.height)
            image.load()
            if image.format not in _STILLS:
                raise _NotMediaError("it is no video or image of a known kind")
            return _STILLS[image.format]
    except UnidentifiedImageError:
        raise _NotMediaError("it is no video or image that can be read") from None


def _video(path: Path) -> str:
    import av

    from clover.errors import MediaError

    try:
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError):
        raise _NotMediaError("it is no video or image that can be read") from None
    with container:
        if container.format.name not in _SUFFIXES or not container.streams.video:
            raise _NotMediaError("it is no video or image of a known kind")
        codec = container.streams.video[0].codec_context.name
        if (container.duration or 0) / av.time_base > _LONGEST_HOURS * 3600:
            raise MediaError(f"it says that it lasts more than {_LONGEST_HOURS} hours; cut it into parts")
        if not any(_decoded(container)):
            raise MediaError("nothing of it can be decoded; fetch it again or re-encode it")
    if container.format.name == "matroska,webm" and codec in _WEBM_CODECS:
        return ".webm"
    return _SUFFIXES[container.format.name]


def _decoded(container: Any) -> Iterator[bool]:
    """Whether there is a frame at the beginning, and in the middle."""
    import av

    from clover.data.media_source import check_size

    stream = container.streams.video[0]
    for place in (0, (container.duration or 0) // 2):
        try:
            if place:
                container.seek(place)
            for frame in container.decode(stream):
                check_size("it", frame.width, frame.height)
                yield True
                break
        except av.FFmpegError:
            yield False


if __name__ == "__main__":
    main()
