"""One row of an annotation file, and how its fields become parts of a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from clover.data.annotations.problems import Problems, quoted

NUM_OPTIONS = 5
"""Candidates of a multiple-choice question, in every benchmark."""

Parsed = TypeVar("Parsed")


class BadRowError(Exception):
    """A row that cannot become a record; never leaves the readers."""

    def __init__(self, *, expected: str, found: str, is_published: bool = False) -> None:
        super().__init__(expected, found)
        self.expected = expected
        self.found = found
        self.is_published = is_published


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file.

    Attributes:
        file: The annotation file.
        number: Line of a text file, or place in a JSON list, from 1: what messages give.
        index: Place among the rows of data, from 0, whether they can be used or not: what records keep.
        fields: Text by column name, or the JSON object.
    """

    file: Path
    number: int
    index: int
    fields: Mapping[str, Any]

    def value(self, name: str) -> Any:
        """A field of whatever type."""
        if name not in self.fields:
            raise BadRowError(expected=f"a field {name!r}", found=quoted(sorted(map(str, self.fields))))
        return self.fields[name]

    def text(self, name: str) -> str:
        """A field that holds text, stripped and not empty."""
        return clean_text(self.value(name), what=repr(name))

    def answer(self, name: str) -> str:
        """A field that holds an answer, stripped and lower-case."""
        return self.text(name).lower()

    def answer_or_class(self, name: str, answers: Sequence[str] | None) -> str:
        """An answer that is written out, or given as its place in ``answers``."""
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool):
            return self.answer(name)
        if answers is None:
            raise BadRowError(expected=f"an answer in words in {name!r}, or its list of answers", found=quoted(value))
        if not 0 <= value < len(answers):
            raise BadRowError(expected=f"a class of {len(answers):,} answers in {name!r}", found=quoted(value))
        return answers[value].strip().lower()

    def integer(self, name: str) -> int:
        """A field that holds a whole number, as a number or in digits."""
        value = self.value(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
            return int(value)
        raise BadRowError(expected=f"a whole number in {name!r}", found=quoted(value))

    def identity(self, name: str) -> str:
        """A field that holds the row's own name or number; the row's place where it does not."""
        value = self.fields.get(name)
        text = str(value) if isinstance(value, int | str) else ""
        return text.strip() if re.fullmatch(r"\s*[A-Za-z0-9_.-]{1,99}\s*", text) else str(self.index)

    def label(self, name: str, *, first: int = 0) -> int:
        """A field that tells the right option, counted from ``first`` in the file and from 0 in the result."""
        label = self.integer(name) - first
        if not 0 <= label < NUM_OPTIONS:
            last = first + NUM_OPTIONS - 1
            raise BadRowError(
                expected=f"a right option from {first} to {last} in {name!r}", found=quoted(label + first)
            )
        return label

    def options(self, *names: str) -> tuple[str, ...]:
        """The candidates: one field each, or a single field that holds a list."""
        values = self.value(names[0]) if len(names) == 1 else [self.value(name) for name in names]
        if not isinstance(values, list):
            raise BadRowError(expected=f"a list of options in {names[0]!r}", found=quoted(values))
        if len(values) != NUM_OPTIONS:
            raise BadRowError(expected=f"{NUM_OPTIONS} options", found=f"{len(values)}")
        return tuple(clean_text(value, what="every option") for value in values)

    def media(self, name: str, suffix: str = "") -> Path:
        """A field that names a media file, with ``suffix`` appended unless it is there."""
        text = self.text(name)
        return media_path(text if text.lower().endswith(suffix) else text + suffix)


def clean_text(value: object, *, what: str) -> str:
    """Stripped text.

    Raises:
        BadRowError: It is not text, nothing but white space, or has half of a surrogate pair, which no file can hold.
    """
    if not isinstance(value, str):
        raise BadRowError(expected=f"text in {what}", found=quoted(value))
    text = value.strip()
    if not text:
        raise BadRowError(expected=f"text in {what}", found="none")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise BadRowError(expected=f"valid Unicode in {what}", found=quoted(text))
    return text


def media_path(name: str) -> Path:
    """A path below the folder of media.

    Raises:
        BadRowError: The name points elsewhere or cannot be a file's.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name:
        raise BadRowError(expected="a file name inside the folder of media", found=quoted(name))
    return Path(path)


def collect(rows: Iterable[Row], problems: Problems, parse: Callable[[Row], Parsed | None]) -> list[Parsed]:
    """Parse row by row: each gives a record or one problem, or is passed over because it is of another split (None)."""
    parsed: list[Parsed] = []
    for row in rows:
        try:
            record = parse(row)
        except BadRowError as error:
            problems.add(
                row.file,
                row.number,
                expected=error.expected,
                found=error.found,
                is_published=error.is_published,
            )
        else:
            if record is not None:
                parsed.append(record)
    return parsed
