"""Hard cuts of a video, found by its colours: one frame at a time, a small picture of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Float, Float32, UInt8

from clover.data.decoding import VideoReader
from clover.data.video import OpenVideo

_WIDTH, _HEIGHT = 32, 24
_NUM_BINS = 16
_LEAST_CHANGE = 0.25
"""Share of the colours that must change from one frame to the next; 0 is none, 1 is all."""
_LEAST_RATIO = 3.0
"""How many times the change must exceed that of the frames before and after: motion, fades and flashes are no cuts."""
_NUM_BEFORE, _NUM_AFTER = 12, 2


def find_cuts(video: OpenVideo) -> list[float]:
    """Where new shots begin, in seconds from the first frame, increasing.

    Decodes every frame once; memory does not grow with the video's length. Dissolves and fades are not found, and a
    still image has no cuts.
    """
    reader = video.reader
    if not isinstance(reader, VideoReader):
        return []
    time_base = float(reader.timeline.time_base)
    return [ticks * time_base for ticks in _peaks(_changes(reader))]


def _changes(reader: VideoReader) -> Iterator[tuple[int, float]]:
    """Time of every frame but the first, and how much its colours differ from those of the one before, 0 to 1."""
    reformatter = VideoReformatter()
    last: Float32[np.ndarray, "cells bins"] | None = None
    for ticks, frame in reader.every_frame():
        small = reformatter.reformat(
            frame, _WIDTH, _HEIGHT, format="rgb24", interpolation=Interpolation.AREA, threads=1
        )
        colours = colour_histograms(small.to_ndarray())
        if last is not None:
            yield ticks, float(np.abs(colours - last).sum(axis=1).mean() / 2)
        last = colours


def _peaks(changes: Iterable[tuple[int, float]]) -> Iterator[int]:
    """Times of the changes that stand out from those before and after."""
    recent: deque[tuple[int, float]] = deque(maxlen=_NUM_BEFORE + 1 + _NUM_AFTER)
    num_seen = num_judged = 0
    for one in changes:
        recent.append(one)
        num_seen += 1
        if num_seen > _NUM_AFTER:
            yield from _peak(recent, len(recent) - 1 - _NUM_AFTER)
            num_judged += 1
    for back in range(num_seen - num_judged, 0, -1):
        yield from _peak(recent, len(recent) - back)


def _peak(recent: Sequence[tuple[int, float]], place: int) -> Iterator[int]:
    """The time at this place, if there is a peak."""
    values = [change for _, change in recent]
    ticks, change = recent[place]
    before, after = values[max(0, place - _NUM_BEFORE) : place], values[place + 1 : place + 1 + _NUM_AFTER]
    around = max(sum(part) / max(1, len(part)) for part in (before, after))
    if change >= _LEAST_CHANGE and change >= _LEAST_RATIO * around:
        yield ticks


def colour_histograms(picture: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "cells bins"]:
    """Shares of red, green and blue of each quarter of a picture in 16 steps; every row adds up to one.

    A value between two steps counts towards both, so that an even surface that grows a little lighter changes a
    little. Height and width must be even.
    """
    height, width = picture.shape[:2]
    cells = picture.reshape(2, height // 2, 2, width // 2, 3).transpose(0, 2, 4, 1, 3).reshape(12, -1)
    place: Float[np.ndarray, "cells pixels"] = cells * ((_NUM_BINS - 1) / 255)
    lower = np.minimum(place.astype(np.int64), _NUM_BINS - 2)
    share = place - lower
    first = np.arange(12)[:, None] * _NUM_BINS + lower
    counts = np.bincount(first.ravel(), weights=(1 - share).ravel(), minlength=12 * _NUM_BINS)
    counts += np.bincount((first + 1).ravel(), weights=share.ravel(), minlength=12 * _NUM_BINS)
    return (counts.reshape(12, _NUM_BINS) / cells.shape[1]).astype(np.float32)
