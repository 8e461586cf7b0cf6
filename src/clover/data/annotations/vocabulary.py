"""Answer vocabularies: counted on training answers, or read ready-made; and the labels they give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from clover.data.annotations.problems import Problems, quoted
from clover.data.annotations.rows import BadRowError, clean_text
from clover.data.annotations.tables import read_json, read_lines
from clover.errors import DataError
from clover.types import Cloze, OpenEnded

Answered = TypeVar("Answered", OpenEnded, Cloze)

OUTSIDE = -1
"""Label of an answer that is not in the vocabulary: left out of training, wrong in a test."""


def normalise_answer(answer: str) -> str:
    """An answer as it is counted and compared: stripped and lower-case."""
    return answer.strip().lower()


def answer_vocabulary(training: Sequence[OpenEnded] | Sequence[Cloze], size: int | None = None) -> tuple[str, ...]:
    """The most frequent answers, ties in alphabetical order.

    Args:
        training: Records of the training split, never of another.
        size: How many answers to keep; None keeps all. Fewer are returned where there are fewer.

    Raises:
        DataError: There are no records, or the size is not positive.
    """
    if not training:
        raise DataError("there are no training questions to take answers from")
    if size is not None and size < 1:
        raise DataError(f"a vocabulary of {size} answers is too small; give 1 or more")
    counts = Counter(normalise_answer(record.answer) for record in training)
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer))[:size])


def label_answers(records: Sequence[Answered], vocabulary: Sequence[str]) -> list[Answered]:
    """The same records with the place of their answer in the vocabulary, -1 where it is not in it; none is dropped."""
    labels = {answer: label for label, answer in enumerate(vocabulary)}
    return [replace(record, label=labels.get(normalise_answer(record.answer), OUTSIDE)) for record in records]


def read_vocabulary(path: Path, problems: Problems) -> tuple[str, ...]:
    """Read a ready-made vocabulary: a JSON object of answer and class, a JSON list, or one answer per line.

    Args:
        path: The file; ``.json`` is read as JSON, anything else as lines.
        problems: Where remarks go; a vocabulary with a bad row is refused, because classes would shift.

    Returns:
        The answers, stripped and lower-case, in the order of their classes.

    Raises:
        DataError: The file cannot be read, is empty, has an answer twice, or its classes are not 0, 1, 2, ….
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        values = _json_answers(path, read_json(path, problems))
    else:
        values = [(line.number, line.text if line.is_text else None) for line in read_lines(path, problems)]
    answers: dict[str, int] = {}
    for row, value in values:
        try:
            answer = normalise_answer(clean_text(value, what="every answer"))
        except BadRowError as error:
            raise DataError(f"{path}, row {row}: expected {error.expected}, found {error.found}") from error
        if answer in answers:
            raise DataError(
                f"{path}, row {row}: expected each answer once, found {quoted(answer)} as in row {answers[answer]}"
            )
        answers[answer] = row
    if not answers:
        raise DataError(f"{path}: expected answers, found none; fetch it again")
    return tuple(answers)


def _json_answers(path: Path, document: Any) -> list[tuple[int, Any]]:
    if isinstance(document, list):
        return list(enumerate(document, start=1))
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected a JSON list of answers, or an object of classes, found {quoted(document)}")
    by_class: dict[int, str] = {}
    for row, (answer, number) in enumerate(document.items(), start=1):
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(document):
            expected = f"a class from 0 to {len(document) - 1}"
            raise DataError(f"{path}, row {row}: expected {expected}, found {quoted(number)} for {quoted(answer)}")
        if number in by_class:
            raise DataError(f"{path}, row {row}: expected each class once, found {number} again for {quoted(answer)}")
        by_class[number] = answer
    return [(number + 1, by_class[number]) for number in sorted(by_class)]
