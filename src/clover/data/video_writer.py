"""Writes frames as a small H.264 video."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from clover.data.media_source import open_media
from clover.data.x264 import x264_parameters
from clover.errors import MediaError
from clover.files import written_aside

_CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".avi": "avi", ".ts": "mpegts"}
"""Endings and what FFmpeg calls them."""


def write_video(
    path: str | os.PathLike[str],
    images: np.ndarray,
    *,
    rate: float | int | Fraction = 8,
    quality: int = 18,
    keyframe_interval: int | None = None,
    num_b_frames: int | None = None,
) -> Path:
    """Writes ``images`` as H.264; the file appears under its name only when it is complete.

    The same images give the same bytes: one thread encodes, and nothing of the clock is written.

    Args:
        path: Where to write; the ending chooses the container (.mp4, .mkv, .mov, .avi, .ts).
        images: RGB, [t, h, w, 3] uint8. Odd sizes are kept by not subsampling the colour.
        rate: Frames per second.
        quality: x264's constant rate factor, 0 (largest file) .. 51.
        keyframe_interval: Frames from one keyframe to the next at most; None leaves it to the encoder (250).
        num_b_frames: Most bidirectional frames in a row; None leaves it to the encoder (3).

    Returns:
        The path.

    Raises:
        MediaError: The images have the wrong form, or the ending is unknown.
        WriteError: The file cannot be written.
    """
    path = Path(path)
    open_media(images)
    if path.suffix.lower() not in _CONTAINERS:
        raise MediaError(f"{path}: no container is known by this ending; use one of {', '.join(_CONTAINERS)}")
    if rate <= 0:
        raise MediaError(f"{path}: a rate of {rate} frames a second cannot be written; give one above 0")
    if not path.parent.is_dir():
        raise MediaError(f"{path}: its folder does not exist; create {path.parent} first")
    options = {"crf": str(quality), "preset": "veryfast", **x264_parameters()}
    if keyframe_interval is not None:
        options["g"] = str(keyframe_interval)
    if num_b_frames is not None:
        options["bf"] = str(num_b_frames)
    try:
        with written_aside(path) as aside:
            _encode(aside, _CONTAINERS[path.suffix.lower()], images, Fraction(rate).limit_denominator(1001), options)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"{path}: these images could not be encoded ({error}); give ordinary RGB images") from error
    return path


def _encode(path: Path, container_format: str, images: np.ndarray, rate: Fraction, options: dict[str, str]) -> None:
    height, width = images.shape[1:3]
    target = f"file:{os.fspath(path)}"
    with av.open(target, "w", format=container_format, container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
        stream.codec_context.thread_count = 1
        for position, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = position, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
