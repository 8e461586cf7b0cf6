"""What a run reads: samples, epochs, bytes on disk, and how fast a processor core decodes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The data of a whole run."""

    num_videos: int
    """Videos of one epoch."""
    num_images: int
    """Images of one epoch."""
    num_epochs: float
    """Times that each is read."""
    name: str = ""
    """What they are, in words."""


WORKLOADS = {
    "webvid_cc3m": Workload(
        num_videos=2_500_000, num_images=2_800_000, num_epochs=40.0, name="WebVid 2.5 M videos, CC3M 2.8 M images"
    ),
}
"""Of recipes that read published data (paper, section 4.1); other recipes say themselves how many steps they take."""

VIDEOS_PER_CORE_SECOND = 6.7
"""8 frames of a 10 s clip of 640 x 360, key frames 30 apart, one thread: 149.8 ms
(benchmarks/results/decoding_2026-11-21.json)."""
IMAGES_PER_CORE_SECOND = 125.0
"""A JPEG file of 500 x 375, read at a short side of 256, one thread: 8.0 ms (the command: docs/scale.md)."""
VIDEO_BYTES = 1.7e6
"""WebVid's mean clip lasts 18.7 s (13,000 hours of 2.5 M: Bain et al. 2021, section 3); 640 x 360 takes 0.9 MB in 10 s
(benchmarks/results/decoding_2026-11-21.json)."""
IMAGE_BYTES = 40e3
"""A JPEG file of 500 x 375."""
