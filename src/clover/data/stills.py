"""Still images and arrays as videos: readers with the same face as the one for containers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from clover.data.media_source import OpenedMedia, check_size
from clover.data.timeline import frames_shown_at
from clover.data.transforms import resize_short_side
from clover.errors import MediaError
from clover.types import Frames, VideoInfo

STILL_SECONDS = 1.0
"""How long a still image is said to last."""

ARRAY_RATE = 8.0
"""Frames a second of frames given as an array, which has no clock of its own."""

_BEHIND_TRANSPARENT = (255, 255, 255)


class ArrayReader:
    """Frames that were decoded elsewhere, shown at `ARRAY_RATE`."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name = name
        self._array = array
        self.seconds = np.arange(len(array)) / ARRAY_RATE

    @property
    def info(self) -> VideoInfo:
        """The array's own measures."""
        num_frames, height, width = self._array.shape[:3]
        return VideoInfo(
            name=self.name,
            width=width,
            height=height,
            duration_seconds=num_frames / ARRAY_RATE,
            num_frames=num_frames,
            rate=ARRAY_RATE,
            rotation_degrees=0,
            has_audio=False,
            is_image=False,
        )

    def read(self, indices: Sequence[int], *, short_side: int | None) -> Frames:
        """The frames at these places, resized when ``short_side`` is given."""
        images = self._array[list(indices)]
        if short_side is not None:
            images = resize_short_side(images, short_side)
        return Frames(images=images, seconds=self.seconds[list(indices)])

    def read_at(self, times: np.ndarray, *, short_side: int | None) -> Frames:
        """The frames shown at these seconds."""
        return self.read(frames_shown_at(self.seconds, times).tolist(), short_side=short_side)


class StillReader:
    """A still image as a video of one frame: upright by its EXIF orientation, transparency laid over white.

    Raises:
        MediaError: It is not an image, is cut short, or has an absurd size.
    """

    def __init__(self, media: OpenedMedia) -> None:
        self.name = media.name
        self.seconds = np.zeros(1)
        self._picture, self._is_animated = _load(media)

    @property
    def info(self) -> VideoInfo:
        """The upright image's measures."""
        height, width = self._picture.shape[:2]
        return VideoInfo(
            name=self.name,
            width=width,
            height=height,
            duration_seconds=STILL_SECONDS,
            num_frames=1,
            rate=None,
            rotation_degrees=0,
            has_audio=False,
            is_image=True,
        )

    def read(self, indices: Sequence[int], *, short_side: int | None) -> Frames:
        """The image once for every index."""
        images = self._picture[None]
        if short_side is not None:
            images = resize_short_side(images, short_side)
        problem = "only the first picture of an animated WebP is read" if self._is_animated else None
        return Frames(
            images=np.repeat(images, len(indices), axis=0),
            seconds=np.zeros(len(indices)),
            problem=problem,
        )

    def read_at(self, times: np.ndarray, *, short_side: int | None) -> Frames:
        """The image once for every time."""
        return self.read([0] * len(times), short_side=short_side)


def _load(media: OpenedMedia) -> tuple[np.ndarray, bool]:
    """The upright RGB picture, and whether it is the first of an animation."""
    try:
        with Image.open(media.path or media.file) as image:  # type: ignore[arg-type]
            check_size(media.name, *image.size)
            is_animated = image.format == "WEBP" and bool(getattr(image, "is_animated", False))
            return np.array(_to_rgb(ImageOps.exif_transpose(image))), is_animated
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{media.name}: has too many pixels; scale it down first") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise MediaError(
            f"{media.name}: is an image that cannot be read ({error}); fetch it again or leave it out"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip to white
        grey = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip(grey >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        backdrop = Image.new("RGBA", image.size, (*_BEHIND_TRANSPARENT, 255))
        return Image.alpha_composite(backdrop, image).convert("RGB")
    return image.convert("RGB")
