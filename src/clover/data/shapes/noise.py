"""Captions as they are found on the web: some belong to another video, some say nothing."""

from __future__ import annotations

from collections.abc import Callable

from clover.data.shapes.draws import generator, pick

EMPTY_TALK = (
    "animated background loop in high definition",
    "colorful shapes in motion, royalty free stock footage",
    "abstract motion graphics for presentations",
    "seamless animation, 4k video",
    "geometric figures on a grey background",
    "stock video of simple objects moving around",
    "short clip for children",
    "minimal design animation, copy space",
)
"""Captions that fit every video."""


def with_noise(
    captions: list[str], share: float, *, seed: int, split: str, index: int, other: Callable[[], list[str]]
) -> tuple[list[str], list[int]]:
    """Captions of which some are replaced, and which those are.

    Args:
        captions: What is true of the video.
        share: Expected share that is replaced, 0 to 1; half of it by captions of another video, half by empty talk.
        seed: Seed of the corpus.
        split: Split of the video.
        index: Number of the video.
        other: Gives the captions of another video.
    """
    rng = generator(seed, split, index, "noise")
    said, noisy = list(captions), []
    for place in range(len(captions)):
        if rng.uniform() >= share:
            continue
        noisy.append(place)
        said[place] = pick(rng, other()) if rng.uniform() < 0.5 else pick(rng, EMPTY_TALK)
    return said, noisy
