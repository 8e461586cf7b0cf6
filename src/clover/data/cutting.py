"""A part of a video as a playable MP4: packets copied from a key frame on, or frames encoded anew for exact ends."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from clover.data.decoding import VideoReader
from clover.data.stills import STILL_SECONDS
from clover.data.timeline import Timeline
from clover.data.video import OpenVideo, span_places
from clover.errors import MediaError
from clover.files import written_aside

_VIDEO_IN_MP4 = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
_SOUND_IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_CLOCK = Fraction(1, 90_000)


@dataclass(frozen=True, kw_only=True)
class CutClip:
    """What was written.

    Attributes:
        path: The MP4.
        start_seconds: Where it begins in the source; copied, that is the key frame at or before the wanted start.
        end_seconds: Where it ends in the source.
        is_copied: Whether the packets are those of the source, so that nothing is lost.
    """

    path: Path
    start_seconds: float
    end_seconds: float
    is_copied: bool


def cut_video(source: Path, path: Path, start_seconds: float, end_seconds: float, *, exact: bool = False) -> CutClip:
    """Write the part of a video between two times as MP4, with its sound.

    Without ``exact`` the packets are copied, from the last key frame at or before the start to the frames that those up
    to the end refer to. What MP4 does not hold, or has no known key frames, is encoded anew all the same, as are still
    images. Sound that MP4 does not hold is left out of a copy.

    Args:
        source: A video or image.
        path: Where to write; it appears when it is complete.
        start_seconds: Beginning, from the video's first frame.
        end_seconds: End; a frame beginning then no longer belongs to it.
        exact: Begin and end where asked, at the price of encoding anew.

    Raises:
        MediaError: it cannot be read, the span is empty or outside of it, or its frames cannot be encoded.
        WriteError: the place cannot be written.
    """
    with OpenVideo(source) as video:
        reader = video.reader
        first, last = span_places(reader, start_seconds, end_seconds)
        try:
            with written_aside(path) as aside:
                if not exact and isinstance(reader, VideoReader) and _can_copy(source, reader.timeline):
                    start, end = _copy(source, reader.timeline, first, last - 1, aside)
                    return CutClip(path=path, start_seconds=start, end_seconds=end, is_copied=True)
                end = _encode(video, source, first, last, (start_seconds, end_seconds), aside)
                return CutClip(path=path, start_seconds=start_seconds, end_seconds=end, is_copied=False)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"{source}: this part of it could not be cut out ({error}); leave it out") from error


def _open(source: Path) -> av.container.InputContainer:
    # the prefix keeps names with a colon from being taken for addresses
    return av.open(f"file:{os.fspath(source)}", options={"protocol_whitelist": "file"}, metadata_errors="replace")


def _create(aside: Path) -> av.container.OutputContainer:
    return av.open(
        f"file:{os.fspath(aside)}",
        "w",
        format="mp4",
        container_options={"movflags": "+faststart", "fflags": "+bitexact"},
    )


def _can_copy(source: Path, timeline: Timeline) -> bool:
    if timeline.key_ticks is None or timeline.is_counted or not timeline.is_exact:
        return False
    with _open(source) as container:
        return container.streams.video[0].codec_context.name in _VIDEO_IN_MP4


def _copy(source: Path, timeline: Timeline, first: int, last: int, aside: Path) -> tuple[float, float]:
    """Copy the frames at these places and what they need; start and end of what was copied, in seconds."""
    assert timeline.key_ticks is not None
    keys = timeline.key_ticks[timeline.key_ticks <= timeline.ticks[first]]
    begin = int(keys[-1]) if len(keys) else int(timeline.ticks[0])
    with _open(source) as container, _create(aside) as output:
        stream = container.streams.video[0]
        copied: dict[int, av.VideoStream | av.AudioStream] = {stream.index: output.add_stream_from_template(stream)}
        _seek(container, stream, begin)
        end = begin
        zero, until = begin * timeline.time_base, int(timeline.ticks[last]) * timeline.time_base
        packets = [_picture_packets(container, stream, begin, int(timeline.ticks[last]))]
        for sound in container.streams.audio[:1]:
            if sound.codec_context is not None and sound.codec_context.name in _SOUND_IN_MP4:
                copied[sound.index] = output.add_stream_from_template(sound)
                packets.append(_sound_packets(source, sound.index, zero, until))
        for packet in heapq.merge(*packets, key=_moment):
            assert packet.pts is not None and packet.time_base is not None
            if packet.stream.index == stream.index:
                end = max(end, packet.pts)
            shift = round(zero / packet.time_base)
            packet.pts -= shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = copied[packet.stream.index]
            output.mux(packet)
    following = timeline.ticks[timeline.ticks > end]
    end_ticks = int(following[0]) if len(following) else timeline.end_ticks
    origin = int(timeline.ticks[0])
    return float((begin - origin) * timeline.time_base), float((end_ticks - origin) * timeline.time_base)


def _moment(packet: av.Packet) -> Fraction:
    ticks = packet.pts if packet.dts is None else packet.dts
    assert ticks is not None and packet.time_base is not None
    return ticks * packet.time_base


def _seek(container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream, begin: int) -> None:
    """Go to where the packet of a key frame is still to come; containers may land behind the one that was meant."""
    assert stream.time_base is not None
    second = int(1 / stream.time_base)
    for candidate in (begin, begin - second, begin - 10 * second):
        with suppress(av.FFmpegError):
            container.seek(candidate, stream=stream, backward=True)
            times = (packet.pts for packet in container.demux(stream) if packet.pts is not None)
            if next(times, begin + 1) <= begin:
                container.seek(candidate, stream=stream, backward=True)
                return
    container.seek(stream.start_time or 0, stream=stream, backward=True)


def _sound_packets(source: Path, index: int, begin: Fraction, last: Fraction) -> Iterator[av.Packet]:
    """The sound between two moments, read by itself: it may lie anywhere in the file, far from its picture."""
    with _open(source) as container:
        sound = next(stream for stream in container.streams.audio if stream.index == index)
        assert sound.time_base is not None
        _seek(container, sound, math.floor(begin / sound.time_base))
        for packet in container.demux(sound):
            if packet.size == 0 or packet.pts is None or packet.time_base is None:
                continue
            if packet.pts * packet.time_base > last:
                break
            if packet.pts * packet.time_base >= begin:
                yield packet


def _picture_packets(
    container: av.container.InputContainer, stream: av.VideoStream, begin: int, last: int
) -> Iterator[av.Packet]:
    """Packets from a key frame up to the last wanted frame, and what is shown before those that had to come along."""
    ahead: list[av.Packet] = []
    latest, has_begun = begin, False
    for packet in container.demux(stream):
        if packet.size == 0 or packet.pts is None or packet.time_base is None:
            continue
        has_begun = has_begun or (packet.is_keyframe and packet.pts >= begin)
        if not has_begun or packet.pts < begin:  # shown before the key frame, and referring to what is left out
            continue
        if packet.dts is not None and packet.dts > last:
            break
        if packet.pts > last:
            ahead.append(packet)
            continue
        for one in [*ahead, packet]:
            latest = max(latest, one.pts or 0)
            yield one
        ahead = []
    yield from (packet for packet in ahead if packet.pts is not None and packet.pts < latest)


def _encode(video: OpenVideo, source: Path, first: int, last: int, span: tuple[float, float], aside: Path) -> float:
    """Encode frames anew; gives where they end in the source, in seconds."""
    reader = video.reader
    end = min(span[1], reader.info.duration_seconds)
    with _create(aside) as output:
        if isinstance(reader, VideoReader):
            frames = (
                (frame.seconds, frame.image) for frame in reader.in_order(np.arange(first, last), short_side=None)
            )
            sound = _Sound(source, reader.timeline, span[0], end, output)
        else:
            frames = ((0.0, image) for image in reader.read([first], short_side=None).images)
            sound, end = None, span[0] + STILL_SECONDS
        writer: _Pictures | None = None
        for seconds, image in frames:
            if writer is None:
                writer = _Pictures(output, image)
                if sound is not None:
                    sound.add_stream()
            writer.put(max(0, round((seconds - span[0]) / _CLOCK)), image)
        if writer is None:
            raise MediaError(f"{source}: no frame could be decoded; fetch it again or re-encode it")
        writer.finish(round((end - span[0]) / _CLOCK))
        if sound is not None:
            sound.write()
    return end


class _Pictures:
    """Encodes frames, each with its own time and duration."""

    def __init__(self, output: av.container.OutputContainer, image: np.ndarray) -> None:
        self._output = output
        self._stream = output.add_stream("libx264", rate=Fraction(30), options={"crf": "18", "preset": "veryfast"})
        self._stream.height, self._stream.width = _even(image).shape[:2]
        self._stream.pix_fmt = "yuv420p"  # what every player shows
        self._stream.codec_context.time_base = _CLOCK
        self._waiting: tuple[int, np.ndarray] | None = None
        self._durations: dict[int, int] = {}

    def put(self, ticks: int, image: np.ndarray) -> None:
        """Take the frame shown from this time on; of two at one time the later."""
        if self._waiting is not None and ticks > self._waiting[0]:
            self._encode(ticks)
        self._waiting = (ticks, _even(image))

    def finish(self, end_ticks: int) -> None:
        """Write the last frame, which lasts to the end."""
        assert self._waiting is not None
        self._encode(max(end_ticks, self._waiting[0] + 1))
        self._mux(None)

    def _encode(self, next_ticks: int) -> None:
        assert self._waiting is not None
        ticks, image = self._waiting
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = ticks, _CLOCK
        self._durations[ticks] = next_ticks - ticks
        self._mux(frame)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if packet.pts is not None and packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)  # the encoder forgets it
            self._output.mux(packet)


def _even(image: np.ndarray) -> np.ndarray:
    """The picture without an odd last row or column; one pixel becomes two."""
    height, width = image.shape[:2]
    image = np.pad(image, ((0, height == 1), (0, width == 1), (0, 0)), mode="edge")
    return np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])


class _Sound:
    """The sound between two times, as AAC; what cannot be decoded is left out."""

    def __init__(
        self, source: Path, timeline: Timeline, start: float, end: float, output: av.container.OutputContainer
    ) -> None:
        self._source, self._start, self._end, self._output = source, start, end, output
        self._origin = float(int(timeline.ticks[0]) * timeline.time_base)
        self._stream: av.AudioStream | None = None

    def add_stream(self) -> None:
        """Announce the sound, if there is any."""
        with _open(self._source) as container:
            if container.streams.audio and container.streams.audio[0].codec_context is not None:
                self._rate = container.streams.audio[0].codec_context.sample_rate or 48_000
                self._stream = self._output.add_stream("aac", rate=self._rate, layout="stereo")

    def write(self) -> None:
        """Decode, cut at the sample, encode."""
        if self._stream is None:
            return
        with _open(self._source) as container, suppress(av.FFmpegError):
            source = container.streams.audio[0]
            assert source.time_base is not None
            container.seek(int((self._start + self._origin) / source.time_base), stream=source, backward=True)
            resampler = av.AudioResampler(format="fltp", layout="stereo", rate=self._rate)
            for decoded in container.decode(source):
                for frame in resampler.resample(decoded):
                    self._put(frame)
                if decoded.time is not None and decoded.time - self._origin >= self._end:
                    break
        self._output.mux(self._stream.encode(None))

    def _put(self, frame: av.AudioFrame) -> None:
        assert self._stream is not None
        begin = (frame.time or 0.0) - self._origin - self._start
        samples = frame.to_ndarray().astype(np.float32)
        low = max(0, round(-begin * self._rate))
        high = min(samples.shape[1], round((self._end - self._start - begin) * self._rate))
        if low >= high:
            return
        kept: NDArray[np.float32] = np.ascontiguousarray(samples[:, low:high])
        part = av.AudioFrame.from_ndarray(kept, format="fltp", layout="stereo")
        part.sample_rate, part.time_base = self._rate, Fraction(1, self._rate)
        part.pts = round(begin * self._rate) + low
        self._output.mux(self._stream.encode(part))
