"""Corpora for a purpose."""

from __future__ import annotations

from clover.data.shapes.sampling import ShapesConfig

WARM_START = 500_000
"""Number of the first video of a corpus for warm starts: none of the same seed is in both."""


def hard_corpus(num_videos: int, seed: int = 0) -> ShapesConfig:
    """A corpus that tells systems apart: many words, wrong captions, unmentioned objects, near-duplicates.

    How its difficulty was chosen is in ``docs/decisions``.
    """
    return ShapesConfig(
        num_videos=num_videos,
        seed=seed,
        max_distractors=2,
        noise_share=0.2,
        group_size=4,
        rich_words=True,
        test_share=0.2,
    )


def warm_corpus(num_videos: int, seed: int = 0) -> ShapesConfig:
    """Other videos of the same world, with true captions, and the same pairs held out: for the two encoders."""
    return ShapesConfig(num_videos=num_videos, seed=seed, max_distractors=2, rich_words=True, first_video=WARM_START)
