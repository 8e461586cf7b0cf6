"""Pictures and clips of videos, made when they are asked for and kept within bounds."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from clover.data.cutting import cut_video
from clover.data.video import OpenVideo
from clover.search.interface import VideoRecord
from clover.serving.pinned import indexed_path

WIDTHS = (160, 320, 640, 1280)
"""Widths of thumbnails in pixels; what is asked for becomes the next larger one."""
_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class ThumbnailTask:
    """A frame that is wanted as JPEG."""

    record: VideoRecord
    at_seconds: float
    width: int

    @property
    def key(self) -> str:
        """A name of the picture's content."""
        return content_name(self.record, f"{self.at_seconds:.2f}", str(self.width))


@dataclass(frozen=True, kw_only=True)
class ClipTask:
    """A part of a video that is wanted as MP4."""

    record: VideoRecord
    start_seconds: float
    end_seconds: float

    @property
    def key(self) -> str:
        """A name of the clip's content."""
        return content_name(self.record, f"{self.start_seconds:.3f}", f"{self.end_seconds:.3f}")


def content_name(record: VideoRecord, *parts: str) -> str:
    """A name for what is made of a file in its present state; ``parts`` say what is made."""
    text = "\0".join((record.video, record.signature, *parts))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Thumbnails:
    """Makes pictures for a `WorkQueue`, and keeps those used last. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.num_bytes = 0
        """What is kept now."""

    def known(self, key: str) -> bytes | None:
        """A picture that was made before and is still kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def __call__(self, tasks: list[ThumbnailTask]) -> list[Callable[[], bytes]]:
        """What makes each picture."""
        return [partial(self._made, task) for task in tasks]

    def _made(self, task: ThumbnailTask) -> bytes:
        if (known := self.known(task.key)) is not None:
            return known
        made = picture(task)
        with self._lock:
            if task.key not in self._kept:
                self._kept[task.key] = made
                self.num_bytes += len(made)
            while self.num_bytes > self._max_bytes:
                self.num_bytes -= len(self._kept.popitem(last=False)[1])
        return made


def picture(task: ThumbnailTask) -> bytes:
    """The frame shown at a time, as JPEG of a width; no larger than the video.

    Raises:
        MediaError: it cannot be decoded.
        ServingError: the file is not the one that was indexed (404).
    """
    with indexed_path(task.record) as path, OpenVideo(path) as video:
        info = video.reader.info
        short_side = min(info.width, info.height, task.width)
        images = video.reader.read_at(np.array([task.at_seconds]), short_side=short_side).images
    image = Image.fromarray(images[0])
    image.thumbnail((task.width, 2 * task.width))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


class Clips:
    """Cuts clips for a `WorkQueue` of one thread into a folder of its own, and keeps those used last."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._folder = Path(tempfile.mkdtemp(prefix="clover-clips-"))
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def __call__(self, tasks: list[ClipTask]) -> list[Callable[[], Path]]:
        """What cuts each clip, and gives where it is for the moment."""
        return [partial(self._made, task) for task in tasks]

    def stop(self) -> None:
        """Take all clips away."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _made(self, task: ClipTask) -> Path:
        path = self._folder / f"{task.key}.mp4"
        if task.key not in self._sizes:
            with indexed_path(task.record) as source:
                # encoded anew: it begins where asked, and is in a form that every browser plays
                cut_video(source, path, task.start_seconds, task.end_seconds, exact=True)
            self._sizes[task.key] = path.stat().st_size
        self._sizes.move_to_end(task.key)
        while sum(self._sizes.values()) > self._max_bytes and len(self._sizes) > 1:
            oldest, _ = self._sizes.popitem(last=False)
            (self._folder / f"{oldest}.mp4").unlink(missing_ok=True)
        return path
