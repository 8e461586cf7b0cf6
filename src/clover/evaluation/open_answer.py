"""Open-ended questions: accuracy over all rows, beside two honest floors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from clover.data.shapes.questions import ORDER_TYPES
from clover.errors import DataError
from clover.evaluation.metrics import wilson_end
from clover.evaluation.predictions import predict_answers
from clover.evaluation.views import ClipView, read_clip
from clover.pipeline import Clover
from clover.types import OpenEnded

ORDER = "questions about order"
"""All of `ORDER_TYPES` together: of each alone there are few."""

_VIEWS: tuple[ClipView, ...] = ("shuffled_frames", "single_frame")


@dataclass(frozen=True, kw_only=True)
class KindFigures:
    """What the answers to questions of some kind rest on; percent."""

    num_questions: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy (`share_interval` over videos)."""
    most_frequent_answer: float
    """Accuracy of always giving the most frequent training answer to questions of the same type."""
    shuffled_frames: float
    """Accuracy with the frames of every video in a random order."""
    shuffled_loss: tuple[float, float]
    """95 % interval of what shuffling costs, video by video; above 0, the order of the frames matters."""
    single_frame: float
    """Accuracy with the middle frame alone."""


@dataclass(frozen=True, kw_only=True)
class QuestionResult:
    """Figures in percent, over all questions; an answer outside the vocabulary counts as wrong."""

    num_questions: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy (`share_interval` over videos)."""
    most_frequent_answer: float
    """Accuracy of always giving the most frequent training answer."""
    question_only: float
    """Accuracy of the same model with the video blanked."""
    by_type: dict[str, float]
    baselines: dict[str, KindFigures]
    """By type, and for `ORDER`; empty unless they were asked for."""
    skipped: dict[str, str]
    """Videos that cannot be read and why; their questions were left out."""


def evaluate_questions(
    clover: Clover,
    questions: Sequence[OpenEnded],
    training_questions: Sequence[OpenEnded],
    *,
    strict: bool = False,
    with_baselines: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> QuestionResult:
    """Answer every question by the most probable answer, and compare.

    Args:
        clover: A model with an answer head.
        questions: What is asked.
        training_questions: Where the most frequent answer is taken from.
        with_baselines: Also measure with shuffled frames and with a single one, by type.
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
        interval=share_interval(right, [row.video for row in rows]),
        most_frequent_answer=100 * float(np.mean([row.answer == frequent for row in rows])),
        question_only=100 * float(blind.mean()),
        by_type={name: 100 * float(right[chosen].mean()) for name, chosen in of_type.items()},
        baselines=_baselines(clover, rows, right, training_questions, progress) if with_baselines else {},
        skipped=found.unreadable,
    )


def most_frequent_answers(questions: Iterable[OpenEnded]) -> dict[str, str]:
    """What is answered most often, by type of question; a type that a row does not name is empty."""
    answers: dict[str, Counter[str]] = {}
    for question in questions:
        answers.setdefault(question.question_type or "", Counter())[question.answer] += 1
    return {name: counter.most_common(1)[0][0] for name, counter in answers.items()}


def _baselines(
    clover: Clover,
    rows: Sequence[OpenEnded],
    right: np.ndarray,
    training_questions: Sequence[OpenEnded],
    progress: Callable[[int, int], None] | None,
) -> dict[str, KindFigures]:
    """Figures of every type of question, and of those about order together."""
    views = {
        view: predict_answers(clover, rows, read_clip(clover, view), progress=progress).is_right for view in _VIEWS
    }
    frequent = most_frequent_answers(training_questions)
    guessed = np.array([row.answer == frequent.get(row.question_type or "") for row in rows])

    def figures(chosen: np.ndarray) -> KindFigures:
        videos = [row.video for row, is_chosen in zip(rows, chosen, strict=True) if is_chosen]
        seen, shuffled = right[chosen].astype(np.float64), views["shuffled_frames"][chosen]
        return KindFigures(
            num_questions=len(videos),
            accuracy=100 * float(seen.mean()),
            interval=share_interval(right[chosen], videos),
            most_frequent_answer=100 * float(guessed[chosen].mean()),
            shuffled_frames=100 * float(shuffled.mean()),
            shuffled_loss=mean_interval(seen - shuffled, videos),
            single_frame=100 * float(views["single_frame"][chosen].mean()),
        )

    types = np.array([row.question_type or "" for row in rows])
    kinds = {str(name): types == name for name in np.unique(types)}
    if np.isin(types, ORDER_TYPES).any():
        kinds[ORDER] = np.isin(types, ORDER_TYPES)
    return {name: figures(chosen) for name, chosen in kinds.items()}


def share_interval(right: np.ndarray, groups: Sequence[object]) -> tuple[float, float]:
    """95 % interval of the share of rows that are right, in percent: of ``mean_interval``, by bootstrap over groups.

    Where none or all are right, redrawing shows no spread: there it is Wilson's interval, each group a single draw.

    Args:
        right: For every row whether the model was right.
        groups: The video that each row is about.
    """
    if right.all() or not right.any():
        return wilson_end(bool(right.all()), len({str(group) for group in groups}))
    return mean_interval(right.astype(np.float64), groups)


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
