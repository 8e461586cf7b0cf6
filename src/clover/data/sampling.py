"""Which frames of a video make a clip: the published sampling rule, as a pure function of counts."""

from __future__ import annotations

import numpy as np

from clover.errors import ConfigError, MediaError


def sample_indices(
    num_frames_total: int,
    num_samples: int,
    *,
    generator: np.random.Generator | None = None,
    clip_length: int = 1,
    frame_interval: int = 1,
) -> list[int]:
    """Chooses frames spread over a whole video, as the published runs did.

    The video is cut into ``num_samples`` equal segments. In test mode each segment gives its middle frame;
    in training mode one frame drawn at random. With ``clip_length`` above 1 each of these frames begins a
    burst of ``clip_length`` frames that lie ``frame_interval`` apart. Indices beyond the end wrap around to
    the beginning.

    Two habits of the published rule are kept on purpose, because the numbers depend on them: in training
    the remainder of ``num_frames_total / num_samples`` at the end of the video is never drawn, and a
    training video shorter than ``num_samples`` repeats frames by rounding ``k * total / num_samples``
    (halves to even), so that its last sample may wrap around to frame 0.

    Args:
        num_frames_total: Number of frames in the video, at least 1.
        num_samples: Number of segments, at least 1.
        generator: Source of randomness for training mode; None chooses test mode.
        clip_length: Frames in each burst.
        frame_interval: Distance between the frames of a burst, in frames.

    Returns:
        ``num_samples * clip_length`` frame indices, each in ``0 .. num_frames_total - 1``.

    Raises:
        MediaError: The video has no frames.
        ConfigError: One of the other counts is below 1.
    """
    if num_frames_total < 1:
        raise MediaError(f"a video of {num_frames_total} frames has nothing to sample; leave it out")
    for name, value in (
        ("num_samples", num_samples),
        ("clip_length", clip_length),
        ("frame_interval", frame_interval),
    ):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")
    burst = clip_length * frame_interval
    if generator is None:
        starts = _middles(num_frames_total, num_samples, burst)
    else:
        starts = _random_starts(num_frames_total, num_samples, burst, generator)
    offsets = np.arange(clip_length) * frame_interval
    return [int(index) for index in ((starts[:, None] + offsets[None, :]) % num_frames_total).reshape(-1)]


def _middles(total: int, num_samples: int, burst: int) -> np.ndarray:
    """Start of the burst in the middle of each segment; all zero when the video is shorter than one burst."""
    num_starts = total - burst + 1
    if num_starts <= 0:
        return np.zeros(num_samples, dtype=np.int64)
    segment = num_starts / num_samples
    return np.floor(np.arange(num_samples) * segment + segment / 2).astype(np.int64)


def _random_starts(total: int, num_samples: int, burst: int, generator: np.random.Generator) -> np.ndarray:
    """Start of one random burst in each segment."""
    num_starts = total - burst + 1
    segment = num_starts // num_samples
    if segment > 0:
        return np.arange(num_samples) * segment + generator.integers(segment, size=num_samples)
    if total > max(num_samples, burst):  # bursts must overlap; unreachable with bursts of one frame
        return np.sort(generator.integers(num_starts, size=num_samples))
    if segment == 0:
        return np.around(np.arange(num_samples) * (num_starts / num_samples)).astype(np.int64)
    return np.zeros(num_samples, dtype=np.int64)
