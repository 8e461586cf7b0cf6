"""Makes real media files in which every frame shows its own number as a pattern of light and dark cells."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CELL = 16
WIDTH, HEIGHT = 8 * CELL, 3 * CELL
MILLISECOND = Fraction(1, 1000)


def numbered_frame(number: int) -> np.ndarray:
    """[48, 128, 3]: two rows of eight cells, light for a 1, and a row that is red on its left half."""
    bits = np.array([(number >> place) & 1 for place in range(16)], dtype=np.uint8).reshape(2, 8)
    cells = np.kron(30 + 190 * bits, np.ones((CELL, CELL), dtype=np.uint8))
    frame = np.repeat(np.concatenate([cells, np.full((CELL, WIDTH), 128, np.uint8)])[..., None], 3, axis=2)
    frame[2 * CELL :, : WIDTH // 2] = (200, 20, 20)
    return frame


def numbered_frames(num_frames: int) -> np.ndarray:
    return np.stack([numbered_frame(number) for number in range(num_frames)])


def read_numbers(images: np.ndarray) -> list[int]:
    """The numbers that decoded frames show, at any size."""
    height, width = images.shape[1:3]
    rows = ((np.arange(2) + 0.5) * height / 3).astype(int)
    columns = ((np.arange(8) + 0.5) * width / 8).astype(int)
    bits = images[:, rows][:, :, columns].mean(-1).reshape(len(images), 16) > 125
    return [int(np.sum(row * (1 << np.arange(16)))) for row in bits]


def make_video(
    path: Path,
    num_frames: int = 60,
    *,
    codec: str = "libx264",
    rate: int = 30,
    gop: int = 12,
    num_b_frames: int = 2,
    milliseconds: Sequence[int] | None = None,
    ticks_per_frame: int = 1,
    has_sound: bool = False,
    muxer: dict[str, str] | None = None,
    frames: np.ndarray | None = None,
) -> Path:
    """Encodes numbered frames, evenly spaced or at the given times."""
    pixel_format = "rgb8" if codec == "gif" else "rgba" if codec == "apng" else "yuv420p"
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate * ticks_per_frame)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"g": str(gop), "bf": str(num_b_frames), "crf": "10", "sc_threshold": "0"}
        if milliseconds is not None:
            stream.codec_context.time_base = MILLISECOND
        sound = container.add_stream("aac", rate=8000, layout="mono") if has_sound else None
        for number in range(num_frames):
            picture = numbered_frame(number) if frames is None else frames[number]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[number], MILLISECOND
            else:
                frame.pts, frame.time_base = number * ticks_per_frame, Fraction(1, rate * ticks_per_frame)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_silence(container, sound, num_frames / rate)
    return path


def make_sound(path: Path, seconds: float = 1.0) -> Path:
    with av.open(str(path), "w") as container:
        _add_silence(container, container.add_stream("aac", rate=8000, layout="mono"), seconds)
    return path


def _add_silence(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    silence = np.zeros((1, int(8000 * seconds)), dtype=np.float32)
    frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
    frame.rate, frame.pts = 8000, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def copy_stream(
    source: Path,
    path: Path,
    *,
    rotation: int | None = None,
    start_seconds: float = 0.0,
    shift_seconds: float = 0.0,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Copies packets undecoded: from the keyframe before a time, moved in time, or with a rotation."""
    with av.open(str(source)) as original, av.open(str(path), "w", options=muxer or {}) as container:
        stream = original.streams.video[0]
        copy = container.add_stream_from_template(stream)
        if rotation is not None:
            copy.set_display_rotation(rotation)
        if start_seconds:
            original.seek(int(start_seconds / stream.time_base), stream=stream, backward=True)
        shift = int(shift_seconds / stream.time_base)
        for packet in original.demux(stream):
            if packet.size == 0:
                continue
            packet.pts += shift
            packet.dts += shift
            packet.stream = copy
            container.mux(packet)
    return path


def cut_short(source: Path, path: Path, fraction: float) -> Path:
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    return path


def decode_in_order(path: Path) -> np.ndarray:
    """Every frame of a file in decoding order: what all clever reading must agree with."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
