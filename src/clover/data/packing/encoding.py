"""One video or image to the bytes that training reads: small, upright, cheap to decode anywhere in it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from PIL import Image

from clover.data.decoding import VideoReader
from clover.data.media_source import MAX_SIDE, Media, check_size, resized_size
from clover.data.stills import ArrayReader, StillReader
from clover.data.timeline import Timeline
from clover.data.video import OpenVideo
from clover.data.x264 import x264_parameters
from clover.errors import ConfigError, MediaError

_FINEST_CLOCK = 1_000_000
"""Most ticks a second that are kept; the clock of a source that is finer is replaced by that of MPEG."""
_MPEG_CLOCK = Fraction(1, 90_000)

_ROUNDING_SECONDS = Fraction(1, 1000)

_NO_OTHER_KEYFRAMES = 1 << 20
"""Frames after which the encoder would set a key frame of its own accord: never."""


@dataclass(frozen=True, kw_only=True)
class EncodingConfig:
    """What becomes of videos and images."""

    short_side: int = 256
    """Length of the shorter side in pixels; smaller videos and images are not enlarged."""
    keyframe_seconds: float = 1.0
    """Most seconds from one key frame of a video to the next; fewer make reading faster and files larger."""
    quality: int = 23
    """x264's constant rate factor of videos, 0 (largest file) to 51."""
    jpeg_quality: int = 90
    """JPEG quality of images, 1 to 95 (largest file)."""

    def __post_init__(self) -> None:
        """Refuse values that nothing can be encoded with."""
        if not 2 <= self.short_side <= MAX_SIDE:
            raise ConfigError(f"short_side is {self.short_side}; use 2 to {MAX_SIDE} pixels")
        if not self.keyframe_seconds > 0:
            raise ConfigError(f"keyframe_seconds is {self.keyframe_seconds}; use more than 0")
        if not 0 <= self.quality <= 51:
            raise ConfigError(f"quality is {self.quality}; use 0 to 51")
        if not 1 <= self.jpeg_quality <= 95:
            raise ConfigError(f"jpeg_quality is {self.jpeg_quality}; use 1 to 95")


@dataclass(frozen=True, kw_only=True)
class EncodedMedia:
    """A file's content, and what is in it.

    Attributes:
        content: The bytes of an MP4 or a JPEG.
        ending: ``mp4`` or ``jpg``.
        width: Of the upright picture, in pixels; even for a video.
        height: Likewise.
        duration_seconds: From the beginning of the first frame to the end of the last; 0 for an image.
        num_frames: How many frames there are.
        problem: What could not be decoded in the source and is left out, or None.
    """

    content: bytes
    ending: str
    width: int
    height: int
    duration_seconds: float
    num_frames: int
    problem: str | None


def encode_media(source: Media, config: EncodingConfig) -> EncodedMedia:
    """Decode a video or image whole, one frame at a time, and encode it anew.

    Videos become H.264 without sound, pixels turned upright, every frame at its own time from the first; images become
    JPEG. The same source gives the same bytes: one thread encodes, and nothing of the clock is written.

    Args:
        source: A path, or the bytes of a file.
        config: Sizes and qualities.

    Raises:
        MediaError: nothing in it can be decoded, or the encoder refuses it.
    """
    with OpenVideo(source) as video:
        reader = video.reader
        try:
            if isinstance(reader, StillReader | ArrayReader) or reader.info.is_image:
                return _encode_image(reader, config)
            return _encode_video(reader, config)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"{reader.name}: could not be encoded anew ({error}); leave it out") from error


def _encode_image(reader: VideoReader | StillReader | ArrayReader, config: EncodingConfig) -> EncodedMedia:
    info = reader.info
    is_larger = min(info.width, info.height) > config.short_side
    frames = reader.read([0], short_side=config.short_side if is_larger else None)
    file = io.BytesIO()
    Image.fromarray(frames.images[0]).save(file, "JPEG", quality=config.jpeg_quality)
    height, width = frames.images.shape[1:3]
    return EncodedMedia(
        content=file.getvalue(),
        ending="jpg",
        width=width,
        height=height,
        duration_seconds=0.0,
        num_frames=1,
        problem=frames.problem,
    )


def _encode_video(reader: VideoReader, config: EncodingConfig) -> EncodedMedia:
    frames = _timed_frames(reader, config)
    first = next(frames, None)
    if first is None:
        raise MediaError(f"{reader.name}: no frame could be decoded; fetch it again or re-encode it")
    file = io.BytesIO()
    num_frames, next_key, end = 0, 0.0, 0.0
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = _add_stream(container, reader.timeline, first.picture, config)
        for frame in chain([first], frames):
            # set by time, because in a stream of variable rate a number of frames is no time
            is_key = frame.start_seconds >= next_key
            frame.picture.pict_type = PictureType.I if is_key else PictureType.NONE
            if is_key:
                next_key = frame.start_seconds + config.keyframe_seconds
            container.mux(stream.encode(frame.picture))
            num_frames += 1
            end = frame.end_seconds
        container.mux(stream.encode(None))
    return EncodedMedia(
        content=file.getvalue(),
        ending="mp4",
        width=first.picture.width,
        height=first.picture.height,
        duration_seconds=end,
        num_frames=num_frames,
        problem=_problem(reader, num_frames),
    )


def _add_stream(
    container: av.container.OutputContainer, timeline: Timeline, first: av.VideoFrame, config: EncodingConfig
) -> av.VideoStream:
    # The tuning and the missing pyramid together halve the time of reading eight frames, for 7 % more bytes
    # (docs/log.md): without a pyramid nothing refers to B-frames, and those that are not wanted need no decoding.
    options = {
        "crf": str(config.quality),
        "preset": "veryfast",
        "tune": "fastdecode",
        **x264_parameters(**{"b-pyramid": "none"}),
        "g": str(_NO_OTHER_KEYFRAMES),
        "sc_threshold": "0",
    }
    if not _is_regular(timeline):
        # An MP4 lists decoding times; where frames are reordered, uneven last steps would not show in them.
        options["bf"] = "0"
    rate = 1 / (timeline.step_ticks * timeline.time_base)
    stream = container.add_stream("libx264", rate=rate.limit_denominator(1001), options=options)
    stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
    context = stream.codec_context
    context.time_base, context.thread_count = _clock(timeline), 1
    context.colorspace, context.color_range = first.colorspace, first.color_range
    return stream


@dataclass(frozen=True, kw_only=True)
class _TimedFrame:
    """A resized upright picture, which knows when it is shown, and for how long."""

    picture: av.VideoFrame
    start_seconds: float
    end_seconds: float


def _clock(timeline: Timeline) -> Fraction:
    return timeline.time_base if timeline.time_base.denominator <= _FINEST_CLOCK else _MPEG_CLOCK


def _is_regular(timeline: Timeline) -> bool:
    """Whether frames follow one another evenly, but for times that a container rounds to milliseconds."""
    steps = np.diff(timeline.ticks)
    return not len(steps) or int(steps.max() - steps.min()) * timeline.time_base <= _ROUNDING_SECONDS


def _timed_frames(reader: VideoReader, config: EncodingConfig) -> Iterator[_TimedFrame]:
    timeline = reader.timeline
    clock = _clock(timeline)
    scale = timeline.time_base / clock
    last_step = max(1, timeline.end_ticks - int(timeline.ticks[-1]))
    resize = _Resizer(reader.name, config.short_side)
    waiting: tuple[int, av.VideoFrame] | None = None
    for ticks, frame in reader.every_frame():
        time = round(ticks * scale)
        if waiting is not None:
            if time <= waiting[0]:  # two frames within a tick of the coarser clock
                continue
            yield _timed(*waiting, time - waiting[0], clock)
        waiting = (time, resize(frame))
    if waiting is not None:
        yield _timed(*waiting, max(1, round(last_step * scale)), clock)


def _timed(time: int, picture: av.VideoFrame, duration: int, clock: Fraction) -> _TimedFrame:
    picture.pts, picture.time_base, picture.duration = time, clock, duration
    return _TimedFrame(picture=picture, start_seconds=float(time * clock), end_seconds=float((time + duration) * clock))


class _Resizer:
    """Brings the frames of one video to the upright size of its first, with even sides."""

    def __init__(self, name: str, short_side: int) -> None:
        self._name, self._short_side = name, short_side
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        check_size(self._name, frame.width, frame.height)
        if self._size is None:
            is_larger = min(frame.width, frame.height) > self._short_side
            width, height = resized_size(frame.width, frame.height, self._short_side if is_larger else None)
            self._size = max(2, width // 2 * 2), max(2, height // 2 * 2)
            self._quarter_turns = round(frame.rotation / 90) % 4
        resized = self._reformatter.reformat(frame, *self._size, format="yuv420p", threads=1)
        return _turned(resized, self._quarter_turns) if self._quarter_turns else resized


def _turned(frame: av.VideoFrame, quarter_turns: int) -> av.VideoFrame:
    """The frame (yuv420p, even sides) turned counterclockwise; brightness and colour lie in planes of their own."""
    width, height = frame.width, frame.height
    flat = frame.to_ndarray().reshape(-1)
    area = width * height
    planes = (
        flat[:area].reshape(height, width),
        flat[area : area * 5 // 4].reshape(height // 2, width // 2),
        flat[area * 5 // 4 :].reshape(height // 2, width // 2),
    )
    new_width = height if quarter_turns % 2 else width
    joined = np.concatenate([np.rot90(plane, quarter_turns).reshape(-1) for plane in planes])
    turned = av.VideoFrame.from_ndarray(joined.reshape(-1, new_width), format="yuv420p")
    turned.colorspace, turned.color_range = frame.colorspace, frame.color_range
    return turned


def _problem(reader: VideoReader, num_frames: int) -> str | None:
    """What is missing of the source."""
    if reader.timeline.problem is None and not reader.num_damaged:
        return None
    cause = reader.timeline.problem or "parts of the file cannot be decoded"
    return f"{cause}; {num_frames} of {len(reader.timeline.ticks)} frames are kept"
