"""Pixels to numbers: on the device, as the first thing the network does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PixelConfig:
    """Normalisation of RGB pixels; the defaults are ImageNet's figures on the scale 0..255."""

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Mean of red, green and blue."""
    deviation: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """Standard deviation of red, green and blue."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """Order in which the encoder takes the channels; official Clover checkpoints were trained on `bgr`."""


Clip = UInt8[Tensor, "b t h w 3"] | Float[Tensor, "b t h w 3"]
"""RGB pixels, 0..255; or floats that are normalised already."""


def normalise(clip: Clip, config: PixelConfig) -> Float[Tensor, "b t h w 3"]:
    """Subtract the mean, divide by the deviation, and put the channels in the encoder's order.

    A clip of floats is taken as normalised and in that order, and is given back as it is.
    """
    if clip.is_floating_point():
        return clip
    mean = torch.tensor(config.mean, device=clip.device)
    scale = 1.0 / torch.tensor(config.deviation, device=clip.device)
    pixels = (clip.float() - mean) * scale
    return pixels.flip(-1) if config.channel_order == "bgr" else pixels
