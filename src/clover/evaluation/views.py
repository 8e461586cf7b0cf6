"""What an evaluation lets the model see of a video: all of it, or less, to find out what an answer rests on."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from clover.errors import ConfigError
from clover.pipeline import Clover

ClipView = Literal["whole", "shuffled_frames", "single_frame", "blank"]
"""The clip as it is; its frames in a random order; its middle frame alone; an even grey."""

ReadClip = Callable[[Path], np.ndarray]
"""A video to the clip ``[t h w 3]`` of uint8 that the model is shown."""


def read_clip(clover: Clover, view: ClipView = "whole", *, seed: int = 0) -> ReadClip:
    """How an evaluation reads clips. The order of shuffled frames depends on the seed and the file's name only."""
    if view == "whole":
        return clover.clip
    if view == "blank":
        return lambda _: blank_clip(clover)

    def read(video: Path) -> np.ndarray:
        clip = clover.clip(video)
        if view == "single_frame":
            return np.repeat(clip[len(clip) // 2][None], len(clip), axis=0)
        if view == "shuffled_frames":
            generator = np.random.default_rng([seed, zlib.crc32(video.name.encode())])
            return clip[generator.permutation(len(clip))]
        raise ConfigError(f"there is no view {view!r} of a video")

    return read


def blank_clip(clover: Clover) -> np.ndarray:
    """A clip of one even grey, the pixels' mean."""
    inputs = clover.config.inputs
    mean = np.array(clover.config.model.pixels.mean).round().astype(np.uint8)
    shape = (inputs.num_frames * inputs.num_views, inputs.frames.size, inputs.frames.size, 3)
    return np.broadcast_to(mean, shape).copy()
