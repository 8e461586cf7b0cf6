"""Decodes chosen frames of a video container: seeks when a keyframe lies ahead, reads on when none does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from clover.data.media_source import OpenedMedia, check_size, resized_size
from clover.data.timeline import (
    MAX_SCAN_BYTES,
    Timeline,
    timeline_from_duration,
    timeline_from_index,
    timeline_from_packets,
)
from clover.errors import MediaError
from clover.types import Frames, VideoInfo

_NOT_MEDIA = {"tty", "hls", "concat", "dash", "sdp", "image2", "ffmetadata"}
"""Demuxers that make pictures of text, or open other files than the one that was named."""

_BLIND_SEEK_SECONDS = 2.0
"""How far ahead a frame must lie before seeking pays, when neither frames nor keyframes are known."""


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """One kept picture and its time in ticks."""

    ticks: int
    image: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FoundFrame:
    """One frame of several that are read in order.

    Attributes:
        index: Its place in the timeline.
        seconds: When the frame that was found is shown, counted from the video's first.
        image: RGB, [h, w, 3].
        is_replaced: Whether an earlier frame stands in for one that cannot be decoded.
    """

    index: int
    seconds: float
    image: np.ndarray
    is_replaced: bool


class VideoReader:
    """One video container, opened for reading chosen frames.

    Args:
        media: What `open_media` found.
        num_threads: Decoding threads; 1 gives most throughput when several processes decode at once.

    Raises:
        MediaError: It is not media, has no picture (only sound, a cover, subtitles), has an absurd size, or
            no frames.
    """

    def __init__(self, media: OpenedMedia, *, num_threads: int = 1) -> None:
        self.name = media.name
        self._media = media
        self._num_threads = num_threads
        self._size: tuple[int, int] | None = None
        self._counterclockwise = 0
        self._num_damaged = 0
        self._wanted = np.zeros(0, dtype=np.int64)
        self._is_at_start = True
        self._open()
        try:
            self.timeline = self._find_timeline()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @cached_property
    def info(self) -> VideoInfo:
        """What the container says, corrected by the timeline; decodes a frame, where rotation lies."""
        first = self.read([0], short_side=None)
        height, width = first.images.shape[1:3]
        timeline, stream = self.timeline, self._stream
        duration = timeline.duration_seconds
        if timeline.is_exact and duration > 0:
            rate: float | None = len(timeline.ticks) / duration
        else:
            rate = float(stream.average_rate) if stream.average_rate else None
        return VideoInfo(
            name=self.name,
            width=width,
            height=height,
            duration_seconds=duration,
            num_frames=len(timeline.ticks) if timeline.is_exact else None,
            rate=rate,
            rotation_degrees=-self._counterclockwise % 360,
            has_audio=bool(self._container.streams.audio),
            is_image=self._container.format.name.endswith("_pipe")
            or self._container.metadata.get("major_brand") == "avif",
        )

    def read(self, indices: Sequence[int], *, short_side: int | None) -> Frames:
        """Decodes the frames at these places of the timeline, in the order given; repeats are allowed.

        Raises:
            MediaError: Not a single frame could be decoded.
        """
        return self._read_ticks(self.timeline.ticks[np.asarray(indices, dtype=np.int64)], short_side)

    def read_at(self, times: np.ndarray, *, short_side: int | None) -> Frames:
        """Decodes the frames shown at these seconds from the first frame, in the order given.

        Raises:
            MediaError: Not a single frame could be decoded.
        """
        return self._read_ticks(self.timeline.ticks_at(times), short_side)

    def in_order(self, indices: np.ndarray, *, short_side: int | None) -> Iterator[FoundFrame]:
        """Decodes the frames at these places of the timeline one at a time, so that there may be any number of them.

        Args:
            indices: Places, increasing.
            short_side: Length in pixels of the shorter side after resizing, aspect kept; None keeps the size.

        Yields:
            A frame for each place, but for those before the first frame that can be decoded, if nothing can.
        """
        self._begin()
        first, time_base = int(self.timeline.ticks[0]), float(self.timeline.time_base)
        found = self._decode(self.timeline.ticks[indices], short_side)
        for index, (target, frame) in zip(indices.tolist(), found, strict=True):
            if frame is not None:
                yield FoundFrame(
                    index=index,
                    seconds=(frame.ticks - first) * time_base,
                    image=frame.image,
                    is_replaced=abs(frame.ticks - target) > self._tolerance_ticks,
                )

    def problem_of(self, num_replaced: int, num_wanted: int) -> str | None:
        """What was wrong when so many of the frames that were read are others than were wanted; None if nothing."""
        if not num_replaced:
            return self.timeline.problem
        cause = self.timeline.problem or "parts of the file cannot be decoded"
        return f"{cause}; {num_replaced} of {num_wanted} frames were replaced by the nearest one"

    @property
    def num_damaged(self) -> int:
        """Packets and frames that the last reading could not decode whole."""
        return self._num_damaged

    def every_frame(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decodes the video from its first frame to its last, one at a time, neither resized nor turned upright.

        Yields:
            The time of each frame in ticks of ``timeline.time_base`` from the first listed one, strictly increasing,
            and the frame. What cannot be decoded is left out.
        """
        if not self._is_at_start:
            self._reopen()
        self._is_at_start, self._num_damaged = False, 0
        self._wanted = self.timeline.ticks
        first = int(self.timeline.ticks[0])
        last = first - 1
        for ticks, frame in self._frames():
            if ticks > last:
                last = ticks
                yield ticks - first, frame

    def _read_ticks(self, ticks: np.ndarray, short_side: int | None) -> Frames:
        targets, places = np.unique(ticks, return_inverse=True)
        self._begin()
        decoded = dict(self._decode(targets, short_side))
        found = [decoded.get(int(target)) for target in targets]
        kept = [frame for frame in found if frame is not None]
        if not kept:
            raise MediaError(f"{self.name}: no frame could be decoded; fetch it again or re-encode it")
        kept_ticks = np.array([frame.ticks for frame in kept])
        chosen, num_replaced = [], 0
        for target, frame in zip(targets, found, strict=True):
            frame = frame or kept[int(np.argmin(np.abs(kept_ticks - target)))]
            num_replaced += abs(frame.ticks - int(target)) > self._tolerance_ticks
            chosen.append(frame)
        seconds = np.array([chosen[place].ticks for place in places], dtype=np.int64) - self.timeline.ticks[0]
        return Frames(
            images=np.stack([chosen[place].image for place in places]),
            seconds=seconds * float(self.timeline.time_base),
            problem=self.problem_of(num_replaced, len(targets)),
        )

    @property
    def _tolerance_ticks(self) -> int:
        """How far a frame may lie from its place in the timeline before it counts as a replacement.

        A whole stream may still show one frame for two listed times (two fields of an interlaced frame).
        """
        if not self.timeline.is_exact:
            return int(_BLIND_SEEK_SECONDS / self.timeline.time_base)
        return 0 if self._num_damaged else int(1.5 * self.timeline.step_ticks)

    def _open(self) -> None:
        media = self._media
        try:
            if media.path is not None:
                # The prefix keeps names with a colon from being taken for addresses.
                container = av.open(
                    f"file:{os.fspath(media.path)}",
                    mode="r",
                    options={"protocol_whitelist": "file"},
                    metadata_errors="replace",
                )
            else:
                assert media.file is not None
                media.file.seek(0)
                container = av.open(media.file, mode="r", metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(
                f"{self.name}: is not a video or image that can be read ({_reason(error)}); "
                "fetch it again or leave it out"
            ) from error
        self._container = container
        try:
            self._stream = self._choose_stream()
        except BaseException:
            self._container.close()
            raise

    def _reopen(self) -> None:
        """Back to the beginning; unlike seeking there, this works in every container."""
        self._container.close()
        self._open()

    def _choose_stream(self) -> av.VideoStream:
        if self._container.format.name in _NOT_MEDIA:
            raise MediaError(f"{self.name}: is not media but {self._container.format.long_name}; leave it out")
        pictures = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None
        ]
        if not pictures:
            content = "only sound" if self._container.streams.audio else "no picture"
            raise MediaError(f"{self.name}: has {content}; give a file with a video stream")
        stream = pictures[0]
        check_size(self.name, stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.thread_count = self._num_threads
        stream.thread_type = "AUTO" if self._num_threads > 1 else "NONE"
        return stream

    def _find_timeline(self) -> Timeline:
        timeline = timeline_from_index(self._stream)
        if timeline is None and self._media.num_bytes <= MAX_SCAN_BYTES:
            timeline = timeline_from_packets(self._container, self._stream)
            self._reopen()
        elif timeline is None:
            timeline = timeline_from_duration(self._container, self._stream)
        if timeline is None:
            raise MediaError(f"{self.name}: its video stream has no frames; fetch it again or leave it out")
        return timeline

    def _begin(self) -> None:
        """Back to the beginning, if anything was read."""
        self._size, self._num_damaged = None, 0
        if not self._is_at_start:
            self._reopen()

    def _decode(self, targets: np.ndarray, short_side: int | None) -> Iterator[tuple[int, _Decoded | None]]:
        """Goes through increasing times and gives, for each, the frame shown then, if there is one."""
        self._wanted = targets
        self._is_at_start = False
        frames = self._frames()
        shown: tuple[int, av.VideoFrame] | None = None
        ahead: tuple[int, av.VideoFrame] | None = None
        has_ended = False
        for target in map(int, targets):
            position = (ahead or shown or (int(self.timeline.ticks[0]), None))[0]
            # After the end there is nothing to seek to: in a file cut short its index still promises frames.
            start = None if has_ended else self._where_to_seek(target, position)
            if start is not None:
                frames, shown, ahead = self._frames_from(start, target)
            while ahead is None or ahead[0] <= target:
                if ahead is not None:
                    shown, ahead = ahead, None
                    if shown[0] == target and self.timeline.is_exact:
                        break
                ahead = next(frames, None)
                if ahead is None:
                    has_ended = True
                    break
            best = shown or ahead  # before the first frame that can be decoded, that one
            yield target, None if best is None else _Decoded(ticks=best[0], image=self._convert(best[1], short_side))

    def _where_to_seek(self, target: int, position: int) -> int | None:
        """The time to seek to before reading on towards ``target``, or None when reading on is as good."""
        if self.timeline.is_counted:
            return None
        if self.timeline.key_ticks is None:
            far = _BLIND_SEEK_SECONDS / self.timeline.time_base
            return target if target - position > far else None
        place = int(np.searchsorted(self.timeline.key_ticks, target, side="right")) - 1
        if place < 0 or self.timeline.key_ticks[place] <= position:
            return None
        return int(self.timeline.key_ticks[place])

    def _frames_from(
        self, start: int, target: int
    ) -> tuple[Iterator[tuple[int, av.VideoFrame]], None, tuple[int, av.VideoFrame] | None]:
        """Seeks so that the first frame is not later than ``target``; steps back when a container overshoots.

        Containers search by decoding time, which runs ahead of presentation time, so that a seek can land
        behind the frame that was meant.
        """
        second = 1 / self.timeline.time_base
        for candidate in (start, start - int(second), start - int(10 * second)):
            try:
                self._container.seek(candidate, stream=self._stream, backward=True)
            except av.FFmpegError:
                continue
            frames = self._frames()
            first = next(frames, None)
            if first is not None and first[0] <= target:
                return frames, None, first
        self._reopen()
        frames = self._frames()
        return frames, None, next(frames, None)

    def _frames(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """All frames from here on with their times; what cannot be decoded is counted and left out."""
        order = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                self._skip_if_unneeded(packet)
                frames = packet.decode()
            except (StopIteration, av.EOFError):
                return
            except av.FFmpegError as error:
                self._num_damaged += 1
                if not isinstance(error, av.InvalidDataError):
                    return
                continue
            for frame in frames:
                self._num_damaged += frame.is_corrupt
                if self.timeline.is_counted:
                    yield int(self.timeline.ticks[min(order, len(self.timeline.ticks) - 1)]), frame
                elif frame.pts is not None:
                    yield frame.pts, frame
                order += 1

    def _skip_if_unneeded(self, packet: av.Packet) -> None:
        """Spares the decoder frames that are neither wanted nor referred to by others; the rest is unchanged.

        Neighbours of a wanted frame are decoded all the same: they stand in when it turns out to be damaged.
        """
        if not self._can_skip or packet.pts is None:
            return
        near = 2 * self.timeline.step_ticks
        begin, end = np.searchsorted(self._wanted, [packet.pts - near, packet.pts + near + 1])
        self._stream.codec_context.skip_frame = "NONREF" if begin == end else "DEFAULT"

    @property
    def _can_skip(self) -> bool:
        """Whether every packet's time is known, and the codec marks frames that nothing refers to."""
        is_known = self.timeline.is_exact and not self.timeline.is_counted
        return is_known and self._num_threads == 1 and self._stream.codec_context.name == "h264"

    def _convert(self, frame: av.VideoFrame, short_side: int | None) -> np.ndarray:
        """RGB picture [h, w, 3], upright, at the size of this read's first frame."""
        check_size(self.name, frame.width, frame.height)
        quarter_turns = round(frame.rotation / 90) % 4
        self._counterclockwise = 90 * quarter_turns
        if self._size is None:
            self._size = resized_size(frame.width, frame.height, short_side)
            self._reformatter = VideoReformatter()
        picture = self._reformatter.reformat(
            frame, *self._size, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(picture, quarter_turns))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
