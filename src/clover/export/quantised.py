"""Weights in 8 bits: smaller files, and what that costs in retrieval, measured on the same queries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from clover.errors import DataError, MediaError
from clover.evaluation.metrics import ranks, similarities
from clover.evaluation.predictions import batched
from clover.evaluation.statistics import paired_difference
from clover.export.checking import Run
from clover.pipeline import Clover
from clover.types import Pair

SUFFIX = ".int8"
"""In the names of the files, in front of ``.onnx``."""

_DEPTHS = (1, 5, 10)
_BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class RecallChange:
    """Recall of text-to-video retrieval before and after, in per cent."""

    depth: int
    """Among how many first results."""
    before: float
    after: float
    interval: tuple[float, float]
    """95 % interval of after less before, paired by query and redrawn by video."""


@dataclass(frozen=True, kw_only=True)
class QuantisationCost:
    """What became of the files and of what they compute."""

    bytes_before: int
    bytes_after: int
    video_cosine: float
    """Lowest cosine similarity of an embedding before and after."""
    text_cosine: float
    num_clips: int
    recalls: tuple[RecallChange, ...]
    """Empty where there was no corpus."""
    measured_on: str
    """Which videos and texts."""

    @property
    def lines(self) -> list[str]:
        """For people."""
        mebibyte = 2**20
        found = [
            f"int8: {self.bytes_before / mebibyte:.1f} MiB become {self.bytes_after / mebibyte:.1f} MiB",
            f"lowest cosine of an embedding with its 8-bit one: video {self.video_cosine:.4f}, "
            f"text {self.text_cosine:.4f} ({self.measured_on})",
        ]
        for one in self.recalls:
            low, high = one.interval
            found.append(
                f"R@{one.depth}: {one.before:.1f} % before, {one.after:.1f} % after "
                f"({one.after - one.before:+.1f}; 95 % interval {low:+.1f} to {high:+.1f}, paired by query)"
            )
        return found if self.recalls else [*found, "its cost in retrieval was not measured; --corpus does so"]

    @property
    def plain(self) -> dict[str, Any]:
        """For files."""
        return {
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "measured_on": self.measured_on,
            "lowest_video_cosine": round(self.video_cosine, 6),
            "lowest_text_cosine": round(self.text_cosine, 6),
            "text_to_video": {
                f"recall_at_{one.depth}": {
                    "before": round(one.before, 4),
                    "after": round(one.after, 4),
                    "interval_of_difference": [round(end, 4) for end in one.interval],
                }
                for one in self.recalls
            }
            or "not measured",
        }


def quantise(source: Path, target: Path, *, is_signed: bool = False) -> None:
    """Write an ONNX file with the matrices' weights and the embeddings in 8 bits; activations follow at run time.

    Args:
        source: The file to read.
        target: The file to write.
        is_signed: Weights from -128 to 127, which overflow on processors without VNNI (`benchmarks/quantised_export.py`
            measures by how much), in place of 0 to 255.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises everybody to preprocess, through the root logger
    try:
        quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8 if is_signed else QuantType.QUInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        root.setLevel(level)


def measure(
    clover: Clover,
    before: Run,
    after: Run,
    *,
    sizes: tuple[int, int],
    clips: Sequence[np.ndarray],
    texts: Sequence[str],
) -> QuantisationCost:
    """What became of the embeddings of clips and texts that nobody has paired."""
    seen = [_embed_clips(run, clips) for run in (before, after)]
    read = [_embed_texts(clover, run, texts) for run in (before, after)]
    return QuantisationCost(
        bytes_before=sizes[0],
        bytes_after=sizes[1],
        video_cosine=_lowest_cosine(*seen),
        text_cosine=_lowest_cosine(*read),
        num_clips=len(clips),
        recalls=(),
        measured_on=f"{len(clips)} made clips, {len(texts)} made texts",
    )


def measure_retrieval(
    clover: Clover,
    before: Run,
    after: Run,
    pairs: Sequence[Pair],
    *,
    sizes: tuple[int, int],
    progress: Callable[[int, int], None] | None = None,
) -> QuantisationCost:
    """Text-to-video retrieval of two exported models on the same pairs; videos that cannot be read are left out.

    Args:
        clover: Reads the videos and the words.
        before: The model as it was.
        after: The model in 8 bits.
        pairs: Texts with their right video.
        sizes: Bytes of both.
        progress: Called with (videos done, videos).

    Raises:
        DataError: no video can be read.
    """
    videos = list(dict.fromkeys(pair.video for pair in pairs))
    found: list[list[np.ndarray]] = [[], []]
    place: dict[Path, int] = {}
    problem = ""
    for done, batch in enumerate(batched(videos, _BATCH_SIZE)):
        clips = []
        for video in batch:
            try:
                clips.append(clover.clip(video))
            except MediaError as error:
                problem = problem or str(error)
                continue
            place[video] = len(place)
        for rows, run in zip(found, (before, after), strict=True):
            if clips:
                rows.append(_embed_clips(run, clips))
        if progress is not None:
            progress(min(len(videos), (done + 1) * _BATCH_SIZE), len(videos))
    kept = [pair for pair in pairs if pair.video in place]
    if not kept:
        raise DataError(f"none of the {len(videos)} videos can be read; the first: {problem}")
    seen = [np.concatenate(rows) for rows in found]
    read = [_embed_texts(clover, run, [pair.text for pair in kept]) for run in (before, after)]
    right = np.array([place[pair.video] for pair in kept])
    found_ranks = [ranks(similarities(texts, clips), right) for texts, clips in zip(read, seen, strict=True)]
    recalls = []
    for depth in _DEPTHS:
        hits = [(one <= depth).astype(np.float64)[None] * 100 for one in found_ranks]
        difference = paired_difference(hits[1], hits[0], right)
        recalls.append(
            RecallChange(
                depth=depth,
                before=float(hits[0].mean()),
                after=float(hits[1].mean()),
                interval=difference.query_interval,
            )
        )
    return QuantisationCost(
        bytes_before=sizes[0],
        bytes_after=sizes[1],
        video_cosine=_lowest_cosine(*seen),
        text_cosine=_lowest_cosine(*read),
        num_clips=len(place),
        recalls=tuple(recalls),
        measured_on=f"{len(kept):,} texts x {len(place):,} videos",
    )


def _embed_clips(run: Run, clips: Sequence[np.ndarray]) -> Float[np.ndarray, "clips d"]:
    found = [run("video", {"clip": np.stack(batch)})[1] for batch in batched(clips, _BATCH_SIZE)]
    return np.concatenate(found)


def _embed_texts(clover: Clover, run: Run, texts: Sequence[str]) -> Float[np.ndarray, "texts d"]:
    found = []
    for batch in batched(texts, 64):
        token_ids, is_token = (tensor.cpu().numpy() for tensor in clover.encode_words(batch))
        found.append(run("text", {"token_ids": token_ids, "is_token": is_token})[1])
    return np.concatenate(found)


def _lowest_cosine(first: Float[np.ndarray, "rows d"], second: Float[np.ndarray, "rows d"]) -> float:
    return float((first * second).sum(axis=1).min())
