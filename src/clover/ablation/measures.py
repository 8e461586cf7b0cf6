"""What is measured of one model, query by query, and the files that keep it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from clover.data.frame_cache import FrameCache
from clover.data.shapes.corpus import read_choices, read_pairs, read_paragraphs, read_questions
from clover.errors import DataError
from clover.evaluation.metrics import RetrievalMetrics
from clover.evaluation.open_answer import share_interval
from clover.evaluation.predictions import Predictions, predict_answers, predict_choices
from clover.evaluation.probing import Probing, evaluate_probes
from clover.evaluation.retrieval import RetrievalResult, evaluate_retrieval
from clover.evaluation.views import ReadClip
from clover.experiment.pieces import cache_folder
from clover.files import write_text, written_aside
from clover.pipeline import Clover
from clover.types import MultiChoice, OpenEnded, Pair

LONGEST_PARAGRAPH = 64
"""Word pieces of a paragraph; captions are cut at the length of pre-training."""


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """A split, read once for all evaluations of a run; its videos are decoded once for all runs."""

    captions: list[Pair]
    paragraphs: list[Pair]
    questions: list[OpenEnded]
    choices: list[MultiChoice]
    probes: list[Any]
    read: ReadClip

    @classmethod
    def open(cls, corpus: Path, split: str, clover: Clover, run: Path) -> EvaluationData:
        """Read a split, and open or make its cache of frames.

        Args:
            corpus: The experiment's corpus.
            split: Which.
            clover: Says how many frames of which size it takes.
            run: Gets the cache where the corpus is read-only.

        Raises:
            DataError: a file is missing or malformed.
            MediaError: a video cannot be read.
        """
        inputs = clover.config.inputs
        paragraphs = read_paragraphs(corpus, split)
        frames = FrameCache.build(
            cache_folder(corpus, run) / "frames",
            [pair.video for pair in paragraphs],
            num_kept=inputs.num_frames,
            size=inputs.frames.size,
            strict=True,
        )
        return cls(
            captions=read_pairs(corpus, split),
            paragraphs=paragraphs,
            questions=read_questions(corpus, split),
            choices=sentence_choices(corpus, split),
            probes=[],
            read=lambda video: frames.clip(video, inputs.num_frames, None),
        )


def sentence_choices(corpus: Path, split: str) -> list[MultiChoice]:
    """The choices between sentences; those that are asked a question go with other benchmarks."""
    return [row for row in read_choices(corpus, split) if not row.question]
