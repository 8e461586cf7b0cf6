"""When each frame of a video stream is shown, learnt without decoding, and where decoding can begin.

Containers do not agree on what they say about their frames: Matroska gives no count, AVI may give twice the
true one and has no presentation times, MPEG-TS and stream-copied cuts do not start at zero, and the index
of an MP4 holds decoding times. A `Timeline` is what all of them can be brought to.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import av
import numpy as np

MAX_SCAN_BYTES = 256 * 1024 * 1024
"""Files up to this size are read once, undecoded, when their index does not give the exact list of frames."""


_EDIT_LIST_SECONDS = Fraction(2, 1000)
"""Edit lists measure in milliseconds, as most files have them."""

_SLACK_SECONDS = 1e-6
"""Times come as decimal fractions, frames lie on rational ones; this much earlier still means that frame."""


def frames_shown_at(starts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Which frame is shown at each time: the last to start by then, and the first before any has.

    Args:
        starts: When each frame starts, in seconds, increasing.
        times: Seconds on the same clock.

    Returns:
        Index of a frame for each time.
    """
    return np.maximum(np.searchsorted(starts, times + _SLACK_SECONDS, side="right") - 1, 0)


def first_frame_from(starts: np.ndarray, time: float | int) -> int:
    """Index of the first frame that starts at this time or later; the number of frames when none does."""
    return int(np.searchsorted(starts, time - _SLACK_SECONDS, side="left"))


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Presentation times of a stream's frames.

    Attributes:
        ticks: Time of each frame in units of ``time_base``, strictly increasing, at least one.
        end_ticks: When the last frame stops being shown.
        time_base: Seconds in a tick.
        key_ticks: Times of the frames from which decoding can begin, increasing; None when unknown.
        is_exact: Whether ``ticks`` is the stream's own list, not a grid laid over its duration.
        is_counted: Whether decoded frames must be matched by order, because their own times cannot be
            trusted.
        problem: What the container itself revealed to be wrong, or None.
    """

    ticks: np.ndarray
    end_ticks: int
    time_base: Fraction
    key_ticks: np.ndarray | None
    is_exact: bool
    is_counted: bool = False
    problem: str | None = None

    @cached_property
    def seconds(self) -> np.ndarray:
        """Time of each frame, counted from the first one."""
        return (self.ticks - self.ticks[0]) * float(self.time_base)

    def ticks_at(self, times: np.ndarray) -> np.ndarray:
        """The ticks to decode for the frames shown at these seconds from the first frame."""
        if self.is_exact:
            return self.ticks[frames_shown_at(self.seconds, times)]
        exact = int(self.ticks[0]) + np.floor((times + _SLACK_SECONDS) / float(self.time_base)).astype(np.int64)
        return np.minimum(exact, self.end_ticks - 1)

    @property
    def duration_seconds(self) -> float:
        """Time from the beginning of the first frame to the end of the last."""
        return float((self.end_ticks - int(self.ticks[0])) * self.time_base)

    @cached_property
    def step_ticks(self) -> int:
        """The usual distance between two frames, at least one tick."""
        if len(self.ticks) < 2:
            return max(1, self.end_ticks - int(self.ticks[0]))
        return max(1, int(np.median(np.diff(self.ticks))))


def timeline_from_index(stream: av.VideoStream) -> Timeline | None:
    """Timeline of an MP4 or MOV from its index alone, or None when the index does not settle it.

    The index holds decoding times. When they are evenly spaced, presentation times are the same grid,
    shifted so that it begins at the stream's start; then the list is exact. Anything else (variable rate,
    an edit list that hides samples, fragments) is left to `timeline_from_packets`. Decoding times lag behind where
    frames are reordered: that the last frames are not on the grid shows in the duration alone.
    """
    if "mov" not in stream.container.format.name or stream.start_time is None or stream.time_base is None:
        return None
    entries = stream.index_entries
    if stream.frames < 1 or len(entries) != stream.frames:
        return None
    ticks = np.fromiter((entry.timestamp for entry in entries), dtype=np.int64, count=len(entries))
    steps = np.diff(ticks)
    if len(steps) and (steps[0] <= 0 or np.any(steps != steps[0])):
        return None
    if any(entry.is_discard for entry in entries):
        return None
    is_key = np.fromiter((entry.is_keyframe for entry in entries), dtype=bool, count=len(entries))
    ticks += stream.start_time - ticks[0]
    last_step = int(steps[-1]) if len(steps) else max(1, int(stream.duration or 1))
    if stream.duration is not None and not _lasts(stream, len(ticks) * last_step):
        return None
    return Timeline(
        ticks=ticks,
        end_ticks=int(ticks[-1]) + last_step,
        time_base=stream.time_base,
        key_ticks=ticks[is_key],
        is_exact=True,
    )


def _lasts(stream: av.VideoStream, ticks: int) -> bool:
    """Whether a stream lasts so long, as exactly as edit lists say it."""
    assert stream.duration is not None and stream.time_base is not None
    return abs(stream.duration - ticks) * stream.time_base <= _EDIT_LIST_SECONDS


def timeline_from_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Timeline | None:
    """Timeline from one pass over the stream's packets, none of them decoded; None when there are none.

    Reads the container to its end: open it anew, or seek, before decoding.
    """
    times: list[int | None] = []
    orders: list[int | None] = []
    keys: list[bool] = []
    last_duration, problem = 0, None
    declared = _declared_seconds(stream)
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue  # the flush at the end, AVI's empty chunks, samples hidden by an edit list
            if packet.is_corrupt:
                problem = "the file ends in the middle of a frame"
            times.append(packet.pts if packet.pts is not None else packet.dts)
            orders.append(packet.dts)
            keys.append(packet.is_keyframe)
            last_duration = packet.duration or last_duration
    except av.FFmpegError:
        problem = "the file breaks off"
    if not times:
        return None
    time_base = stream.time_base or Fraction(1, 1000)
    if _must_be_counted(stream) or any(time is None for time in times):
        ticks = _decoding_grid(orders, stream, time_base)
        return Timeline(
            ticks=ticks,
            end_ticks=int(ticks[-1]) + max(1, int(ticks[-1] - ticks[-2]) if len(ticks) > 1 else last_duration),
            time_base=time_base,
            key_ticks=None,
            is_exact=True,
            is_counted=True,
            problem=problem,
        )
    all_ticks = np.array(times, dtype=np.int64)
    ticks = np.unique(all_ticks)
    step = max(1, int(np.median(np.diff(ticks)))) if len(ticks) > 1 else max(1, last_duration)
    end_ticks = int(ticks[-1]) + (last_duration or step)
    if declared is not None:
        mean_step = max(1.0, (int(ticks[-1]) - int(ticks[0])) / max(1, len(ticks) - 1))
        missing = round((declared / float(time_base) - end_ticks) / mean_step)
        if missing > 1:
            problem = "the file breaks off"
            lost = ticks[-1] + np.round(mean_step * np.arange(1, missing + 1)).astype(np.int64)
            ticks = np.concatenate([ticks, lost])
            end_ticks = int(ticks[-1]) + step
    return Timeline(
        ticks=ticks,
        end_ticks=end_ticks,
        time_base=time_base,
        key_ticks=np.unique(all_ticks[np.array(keys, dtype=bool)]),
        is_exact=True,
        problem=problem,
    )


def timeline_from_duration(container: av.container.InputContainer, stream: av.VideoStream) -> Timeline | None:
    """An even grid over the duration, for files too large to read through; None without a duration."""
    time_base = stream.time_base or Fraction(1, 1000)
    start = stream.start_time or 0
    duration = stream.duration
    if duration is None and container.duration is not None:
        seconds = container.duration / av.time_base
        if container.format.name.startswith("matroska"):  # its duration is the time of the end
            seconds -= start * float(time_base)
        duration = int(seconds / time_base)
    if not duration or duration <= 0:
        return None
    rate = stream.guessed_rate or stream.average_rate or Fraction(25)
    num_frames = max(1, round(duration * time_base * rate))
    ticks = start + np.unique(np.arange(num_frames, dtype=np.int64) * duration // num_frames)
    return Timeline(ticks=ticks, end_ticks=start + duration, time_base=time_base, key_ticks=None, is_exact=False)


def _must_be_counted(stream: av.VideoStream) -> bool:
    """Whether the times of decoded frames mislead, so that frames must be counted from the beginning.

    AVI has no presentation times, which matters once frames are reordered. An MPEG program stream times only
    the first frame of each pack: after seeking, its times are off by half a frame.
    """
    container = stream.container.format.name
    return container == "mpeg" or (container == "avi" and bool(stream.codec_context.has_b_frames))


def _declared_seconds(stream: av.VideoStream) -> float | None:
    """Where Matroska says that this stream ends, so that a file cut short is noticed; None elsewhere."""
    if not stream.container.format.name.startswith("matroska"):
        return None
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds.rstrip("\x00"))
    except ValueError:
        return None


def _decoding_grid(orders: list[int | None], stream: av.VideoStream, time_base: Fraction) -> np.ndarray:
    """Times of frames counted in decoding order: the container's own if it has them, else by frame rate."""
    known = [order for order in orders if order is not None]
    if len(known) == len(orders) and len(set(known)) == len(known):
        return np.sort(np.array(known, dtype=np.int64))
    step = 1 / (time_base * (stream.guessed_rate or stream.average_rate or Fraction(25)))
    return np.array([int(position * step) for position in range(len(orders))], dtype=np.int64)
