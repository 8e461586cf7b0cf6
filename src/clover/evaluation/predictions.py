"""What a model says to every row of a benchmark's test file, by fusion or by the two uni-modal encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from clover.data.text import choice_texts
from clover.errors import DataError, MediaError
from clover.evaluation.views import ReadClip
from clover.pipeline import Clover
from clover.types import Cloze, MultiChoice, OpenEnded

ItemT = TypeVar("ItemT")
Record = TypeVar("Record", MultiChoice, OpenEnded, Cloze)
Said = TypeVar("Said", int, str)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Predictions(Generic[Record, Said]):
    """Rows with what the model said."""

    rows: list[Record]
    said: list[Said | None]
    """In step with the rows: the answer, or the place of the chosen option; None where the video cannot be read."""
    unreadable: dict[str, str]
    """Videos that cannot be read, and why."""

    @property
    def is_right(self) -> np.ndarray:
        """For every row whether the model was right; what was not said is wrong."""
        right = [row.label if isinstance(row, MultiChoice) else row.answer for row in self.rows]
        return np.array([said == truth for said, truth in zip(self.said, right, strict=True)], dtype=bool)

    def of_readable(self) -> Predictions[Record, Said]:
        """Without the rows whose video cannot be read."""
        kept = [place for place, said in enumerate(self.said) if said is not None]
        if not kept:
            reason = next(iter(self.unreadable.values()), "")
            raise DataError(f"none of the {len(self.unreadable)} videos can be read; the first: {reason}")
        return Predictions(
            rows=[self.rows[place] for place in kept],
            said=[self.said[place] for place in kept],
            unreadable=self.unreadable,
        )


def batched(items: Sequence[ItemT], size: int) -> Iterator[list[ItemT]]:
    """Consecutive stretches of a sequence."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def predict_answers(
    clover: Clover,
    rows: Sequence[OpenEnded] | Sequence[Cloze],
    read: ReadClip,
    *,
    strict: bool = False,
    progress: Progress | None = None,
) -> Predictions[Any, str]:
    """The most probable answer to every question.

    Raises:
        MediaError: with ``strict``, a video that cannot be read.
    """
    return _by_video(rows, read, lambda clip, asked: _answers(clover, clip, asked), strict=strict, progress=progress)


def predict_choices(
    clover: Clover,
    rows: Sequence[MultiChoice],
    read: ReadClip,
    *,
    by_retrieval: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
) -> Predictions[MultiChoice, int]:
    """The option of the highest score, the first of several: by fusion, or by cosine similarity to the video.

    Raises:
        MediaError: with ``strict``, a video that cannot be read.
    """
    choose = _nearest_options if by_retrieval else _fused_options
    return _by_video(rows, read, lambda clip, asked: choose(clover, clip, asked), strict=strict, progress=progress)


def _by_video(
    rows: Sequence[Record],
    read: ReadClip,
    say: Callable[[np.ndarray, list[Record]], list[Said]],
    *,
    strict: bool,
    progress: Progress | None,
) -> Predictions[Record, Said]:
    """Each video is read once for all that is asked of it."""
    places: dict[Path, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.video, []).append(place)
    said: list[Said | None] = [None] * len(rows)
    unreadable: dict[str, str] = {}
    for done, (video, asked) in enumerate(places.items(), start=1):
        try:
            answers = say(read(video), [rows[place] for place in asked])
        except MediaError as error:
            if strict:
                raise
            unreadable[str(video)] = str(error)
        else:
            for place, answer in zip(asked, answers, strict=True):
                said[place] = answer
        if progress is not None:
            progress(done, len(places))
    return Predictions(rows=list(rows), said=said, unreadable=unreadable)


def _answers(clover: Clover, clip: np.ndarray, asked: Sequence[OpenEnded] | Sequence[Cloze]) -> list[str]:
    tokens = clover.video_tokens([clip])
    found: list[str] = []
    for batch in batched([row.question for row in asked], 32):
        probabilities = clover.answer_probabilities(tokens.expand(len(batch), *tokens.shape[1:]), batch)
        found += [clover.config.answers[place] for place in probabilities.argmax(dim=-1).tolist()]
    return found


def _fused_options(clover: Clover, clip: np.ndarray, asked: Sequence[MultiChoice]) -> list[int]:
    tokens = clover.video_tokens([clip])
    found: list[int] = []
    for batch in batched(asked, 8):
        lists_options = clover.config.inputs.lists_options
        texts = [choice_texts(row.question, row.options, lists_options=lists_options) for row in batch]
        scores = clover.choice_scores(tokens.expand(len(batch), *tokens.shape[1:]), texts)
        found += scores.argmax(dim=-1).tolist()
    return found


def _nearest_options(clover: Clover, clip: np.ndarray, asked: Sequence[MultiChoice]) -> list[int]:
    video = clover.embed_clips([clip])[0]
    return [int((clover.encode_text(row.options) @ video).argmax()) for row in asked]
