"""The figures of one benchmark with its videos shown in one way, and what the model said to every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clover.data.annotations.problems import Problem
from clover.evaluation.benchmark_data import BenchmarkData, Split
from clover.evaluation.open_answer import share_interval
from clover.evaluation.predictions import Predictions, predict_answers, predict_choices
from clover.evaluation.retrieval import evaluate_retrieval
from clover.evaluation.views import ReadClip
from clover.pipeline import Clover

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of one way of showing the videos."""

    figures: dict[str, float]
    """By name; percent, ranks from 1."""
    interval: tuple[float, float]
    """95 % interval of the benchmark's metric, by bootstrap; of answers that are all right or all wrong, Wilson's."""
    chance: float
    num_queries: int
    num_gallery: int
    """Videos ranked, or options or answers chosen from."""
    unreadable: dict[str, str]
    hits: np.ndarray
    """For every query whether the first answer was right."""
    groups: list[str]
    """The video that each query is about."""
    predictions: list[dict[str, Any]]
    """What was said to every row, for a file."""


def measure(
    clover: Clover,
    data: BenchmarkData,
    split: Split,
    read: ReadClip,
    *,
    by_fusion: bool = False,
    frequent: str | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Show the videos in one way, and measure.

    Args:
        clover: The model.
        data: The benchmark's files.
        split: What is evaluated.
        read: How a video is shown.
        by_fusion: Choose by the fusion encoder also where the published protocol chooses by retrieval.
        frequent: The answer that chance gives; None for benchmarks without open answers.
        progress: Called with (videos done, videos).

    Raises:
        DataError: nothing is left to evaluate.
        MediaError: a video cannot be read and the policy is "error".
    """
    if data.benchmark.family == "retrieval":
        return _measure_retrieval(clover, data, split, read, progress)
    is_strict = data.missing == "error"
    if data.benchmark.family == "choice":
        by_retrieval = data.benchmark.chooses_by_retrieval and not by_fusion
        found: Predictions[Any, Any] = predict_choices(
            clover, split.records, read, by_retrieval=by_retrieval, strict=is_strict, progress=progress
        )
    else:
        found = predict_answers(clover, split.records, read, strict=is_strict, progress=progress)
    if data.missing == "drop":
        found = found.of_readable()
    num_lost = len(split.unusable)
    # nobody knows what video a row that cannot be read is about
    groups = [str(record.video) for record in found.rows] + [f"lost {place}" for place in range(num_lost)]
    right = np.concatenate([found.is_right, np.zeros(num_lost, dtype=bool)])
    figures = {"accuracy": 100 * float(right.mean())}
    if frequent is None:
        chance, num_options = 100 / len(found.rows[0].options), len(found.rows[0].options)
    else:
        vocabulary = set(clover.config.answers)
        known = np.array([record.answer in vocabulary for record in found.rows])
        figures["accuracy_in_vocabulary"] = 100 * float(found.is_right[known].mean()) if known.any() else 0.0
        figures["outside_vocabulary"] = 100 * float((~known).sum() / len(right))
        chance = 100 * sum(record.answer == frequent for record in found.rows) / len(right)
        figures |= _by_type(found)
        num_options = len(clover.config.answers)
    return Measured(
        figures=figures,
        interval=share_interval(right, groups),
        chance=chance,
        num_queries=len(right),
        num_gallery=num_options,
        unreadable=found.unreadable,
        hits=right,
        groups=groups,
        predictions=[
            *(_said(record, said) for record, said in zip(found.rows, found.said, strict=True)),
            *(_not_said(problem) for problem in split.unusable),
        ],
    )


def _by_type(found: Predictions[Any, Any]) -> dict[str, float]:
    """Accuracy of every kind of question that the publisher tells apart."""
    types = [getattr(record, "question_type", None) for record in found.rows]
    right = found.is_right
    names = sorted({name for name in types if name})
    return {f"accuracy_{name}": 100 * float(right[[other == name for other in types]].mean()) for name in names}


def _said(record: Any, said: Any) -> dict[str, Any]:
    row = {"index": record.index, "video": _place(record.video), "question": record.question}
    if hasattr(record, "options"):
        return row | {"options": list(record.options), "said": said, "right": record.label}
    return row | {"said": said, "right": record.answer}


def _not_said(problem: Problem) -> dict[str, Any]:
    """A row that could not be read: what would be right is not known, and is never what was said."""
    return {"index": None, "video": "", "question": "", "said": None, "right": "", "problem": str(problem)}


def _place(video: Path) -> str:
    """Where a video is, from whatever folder the predictions are read; where it is missing, its published name."""
    return str(video.absolute() if video.exists() else video)


def _measure_retrieval(
    clover: Clover, data: BenchmarkData, split: Split, read: ReadClip, progress: Progress | None
) -> Measured:
    found = evaluate_retrieval(clover, split.records, read=read, strict=data.missing == "error", progress=progress)
    metrics = found.text_to_video
    names = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank", "mean_rank")
    figures = {name: getattr(metrics, name) for name in names}
    figures |= {f"video_to_text_{name}": getattr(found.video_to_text, name) for name in names}
    figures |= {f"dual_softmax_{name}": getattr(found.dual_softmax, name) for name in names}
    best = np.argsort(-found.scores, axis=1, kind="stable")[:, :5]
    predictions = [
        {
            "index": pair.index,
            "video": _place(pair.video),
            "text": pair.text,
            "found": [_place(found.videos[place]) for place in places],
            "scores": [round(float(scores[place]), 4) for place in places],
        }
        for pair, places, scores in zip(found.pairs, best, found.scores, strict=True)
    ]
    return Measured(
        figures=figures,
        interval=metrics.intervals["recall_at_1"],
        chance=metrics.chance_recall_at_1,
        num_queries=metrics.num_queries,
        num_gallery=metrics.num_gallery,
        unreadable=found.skipped,
        hits=found.text_ranks == 1,
        groups=[str(pair.video) for pair in found.pairs],
        predictions=predictions,
    )
