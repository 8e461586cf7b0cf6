"""What was wrong with the rows that a reader left out: collected and shown, neither raised nor silent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing in an annotation file that is not as its format says.

    Attributes:
        file: The annotation file or shard.
        row: Row number from 0, counted as ``index`` of the records is; None when the file as a whole is meant.
        expected: What the format asks for, in words.
        found: What is there instead, in words or quoted.
    """

    file: Path
    row: int | None
    expected: str
    found: str

    def __str__(self) -> str:
        place = str(self.file) if self.row is None else f"{self.file}, row {self.row}"
        return " ".join(f"{place}: expected {self.expected}, found {self.found}".split())


class Problems:
    """The problems of one reading, in the order they were met."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def add(self, file: Path, row: int | None, expected: str, found: str) -> None:
        """Note one more; the arguments are those of `Problem`."""
        self._problems.append(Problem(file, row, expected, found))

    def __len__(self) -> int:
        return len(self._problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)


def quoted(text: str) -> str:
    """Text as it can stand in a message: on one line, in quotes, cut when long."""
    return repr(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
