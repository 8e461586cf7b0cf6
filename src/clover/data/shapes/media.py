"""A scene as a media file: a video, a GIF or a still image, as the name of the file says."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clover.data.shapes.rendering import render
from clover.data.shapes.scene import Scene
from clover.data.shapes.writing import is_there
from clover.data.video_writer import write_video
from clover.files import cannot_write, written_aside

_QUALITY = 23
_JPEG_QUALITY = 90
_NUM_GIF_COLORS = 64
_NUM_PALETTE_FRAMES = 6


def write_media(path: Path, scene: Scene) -> bool:
    """Write one scene unless its file is there and not empty.

    Args:
        path: Where to write; ``.gif`` makes a GIF, every other ending a video.
        scene: What to draw.

    Returns:
        Whether it was written.

    Raises:
        MediaError: the ending is not that of a container that can be written.
        WriteError: the file cannot be written.
    """
    if is_there(path):
        return False
    make_folder(path.parent)
    if path.suffix == ".gif":
        write_gif(path, render(scene), rate=scene.frames_per_second)
        return True
    write_video(
        path,
        render(scene),
        rate=scene.frames_per_second,
        quality=_QUALITY,
        keyframe_interval=scene.keyframe_interval,
        # AVI has no presentation times: frames are shown in the order in which they are stored.
        num_b_frames=0 if path.suffix == ".avi" else scene.num_b_frames,
    )
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        WriteError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def write_gif(path: Path, images: UInt8[np.ndarray, "t h w 3"], *, rate: float) -> None:
    """Write an endless GIF of 64 colours; a picture that stays the same is stored once and shown for longer.

    Frames last whole hundredths of a second, longer and shorter ones in turn, so that no time is gained or lost.

    Raises:
        WriteError: the file cannot be written.
    """
    ends = np.round(np.arange(len(images) + 1) * 100.0 / rate).astype(int)
    chosen = np.linspace(0, len(images) - 1, _NUM_PALETTE_FRAMES).astype(int)
    # Colours of the whole video, also of what appears later than in the first frame.
    palette = Image.fromarray(np.concatenate(images[chosen])).quantize(_NUM_GIF_COLORS)
    frames = [Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with written_aside(path) as aside:
        frames[0].save(
            aside,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=(10 * np.diff(ends)).tolist(),
            loop=0,
        )


def write_still(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write one picture as JPEG, whatever the file is called.

    Raises:
        WriteError: the file cannot be written.
    """
    data = jpeg_bytes(image)
    with written_aside(path) as aside:
        aside.write_bytes(data)


def jpeg_bytes(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """One picture as the content of a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
