"""TGIF-QA: repeated action, state transition and questions about a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from clover.data.annotations.checks import check_options_are_shuffled
from clover.data.annotations.folders import check_split, read_first
from clover.data.annotations.problems import Problems, quoted
from clover.data.annotations.rows import BadRowError, Row, collect
from clover.data.annotations.tables import json_rows, read_json, read_json_lines, read_table
from clover.types import MultiChoice, OpenEnded

_OPTIONS = ("a1", "a2", "a3", "a4", "a5")
_VIOLET_OPTIONS = ("option_0", "option_1", "option_2", "option_3", "option_4")
_SPLITS = ("train", "val", "test")

FRAME_QUESTION_TYPES = ("object", "number", "color", "location")
"""What the types 0 to 3 of frame questions ask for."""


def read_tgif_action(folder: Path, split: str, problems: Problems) -> list[MultiChoice]:
    """Read what is done a given number of times; see ``read_tgif_transition`` for the arguments.

    The files are ``Train_action_question.csv`` and ``Test_action_question.csv``, or ClipBERT's
    ``action_<split>.jsonl``, or VIOLET's ``txt_tgif-action.json``.

    Raises:
        DataError: There is no such split, the file is missing or unreadable, or a test's first option is always right.
    """
    return _choices(folder, "action", split, problems)


def read_tgif_transition(folder: Path, split: str, problems: Problems) -> list[MultiChoice]:
    """Read what is done before or after something else.

    The publisher has no validation split, only ClipBERT and VIOLET have: ``checks.hold_out_videos`` makes one.

    Args:
        folder: Holds ``Train_transition_question.csv`` and ``Test_transition_question.csv``, or ClipBERT's
            ``transition_<split>.jsonl``, or VIOLET's ``txt_tgif-transition.json``.
        split: ``train``, ``val`` or ``test``.
        problems: Where rows that are left out go.

    Raises:
        DataError: There is no such split, the file is missing or unreadable, or a test's first option is always right.
    """
    return _choices(folder, "transition", split, problems)


def _choices(folder: Path, task: str, split: str, problems: Problems) -> list[MultiChoice]:
    check_split(split, _SPLITS, what=f"TGIF-QA {task}")

    def table(path: Path) -> list[MultiChoice]:
        rows = read_table(path, ("gif_name", "question", *_OPTIONS, "answer"), problems)
        return collect(rows, problems, partial(_choice, video="gif_name", options=_OPTIONS))

    def clipbert(path: Path) -> list[MultiChoice]:
        rows = read_json_lines(path, problems)
        return collect(rows, problems, partial(_choice, video="gif_name", options=("options",)))

    def violet(path: Path) -> list[MultiChoice]:
        rows = json_rows(path, read_json(path, problems), problems, key=split)
        return collect(rows, problems, partial(_choice, video="video", options=_VIOLET_OPTIONS))

    readers: dict[str, Callable[[Path], list[MultiChoice]]] = {
        **({} if split == "val" else {f"{split.title()}_{task}_question.csv": table}),
        f"{task}_{split}.jsonl": clipbert,
        f"txt_tgif-{task}.json": violet,
    }
    path, questions = read_first(folder, readers, problems, what=f"TGIF-QA {task} {split} file")
    if split != "train":
        check_options_are_shuffled(path, questions)
    return questions


def _choice(row: Row, *, video: str, options: Sequence[str]) -> MultiChoice:
    return MultiChoice(
        video=row.media(video, ".gif"),
        question=row.text("question"),
        options=row.options(*options),
        label=row.label("answer"),
        index=row.index,
    )


def read_tgif_frame(
    folder: Path, split: str, problems: Problems, *, answers: Sequence[str] | None = None
) -> list[OpenEnded]:
    """Read questions about a frame; their type is one of ``FRAME_QUESTION_TYPES``.

    The column ``description`` holds the answer and is never read.

    Args:
        folder: Holds ``Train_frameqa_question.csv`` and ``Test_frameqa_question.csv``, or ClipBERT's
            ``frameqa_<split>.jsonl``, or VIOLET's ``txt_tgif-frame.json``.
        split: ``train``, ``val`` or ``test``.
        problems: Where rows that are left out go.
        answers: What classes stand for, where a file gives answers as numbers.

    Raises:
        DataError: There is no such split, or the file is missing or unreadable.
    """
    check_split(split, _SPLITS, what="TGIF-QA frame")

    def table(path: Path) -> list[OpenEnded]:
        rows = read_table(path, ("gif_name", "question", "answer", "type"), problems)
        return collect(
            rows, problems, lambda row: _question(row, "gif_name", row.answer("answer"), _numbered_type(row))
        )

    def clipbert(path: Path) -> list[OpenEnded]:
        rows = read_json_lines(path, problems)
        return collect(
            rows,
            problems,
            lambda row: _question(row, "gif_name", row.answer_or_class("answer", answers), row.answer("answer_type")),
        )

    def violet(path: Path) -> list[OpenEnded]:
        rows = json_rows(path, read_json(path, problems), problems, key=split)
        return collect(
            rows, problems, lambda row: _question(row, "video", row.answer_or_class("answer", answers), None)
        )

    readers: dict[str, Callable[[Path], list[OpenEnded]]] = {
        **({} if split == "val" else {f"{split.title()}_frameqa_question.csv": table}),
        f"frameqa_{split}.jsonl": clipbert,
        "txt_tgif-frame.json": violet,
    }
    return read_first(folder, readers, problems, what=f"TGIF-QA frame {split} file")[1]


def _numbered_type(row: Row) -> str:
    number = row.integer("type")
    if not 0 <= number < len(FRAME_QUESTION_TYPES):
        raise BadRowError(expected=f"a type from 0 to {len(FRAME_QUESTION_TYPES) - 1}", found=quoted(number))
    return FRAME_QUESTION_TYPES[number]


def _question(row: Row, video: str, answer: str, question_type: str | None) -> OpenEnded:
    return OpenEnded(
        video=row.media(video, ".gif"),
        question=row.text("question"),
        answer=answer,
        index=row.index,
        question_type=question_type,
    )
