"""Open-ended questions: accuracy over all rows, beside two honest floors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clover.errors import DataError, MediaError
from clover.evaluation.retrieval import batched
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
    by_video: dict[Path, list[OpenEnded]] = {}
    for question in questions:
        by_video.setdefault(question.video, []).append(question)
    rows: list[OpenEnded] = []
    given: list[str] = []
    skipped: dict[str, str] = {}
    for done, (video, asked) in enumerate(by_video.items(), start=1):
        try:
            clip = clover.clip(video)
        except MediaError as error:
            if strict:
                raise
            skipped[str(video)] = str(error)
            continue
        rows += asked
        given += best_answers(clover, clip, [row.question for row in asked])
        if progress is not None:
            progress(done, len(by_video))
    if not rows:
        raise DataError(
            f"none of the {len(by_video)} videos can be read; the first: {next(iter(skipped.values()), '')}"
        )
    right = _is_right(rows, given)
    blind = _is_right(rows, answers_without_video(clover, [row.question for row in rows]))
    frequent = Counter(row.answer for row in training_questions).most_common(1)[0][0]
    types = sorted({row.question_type or "" for row in rows})
    of_type = {name: np.array([(row.question_type or "") == name for row in rows]) for name in types}
    return QuestionResult(
        num_questions=len(rows),
        accuracy=100 * float(right.mean()),
        interval=_interval(right),
        most_frequent_answer=100 * float(np.mean([row.answer == frequent for row in rows])),
        question_only=100 * float(blind.mean()),
        by_type={name: 100 * float(right[chosen].mean()) for name, chosen in of_type.items()},
        skipped=skipped,
    )


def best_answers(clover: Clover, clip: np.ndarray, questions: Sequence[str]) -> list[str]:
    """The most probable answer to each question about one clip; the video is encoded once."""
    tokens = clover.video_tokens([clip])
    found: list[str] = []
    for batch in batched(questions, 32):
        probabilities = clover.answer_probabilities(tokens.expand(len(batch), *tokens.shape[1:]), batch)
        found += [clover.config.answers[place] for place in probabilities.argmax(dim=-1).tolist()]
    return found


def answers_without_video(clover: Clover, questions: Sequence[str]) -> list[str]:
    """The most probable answers when the video is one even grey (the pixels' mean)."""
    size, num_frames = clover.config.inputs.frames.size, clover.config.inputs.num_frames
    mean = torch.tensor(clover.config.model.pixels.mean).round().to(torch.uint8).numpy()
    return best_answers(clover, np.broadcast_to(mean, (num_frames, size, size, 3)).copy(), questions)


def _is_right(rows: Sequence[OpenEnded], given: Sequence[str]) -> np.ndarray:
    return np.array([row.answer == answer for row, answer in zip(rows, given, strict=True)], dtype=np.float64)


def _interval(right: np.ndarray, num_draws: int = 1000) -> tuple[float, float]:
    """Bootstrap interval of a mean of 0s and 1s: redrawing them is a binomial draw."""
    draws = np.random.default_rng(0).binomial(len(right), right.mean(), size=num_draws) / len(right)
    low, high = np.percentile(draws, [2.5, 97.5])
    return 100 * float(low), 100 * float(high)
