"""Many overlapping spans of one video, read in one pass: memory does not grow with the video's length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from clover.data.decoding import FoundFrame, VideoReader
from clover.data.sampling import sample_indices
from clover.data.transforms import Clip
from clover.data.video import OpenVideo, read_frames, span_places
from clover.errors import MediaError
from clover.types import Frames


def read_spans(
    video: OpenVideo,
    spans: Sequence[tuple[float, float]],
    num_frames: int,
    *,
    shrink: Callable[[Clip], Clip],
    short_side: int | None = None,
    burst_length: int = 1,
    burst_interval: int = 1,
) -> Iterator[Frames | None]:
    """Reads what `read_frames` reads of each span, decoding every frame at most once.

    Only the frames of spans that are not yet complete are held, after ``shrink``. The video must not be read in
    another way meanwhile.

    Args:
        video: The video.
        spans: Start and end of each in seconds, in the order of their starts.
        num_frames: How many frames (or bursts of frames) to read of each.
        shrink: Brings decoded frames [t, h, w, 3] to the size that is kept; called with one frame at a time.
        short_side: As in `read_frames`.
        burst_length: As in `read_frames`.
        burst_interval: As in `read_frames`.

    Yields:
        The shrunk frames of each span, in the order of ``spans``; None for a span of which nothing can be decoded.

    Raises:
        MediaError: Nothing at all can be decoded, or a span is empty or lies outside the video.
    """
    reader = video.reader
    if not isinstance(reader, VideoReader):
        for start, end in spans:
            still = read_frames(video, num_frames, start_seconds=start, end_seconds=end, short_side=short_side)
            yield Frames(images=shrink(still.images), seconds=still.seconds, problem=still.problem)
        return
    wanted: list[np.ndarray] = []
    for start, end in spans:
        first, last = span_places(reader, start, end)
        chosen = sample_indices(last - first, num_frames, clip_length=burst_length, frame_interval=burst_interval)
        wanted.append(first + np.array(chosen))
    yield from _Stream(reader, wanted, shrink).frames(short_side)


class _Stream:
    """The frames that are held while the spans go by."""

    def __init__(self, reader: VideoReader, wanted: list[np.ndarray], shrink: Callable[[Clip], Clip]) -> None:
        self._reader, self._wanted, self._shrink = reader, wanted, shrink
        # spans that come later need nothing before this
        firsts = np.array([places.min() for places in wanted], dtype=np.int64)
        self._needed_from = np.minimum.accumulate(firsts[::-1])[::-1]
        self._held: dict[int, FoundFrame] = {}

    def frames(self, short_side: int | None) -> Iterator[Frames | None]:
        """Frames of all spans, in order."""
        if not self._wanted:
            return
        num_given, has_any = 0, False
        for found in self._reader.in_order(np.unique(np.concatenate(self._wanted)), short_side=short_side):
            has_any = True
            small = self._shrink(found.image[None])[0]
            self._held[found.index] = FoundFrame(
                index=found.index, seconds=found.seconds, image=small, is_replaced=found.is_replaced
            )
            while num_given < len(self._wanted) and self._wanted[num_given].max() <= found.index:
                yield self._give(num_given)
                num_given += 1
        if not has_any:
            raise MediaError(f"{self._reader.name}: no frame could be decoded; fetch it again or re-encode it")
        for number in range(num_given, len(self._wanted)):
            yield self._give(number)

    def _give(self, number: int) -> Frames | None:
        """One span's frames, where one is missing the nearest; lets go of what no later span needs."""
        places = self._wanted[number]
        for place in [place for place in self._held if place < self._needed_from[number]]:
            del self._held[place]
        there = np.array([place for place in np.unique(places).tolist() if place in self._held], dtype=np.int64)
        if not len(there):
            return None
        nearest = there[np.abs(places[:, None] - there[None, :]).argmin(axis=1)]
        chosen = [self._held[place] for place in nearest.tolist()]
        is_replaced = [frame.is_replaced for frame in chosen]
        num_replaced = int(np.count_nonzero(np.array(is_replaced) | (nearest != places)))
        return Frames(
            images=np.stack([frame.image for frame in chosen]),
            seconds=np.array([frame.seconds for frame in chosen], dtype=np.float64),
            problem=self._reader.problem_of(num_replaced, len(places)),
        )
