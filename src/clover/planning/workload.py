"""What a run reads: samples, epochs, bytes on disk, and how fast a processor core decodes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clover.data.order import shares_of_steps, steps_of_epochs

Storage = Literal["loose", "packed"]
"""Samples in files of their own, or in shards of clover data pack."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The data of a whole run; where there are both, steps of videos and of images take turns."""

    num_videos: int
    """Videos of one epoch."""
    num_images: int
    """Images of one epoch."""
    num_epochs: float
    """Times that the kind that takes more steps is read; the other begins anew meanwhile."""
    name: str = ""
    """What they are, in words."""

    @property
    def sources(self) -> dict[str, int]:
        """Samples of each kind that there is."""
        counts = {"video": self.num_videos, "image": self.num_images}
        return {name: count for name, count in counts.items() if count}

    def num_steps(self, batch_size: int) -> int:
        """Steps of the run, counted as the run itself counts them."""
        return steps_of_epochs(self.num_epochs, list(self.sources.values()), batch_size=batch_size)

    def samples(self, batch_size: int) -> dict[str, float]:
        """Samples of each kind that the run reads, repetitions included."""
        total, shares = self.num_steps(batch_size) * batch_size, shares_of_steps(len(self.sources))
        return {"video": 0.0, "image": 0.0} | {
            name: total * share for name, share in zip(self.sources, shares, strict=True)
        }


WORKLOADS = {
    "webvid_cc3m": Workload(
        num_videos=2_500_000, num_images=2_800_000, num_epochs=40.0, name="WebVid 2.5 M videos, CC3M 2.8 M images"
    ),
}
"""Of recipes that read published data (paper, section 4.1); other recipes say themselves how many steps they take."""

VIDEOS_PER_CORE_SECOND: dict[Storage, float] = {"packed": 57.0, "loose": 5.6}
"""8 frames of a clip of 640 x 360 and 10 to 20 s, out of shards of clover data pack and out of its own file, one thread
(benchmarks/results/loader_2026-11-21.json)."""
IMAGES_PER_CORE_SECOND = 125.0
"""A JPEG file of 500 x 375, read at a short side of 256, one thread: 8.0 ms (the command: docs/scale.md)."""
VIDEO_BYTES: dict[Storage, float] = {"packed": 0.5e6, "loose": 1.7e6}
"""WebVid's mean clip lasts 18.7 s (13,000 hours of 2.5 M: Bain et al. 2021, section 3); 640 x 360 takes 0.9 MB in 10 s
(benchmarks/results/decoding_2026-11-21.json), packed 30 % of it (loader_2026-11-21.json)."""
IMAGE_BYTES = 40e3
"""A JPEG file of 500 x 375."""
