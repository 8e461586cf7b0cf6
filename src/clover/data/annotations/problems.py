"""What is wrong with an annotation file, row by row, so that nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from clover.errors import DataError

_LONGEST = 120


def quoted(value: object) -> str:
    """A value as it can stand in a message: on one line, text in quotes, cut when long."""
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else value[:_LONGEST] + "…")
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or an integer of thousands of digits
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def counted(number: int, what: str) -> str:
    """A number of things, one or several."""
    return f"{number:,} {what}{'s' * (number != 1)}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that was left out.

    Attributes:
        file: The annotation file.
        row: Which row: of the benchmarks' files the line, or the place in a JSON list, from 1; of the pre-training
            corpora the ``index`` of the record, from 0. None when the file as a whole is meant.
        expected: What should have been there, worded the same for every row with this kind of problem.
        found: What was there.
        is_published: Whether the file as its publisher distributes it has such rows; a copy with them is whole.
    """

    file: Path
    row: int | None
    expected: str
    found: str
    is_published: bool = False

    @property
    def kind(self) -> str:
        """The file's name and what was expected, the same for all problems of a kind."""
        return f"{self.file.name}: expected {self.expected}"

    def __str__(self) -> str:
        where = str(self.file) if self.row is None else f"{self.file}, row {self.row}"
        return " ".join(f"{where}: expected {self.expected}, found {self.found}".split())


class Problems:
    """Collects the rows that readers leave out, and remarks that cost no row.

    Attributes:
        notes: What a reader decided or repaired without leaving out a row, one line each.
    """

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self.notes: list[str] = []

    def add(self, file: Path, row: int | None, expected: str, found: str, *, is_published: bool = False) -> None:
        """Report one row that is left out; the arguments are those of ``Problem``."""
        self._problems.append(Problem(file, row, expected, found, is_published))

    def note(self, file: Path, text: str) -> None:
        """Remark on a file; no row is left out."""
        self.notes.append(f"{file}: {text}")

    def __len__(self) -> int:
        return len(self._problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)

    def by_kind(self) -> dict[str, list[Problem]]:
        """The problems under ``Problem.kind``, the most frequent kind first, each in the order of the rows."""
        groups: dict[str, list[Problem]] = {}
        for problem in self._problems:
            groups.setdefault(problem.kind, []).append(problem)
        return dict(sorted(groups.items(), key=lambda group: -len(group[1])))

    def summary(self, wrong: Collection[Problem] = ()) -> list[str]:
        """One line per kind: how many rows, what becomes of them, and which was the first and what it held.

        Args:
            wrong: The problems whose rows are counted as wrong answers; the others are left out.
        """
        return [
            f"{kind}: {counted(len(group), 'row')} "
            f"{'counted as wrong' if group[0] in wrong else 'left out'} (first: "
            f"{'the file' if group[0].row is None else f'row {group[0].row}'}, found {group[0].found})"
            for kind, group in self.by_kind().items()
        ]

    def raise_if_any(self) -> None:
        """Take every problem for an error.

        Raises:
            DataError: There is a problem; the message gives the first and how many more there are.
        """
        if self._problems:
            more = len(self._problems) - 1
            raise DataError(f"{self._problems[0]}{f' (and {more:,} more)' * bool(more)}; mend or remove what is named")
