"""Frames to clips: resizing, cropping and flipping, on uint8 until the device.

Every function takes and returns [t, h, w, 3] uint8 and treats all frames of a clip alike. Normalisation
happens in the model. Resizing is bilinear with antialiasing; PyTorch's uint8 kernel is an order of
magnitude faster than Pillow's here and differs from it by at most 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8

from clover.data.media_source import resized_size
from clover.errors import ConfigError

Clip = UInt8[np.ndarray, "t h w 3"]
ResizedClip = UInt8[np.ndarray, "t new_h new_w 3"]

_NUM_CROP_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """How frames become a clip; the defaults are those of most published runs."""

    size: int = 224
    """Height and width of the clip in pixels."""

    training_short_side: int | None = 256
    """Short side to which frames are resized before the random crop; None crops from them as they are."""

    training_fit: Literal["random_crop", "square"] = "random_crop"
    """How training frames become square: by a random resized crop, or by resizing, the aspect not kept."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest area of the random crop, as a fraction of the frame's."""

    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width divided by height of the random crop."""

    flip_probability: float = 0.0
    """How often a training clip is mirrored; the published runs mirror in MSR-VTT retrieval only (0.5)."""

    test_fit: Literal["center_crop", "square"] = "center_crop"
    """How test frames become square: the middle of the frame, or the whole frame, the aspect not kept."""

    def __post_init__(self) -> None:
        """Refuses settings that contradict one another.

        Raises:
            ConfigError: A size, range or probability makes no sense.
        """
        if self.size < 1:
            raise ConfigError(f"size is {self.size}; it must be at least 1")
        if self.training_short_side is not None and self.training_short_side < 1:
            short = self.training_short_side
            raise ConfigError(f"training_short_side is {short}; it must be at least 1, or None")
        _check_crop(self.crop_scale, self.crop_ratio)
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f"flip_probability is {self.flip_probability}; it must be between 0 and 1")
        if self.training_fit not in ("random_crop", "square"):
            raise ConfigError(f"training_fit is {self.training_fit!r}; choose random_crop or square")
        if self.test_fit not in ("center_crop", "square"):
            raise ConfigError(f"test_fit is {self.test_fit!r}; choose center_crop or square")

    def of_size(self, size: int) -> TransformConfig:
        """The same of clips of another size in pixels: random crops are taken of frames larger by as much."""
        short = self.training_short_side
        scaled = None if short is None else round(short * size / self.size)
        return replace(self, size=size, training_short_side=scaled)

    @property
    def training_read_size(self) -> int | None:
        """The ``short_side`` to give to `read_frames` in training: frames are then resized while decoded."""
        return self.training_short_side if self.training_fit == "random_crop" else None

    @property
    def test_read_size(self) -> int | None:
        """The ``short_side`` to give to `read_frames` in testing."""
        return self.size if self.test_fit == "center_crop" else None


def training_clip(frames: Clip, config: TransformConfig, generator: np.random.Generator) -> ResizedClip:
    """A clip [t, size, size, 3] for training; draws the crop and the flip, the same for all frames."""
    if config.training_fit == "square":
        clip = resize_square(frames, config.size)
    else:
        if config.training_short_side is not None:
            frames = resize_short_side(frames, config.training_short_side)
        clip = random_resized_crop(frames, config.size, generator, scale=config.crop_scale, ratio=config.crop_ratio)
    if config.flip_probability > 0 and generator.random() < config.flip_probability:
        clip = horizontal_flip(clip)
    return clip


def test_clip(frames: Clip, config: TransformConfig) -> ResizedClip:
    """A clip [t, size, size, 3] for testing; nothing is random."""
    if config.test_fit == "square":
        return resize_square(frames, config.size)
    return center_crop(resize_short_side(frames, config.size), config.size)


# Its name must not make pytest collect it wherever a test imports it.
test_clip.__test__ = False  # type: ignore[attr-defined]


def resize(frames: Clip, height: int, width: int) -> ResizedClip:
    """Resizes to ``height`` x ``width`` pixels; bilinear, antialiased when it shrinks."""
    if frames.shape[1:3] == (height, width):
        return frames
    # A view with channels in front, stored channels last: what the uint8 kernel is written for.
    pixels = torch.from_numpy(np.require(frames, requirements=["C", "W"])).permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1).contiguous().numpy()


def resize_short_side(frames: Clip, short_side: int) -> ResizedClip:
    """Resizes so that the shorter side has ``short_side`` pixels, aspect kept; the longer one is rounded."""
    width, height = resized_size(frames.shape[2], frames.shape[1], short_side)
    return resize(frames, height, width)


def resize_square(frames: Clip, size: int) -> ResizedClip:
    """Resizes straight to ``size`` x ``size`` pixels; the aspect is not kept."""
    return resize(frames, size, size)


def center_crop(frames: Clip, size: int) -> ResizedClip:
    """The middle ``size`` x ``size`` pixels; the odd pixel is cut at the bottom and on the right.

    Raises:
        ConfigError: The frames are smaller than that.
    """
    height, width = frames.shape[1:3]
    if height < size or width < size:
        raise ConfigError(f"frames of {width} x {height} cannot be cropped to {size}; resize them first")
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(frames[:, top : top + size, left : left + size])


def random_resized_crop(
    frames: Clip,
    size: int,
    generator: np.random.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> ResizedClip:
    """Cuts one random rectangle out of all frames and resizes it to ``size`` x ``size`` pixels.

    The area is drawn uniformly and the aspect log-uniformly; after ten draws that do not fit, the largest
    centred square is taken, as in the published runs.

    Args:
        frames: RGB frames.
        size: Height and width of the result in pixels.
        generator: Source of randomness.
        scale: Smallest and largest area, as a fraction of the frame's.
        ratio: Smallest and largest width divided by height.

    Raises:
        ConfigError: A range is empty or not positive.
    """
    _check_crop(scale, ratio)
    top, left, height, width = _draw_crop(frames.shape[1], frames.shape[2], generator, scale, ratio)
    return resize(frames[:, top : top + height, left : left + width], size, size)


def horizontal_flip(frames: Clip) -> Clip:
    """Mirrors every frame, left for right."""
    return np.ascontiguousarray(frames[:, :, ::-1])


def _draw_crop(
    height: int,
    width: int,
    generator: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random rectangle within ``height`` x ``width``."""
    for _ in range(_NUM_CROP_TRIES):
        area = generator.uniform(*scale) * height * width
        aspect = np.exp(generator.uniform(np.log(ratio[0]), np.log(ratio[1])))
        crop_width = round(float(np.sqrt(area * aspect)))
        crop_height = round(float(np.sqrt(area / aspect)))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(generator.integers(height - crop_height + 1))
            left = int(generator.integers(width - crop_width + 1))
            return top, left, crop_height, crop_width
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def _check_crop(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(f"crop scale is {scale}; give a smaller and a larger fraction above 0 and up to 1")
    if not 0 < ratio[0] <= ratio[1]:
        raise ConfigError(f"crop ratio is {ratio}; give a smaller and a larger ratio above 0")
