"""Open-ended questions: accuracy over all rows, beside two honest floors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clover.errors import DataError
from clover.evaluation.predictions import predict_answers
from clover.evaluation.views import read_clip
from clover.pipeline import Clover
from clover.types import OpenEnded


@dataclass(frozen=True, kw_only=True)
class QuestionResult:
    """Figures in percent, over all questions; an answer outside the vocabulary counts as wrong."""

    num_questions: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy (bootstrap over questions, seeded)."""
    most_frequent_answer: float
    """Accuracy of always giving the most frequent training answer."""
    question_only: float
    """Accuracy of the same model with the video blanked."""
    by_type: dict[str, float]
    skipped: dict[str, str]
    """Videos that cannot be read and why; their questions were left out."""


def evaluate_questions(
    clover: Clover,
    questions: Sequence[OpenEnded],
    training_questions: Sequence[OpenEnded],
    *,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> QuestionResult:
    """Answer every question by the most probable answer, and compare.

    Args:
        clover: A model with an answer head.
        questions: What is asked.
        training_questions: Where the most frequent answer is taken from.
        strict: Stop at a video that cannot be read instead of leaving its questions out.
        progress: Called with (videos done, videos).

    Raises:
        DataError: nothing is left to evaluate.
        MediaError: with ``strict``, a video that cannot be read.
    """
    found = predict_answers(clover, questions, read_clip(clover), strict=strict, progress=progress).of_readable()
    rows, right = found.rows, found.is_right
    blind = predict_answers(clover, rows, read_clip(clover, "blank")).is_right
    if not training_questions:
        raise DataError("there are no training questions to take the most frequent answer from")
    frequent = Counter(row.answer for row in training_questions).most_common(1)[0][0]
    types = sorted({row.question_type or "" for row in rows})
    of_type = {name: np.array([(row.question_type or "") == name for row in rows]) for name in types}
    return QuestionResult(
        num_questions=len(rows),
        accuracy=100 * float(right.mean()),
        interval=mean_interval(right.astype(np.float64), [row.video for row in rows]),
        most_frequent_answer=100 * float(np.mean([row.answer == frequent for row in rows])),
        question_only=100 * float(blind.mean()),
        by_type={name: 100 * float(right[chosen].mean()) for name, chosen in of_type.items()},
        skipped=found.unreadable,
    )


def mean_interval(
    values: np.ndarray, groups: Sequence[object] | None = None, num_draws: int = 1000
) -> tuple[float, float]:
    """95 % bootstrap interval of a mean in percent.

    Args:
        values: One per row: 1 where the model was right, or the difference of two models.
        groups: What each row is about; rows about one video are redrawn together, because they are right or wrong
            together. None redraws single rows.
        num_draws: Number of redrawn samples.
    """
    generator = np.random.default_rng(0)
    _, place = np.unique([str(group) for group in groups or range(len(values))], return_inverse=True)
    sums, sizes = np.bincount(place, weights=values), np.bincount(place)
    counts = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=num_draws)
    low, high = np.percentile((counts @ sums) / (counts @ sizes), [2.5, 97.5])
    return 100 * float(low), 100 * float(high)
