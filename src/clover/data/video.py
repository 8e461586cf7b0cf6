"""Media in, frames out: the functions that the rest of the package calls.

A still image is a video of one frame. Times count from the first frame, whatever the container's clock
says. Pixels are not stretched by an aspect ratio written in the file, as in the published runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import numpy as np

from clover.data.decoding import VideoReader
from clover.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_media
from clover.data.media_source import Media, open_media
from clover.data.sampling import sample_indices
from clover.data.stills import ArrayReader, StillReader
from clover.data.timeline import first_frame_from, frames_shown_at
from clover.data.video_writer import write_video
from clover.errors import MediaError
from clover.types import Frames, VideoInfo

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Media",
    "OpenVideo",
    "find_media",
    "probe",
    "read_frames",
    "read_frames_at",
    "sample_indices",
    "write_video",
]


class OpenVideo:
    """A video that is opened once and read from several times; give it to `read_frames` in place of a path.

    The list of frames, for which some containers must be read from end to end, is then made only once.
    """

    def __init__(self, source: Media, *, num_threads: int = 1) -> None:
        """Open a path, the bytes of a file, an array [t, h, w, 3] uint8, or a file open in binary mode.

        Raises:
            MediaError: There is no picture to be had from it.
        """
        self._manager = _open(source, num_threads)
        self.reader = self._manager.__enter__()

    def __enter__(self) -> OpenVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.__exit__(kind, error, trace)


def probe(source: Media | OpenVideo) -> VideoInfo:
    """Tells size, length and number of frames, decoding at most one frame.

    Args:
        source: A path, the bytes of a file, an array [t, h, w, 3] uint8, a file open in binary mode, or a video
            that is open already.

    Raises:
        MediaError: There is no picture to be had from it.
    """
    with _opened(source) as reader:
        return reader.info


def read_frames(
    source: Media | OpenVideo,
    num_frames: int,
    *,
    generator: np.random.Generator | None = None,
    start_seconds: float | int = 0.0,
    end_seconds: float | int | None = None,
    short_side: int | None = None,
    burst_length: int = 1,
    burst_interval: int = 1,
    num_threads: int = 1,
) -> Frames:
    """Reads frames spread over a span of a video by the published rule (`sample_indices`).

    The rule is applied to the file's own list of frames, which the index of an MP4 or one pass over the
    undecoded packets gives; in a file above 256 MiB without an index, to a grid over its duration. Where a
    frame cannot be decoded the nearest that can stands in, and ``problem`` says so.

    Args:
        source: A path, the bytes of a file, an array [t, h, w, 3] uint8, a file open in binary mode, or a video
            that is open already.
        num_frames: How many frames (or bursts of frames) to read; more than the video has repeats some.
        generator: Draws a random frame of each segment (training); None takes the middle ones (test).
        start_seconds: Beginning of the span; the frame shown then belongs to it.
        end_seconds: End of the span, which a frame beginning then no longer belongs to; None is the end of
            the video.
        short_side: Length in pixels of the shorter side after resizing, aspect kept; None keeps the size.
        burst_length: Frames in each burst.
        burst_interval: Distance between the frames of a burst, in frames.
        num_threads: Decoding threads; leave it at 1 when several processes decode at once.

    Returns:
        ``num_frames * burst_length`` RGB frames with their times.

    Raises:
        MediaError: Nothing can be decoded, or the span is empty or lies outside the video.
        ConfigError: ``num_frames`` is below 1.
    """
    with _opened(source, num_threads) as reader:
        first, last = span_places(reader, start_seconds, end_seconds)
        chosen = sample_indices(
            last - first, num_frames, generator=generator, clip_length=burst_length, frame_interval=burst_interval
        )
        indices = [first + index for index in chosen]
        return reader.read(indices, short_side=short_side)


def read_frames_at(
    source: Media,
    seconds: Sequence[float | int] | np.ndarray,
    *,
    short_side: int | None = None,
    num_threads: int = 1,
) -> Frames:
    """Reads the frame shown at each of these times, in any order; after the end it is the last frame.

    Args:
        source: A path, the bytes of a file, an array [t, h, w, 3] uint8, or a file open in binary mode.
        seconds: Times from the video's first frame, at least one, none negative.
        short_side: Length in pixels of the shorter side after resizing, aspect kept; None keeps the size.
        num_threads: Decoding threads.

    Raises:
        MediaError: Nothing can be decoded, or a time is negative or not a number.
    """
    times = np.asarray(seconds, dtype=np.float64)
    with _open(source, num_threads) as reader:
        if times.ndim != 1 or len(times) == 0 or not np.all(np.isfinite(times)) or np.any(times < 0):
            raise MediaError(f"{reader.name}: times must be a list of seconds from 0 on, not {list(seconds)}")
        return reader.read_at(times, short_side=short_side)


_Reader = VideoReader | StillReader | ArrayReader


def _opened(source: Media | OpenVideo, num_threads: int = 1) -> AbstractContextManager[_Reader]:
    return nullcontext(source.reader) if isinstance(source, OpenVideo) else _open(source, num_threads)


def _open(source: Media, num_threads: int = 1) -> AbstractContextManager[_Reader]:
    media = open_media(source)
    if media.array is not None:
        return nullcontext(ArrayReader(media.name, media.array))
    if media.kind == "still":
        return nullcontext(StillReader(media))
    return VideoReader(media, num_threads=num_threads)


def _seconds(reader: _Reader) -> np.ndarray:
    return reader.timeline.seconds if isinstance(reader, VideoReader) else reader.seconds


def span_places(reader: _Reader, start_seconds: float | int, end_seconds: float | int | None) -> tuple[int, int]:
    """The first frame of a span, and the one after its last."""
    seconds = _seconds(reader)
    end = np.inf if end_seconds is None else end_seconds
    if not start_seconds >= 0 or not end > start_seconds:
        raise MediaError(
            f"{reader.name}: the span from {start_seconds} to {end_seconds} seconds is empty or "
            "begins before 0; give a start from 0 on and a later end"
        )
    duration = reader.timeline.duration_seconds if isinstance(reader, VideoReader) else reader.info.duration_seconds
    if start_seconds > duration:
        raise MediaError(
            f"{reader.name}: the span begins at {start_seconds:g} seconds but the video ends "
            f"at {duration:.3f}; give an earlier start"
        )
    first = int(frames_shown_at(seconds, np.array([start_seconds]))[0])
    return first, max(first_frame_from(seconds, end), first + 1)
