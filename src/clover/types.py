"""The records that pass between stages, and the one legend of dimensions.

Dimensions, in every annotation of the package:

    ``b`` batch    ``t`` frames or temporal cells    ``h w`` pixels or grid cells    ``c`` colour channels
    ``v`` video tokens    ``l`` text tokens    ``d`` width    ``n`` attention heads    ``k`` choices

This module must not import torch at run time: importing the package stays cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float64, UInt8

if TYPE_CHECKING:
    from pathlib import Path

Parallel = Literal["ddp", "fsdp"]
"""How several processes hold a network: all weights on each, or a share of them."""

IGNORED = -100
"""Target of a position that takes no part in a loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """What a container says about its first video stream, checked where containers are known to lie.

    Attributes:
        name: The file's path, or a description of the bytes or array it came from.
        width: Displayed width in pixels, rotation applied.
        height: Displayed height in pixels, rotation applied.
        duration_seconds: Length of the video stream; one frame's duration for a still image.
        num_frames: Exact number of frames, or None when only decoding would tell.
        rate: Average frames per second, or None when the container does not say.
        rotation_degrees: Clockwise turn that the player must apply: 0, 90, 180 or 270.
        has_audio: Whether there is an audio stream.
        is_image: Whether this is a still image.
    """

    name: str
    width: int
    height: int
    duration_seconds: float
    num_frames: int | None
    rate: float | None
    rotation_degrees: int
    has_audio: bool
    is_image: bool


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Decoded frames of one video, in the order they were asked for.

    Attributes:
        images: RGB, 0..255.
        seconds: Presentation time of each frame, counted from the video's first frame.
        problem: What was wrong with the stream and what was used instead, or None when all was well.
    """

    images: UInt8[np.ndarray, "t h w 3"]
    seconds: Float64[np.ndarray, " t"]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One video (or image) and one text that describes it.

    Attributes:
        video: Path of the media file.
        text: The caption or paragraph, stripped.
        index: Row number in the annotation file, assigned before any filtering.
        video_id: Name of the video within its data set.
        text_id: Name of the text within its data set.
    """

    video: Path
    text: str
    index: int
    video_id: str
    text_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenEnded:
    """One question about a video and its one right answer.

    Attributes:
        video: Path of the media file.
        question: The question, stripped.
        answer: The answer, stripped and lower-case.
        index: Row number in the annotation file, assigned before any filtering.
        question_type: What kind of question it is, as the data set names it.
        label: The answer's place in the vocabulary, -1 when it is not in it.
    """

    video: Path
    question: str
    answer: str
    index: int
    question_type: str | None = None
    label: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cloze:
    """A sentence about a video with exactly one ``[MASK]``, and the word that fills it.

    Attributes:
        video: Path of the media file.
        question: The sentence with its blank written as ``[MASK]``.
        answer: The missing word, stripped and lower-case.
        index: Row number in the annotation file, assigned before any filtering.
        label: The answer's place in the vocabulary, -1 when it is not in it.
    """

    video: Path
    question: str
    answer: str
    index: int
    label: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiChoice:
    """A question about a video, several options, and which one is right.

    Attributes:
        video: Path of the media file.
        question: The question, stripped; may be empty (choose the sentence that fits).
        options: The candidates, in the order they are shown.
        label: Place of the right option, from 0.
        index: Row number in the annotation file, assigned before any filtering.
    """

    video: Path
    question: str
    options: tuple[str, ...]
    label: int
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A video, a caption of it, and the same caption with one thing changed, so that it is not true.

    Attributes:
        video: Path of the media file.
        video_id: Name of the video within its data set.
        text: The true caption.
        changed: The false one.
        word_class: What was changed: color, shape, verb, direction, order, number or relation.
        index: Row number in the annotation file.
    """

    video: Path
    video_id: str
    text: str
    changed: str
    word_class: str
    index: int


@dataclass(frozen=True, kw_only=True)
class Resized:
    """A table of positions that was resized."""

    part: str
    """Of the network."""
    told: str
    """Which, from what to what."""
