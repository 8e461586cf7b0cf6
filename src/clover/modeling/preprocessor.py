"""How a folder of the Hub says that pixels are normalised."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clover.errors import CheckpointError
from clover.modeling.pixels import PixelConfig

PREPROCESSOR_FILES = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
"""Where it says so: in that of images, that of videos, or, in newer folders, that of all that goes in."""


def holds_preprocessor(folder: Path) -> bool:
    """Whether a folder has a preprocessor; the last of the files is often about texts alone, and then none."""
    if any((folder / name).is_file() for name in PREPROCESSOR_FILES[:2]):
        return True
    try:
        return read_pixels(folder) is not None
    except CheckpointError:  # it is there, and what is wrong with it is said where it is read
        return True


def read_pixels(folder: Path) -> PixelConfig | None:
    """What the folder's preprocessor does to pixels, red first; None where it holds none.

    Raises:
        CheckpointError: it is not readable.
    """
    for name in PREPROCESSOR_FILES:
        path = folder / name
        if not path.is_file():
            continue
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            plain = plain.get("image_processor") or plain.get("video_processor") or plain
            if not (plain.get("image_mean") or "do_normalize" in plain):
                continue
            return _pixel_rule(plain)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{path} does not say how pixels are normalised ({error}); copy it again") from error
    return None


def _pixel_rule(plain: Mapping[str, Any]) -> PixelConfig:
    """From ``(pixel * scale - offset - mean) / deviation``; ViViT's processors alone take an offset of one."""
    scale, offset = 1.0, 0.0
    if plain.get("do_rescale", True):
        scale = float(plain.get("rescale_factor") or 1 / 255)
        is_vivit = "Vivit" in f"{plain.get('image_processor_type')} {plain.get('video_processor_type')}"
        offset = float(plain.get("offset", plain.get("rescale_offset", is_vivit)))
    normalises = plain.get("do_normalize", True)
    mean = [float(value) for value in plain["image_mean"]] if normalises else [0.0] * 3
    deviation = [float(value) for value in plain["image_std"]] if normalises else [1.0] * 3
    if not all(map(math.isfinite, [*mean, scale])) or not all(0 < value < math.inf for value in [*deviation, scale]):
        raise ValueError(f"mean {mean}, deviation {deviation}, factor {scale}")
    means, deviations = (
        (red / scale, green / scale, blue / scale)
        for red, green, blue in ([value + offset for value in mean], deviation)
    )
    return PixelConfig(mean=means, deviation=deviations)
