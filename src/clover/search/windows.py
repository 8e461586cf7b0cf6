"""Where a video is cut into moments: overlapping windows of a fixed length, across shots or within them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clover.errors import LibraryError

Interval = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How a video is cut into moments."""

    length_seconds: float = 4.0
    """Length of a window; a shorter video is one window."""
    stride_seconds: float = 2.0
    """Distance between the starts of two windows."""
    shots: bool = False
    """Let no window reach over a hard cut; every frame is decoded to find the cuts."""
    shortest_shot_seconds: float = 1.0
    """What lies between two cuts closer than this belongs to the shot before."""

    def __post_init__(self) -> None:
        if not 0 < self.stride_seconds <= self.length_seconds < float("inf"):
            raise LibraryError(
                f"windows of {self.length_seconds} s every {self.stride_seconds} s leave gaps or never move; "
                "use a stride above 0 and at most the length"
            )
        if not 0 <= self.shortest_shot_seconds < float("inf"):
            raise LibraryError(f"the shortest shot is {self.shortest_shot_seconds} s; use 0 or more")

    def spans(self, duration_seconds: float, cuts: Sequence[float] = ()) -> list[Interval]:
        """Start and end of every window, in the order of their starts; the last window of a shot ends with it.

        Args:
            duration_seconds: Length of the video.
            cuts: Where a new shot begins, in seconds, increasing; without any the video is one shot.
        """
        starts = [0.0]
        for cut in cuts:
            if min(cut - starts[-1], duration_seconds - cut) >= max(self.shortest_shot_seconds, 1e-6):
                starts.append(cut)
        ends = [*starts[1:], duration_seconds]
        return [span for start, end in zip(starts, ends, strict=True) for span in self._within(start, end)]

    def _within(self, first: float, end: float) -> list[Interval]:
        last = max(first, end - self.length_seconds)
        num_strides = int(np.ceil((last - first) / self.stride_seconds - 1e-9))
        starts = [min(first + step * self.stride_seconds, last) for step in range(num_strides + 1)]
        return [(start, min(start + self.length_seconds, end)) for start in starts]

    def as_details(self) -> dict[str, Any]:
        """What a library remembers of it."""
        details = {"window_seconds": self.length_seconds, "stride_seconds": self.stride_seconds}
        shots = {"shots": True, "shortest_shot_seconds": self.shortest_shot_seconds}
        return {**details, **(shots if self.shots else {})}

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> WindowConfig:
        """What a library was cut with; the defaults where it does not say."""
        default = cls()
        return cls(
            length_seconds=details.get("window_seconds", default.length_seconds),
            stride_seconds=details.get("stride_seconds", default.stride_seconds),
            shots=details.get("shots", default.shots),
            shortest_shot_seconds=details.get("shortest_shot_seconds", default.shortest_shot_seconds),
        )

    def __str__(self) -> str:
        """As a user would say it."""
        within = " within shots" if self.shots else ""
        return f"windows of {self.length_seconds} s every {self.stride_seconds} s{within}"
