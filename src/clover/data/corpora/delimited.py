"""Tables of text as streams of rows: a broken row costs itself, not the rest of the file.

The standard reader of CSV takes everything after a quote that is never closed for one field. Here such a row is given
as broken, and reading goes on in the line below it.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from clover.data.annotations.problems import quoted
from clover.errors import DataError

MAX_ROW_LENGTH = 131_072
"""Characters in a line; longer ones are no captions. The limit of the standard library's reader for a field."""

MAX_ROW_LINES = 100
"""Lines that a quoted field may run over."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its fields, or what is wrong with it."""

    fields: list[str] | None
    fault: str = ""


@contextmanager
def opened_table(path: Path, *, is_quoted: bool) -> Iterator[TextIO]:
    """Open a table for `quoted_rows` or `plain_rows`; bytes that are not UTF-8 come as lone surrogates.

    Args:
        path: The file.
        is_quoted: Whether a field in quotes may hold line ends; a lone carriage return ends a line only then.

    Raises:
        DataError: it is missing, a folder, empty, or breaks off while it is read.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: expected a table of captions, found {found}; check the path")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: expected a table of captions, found an empty file; fetch it again")
        newline = "" if is_quoted else "\n"
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline) as stream:
            yield stream
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, found {error.strerror or error}") from error


def plain_rows(lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    """Rows of a table without quoting: every quote is part of the text. Empty lines are no rows."""
    for line in lines:
        if text := line.rstrip("\r\n"):
            yield _too_long(line) or Row(text.split(delimiter))


def quoted_rows(lines: Iterator[str], delimiter: str, is_row: Callable[[Sequence[str]], bool]) -> Iterator[Row]:
    """Rows of a table with standard quoting. Empty lines are no rows.

    Args:
        lines: Lines with their ends.
        delimiter: Between fields.
        is_row: Whether fields are likely to be a whole row; a line that is one is not taken for the inside of a
            quoted field.
    """
    source = _Lines(lines)
    for line in source:
        if not (text := line.rstrip("\r\n")):
            continue
        if too_long := _too_long(line):
            yield too_long
        elif '"' not in line:
            yield Row(text.split(delimiter))
        else:
            yield _quoted_row(source.joined(line), delimiter, is_row, source)


def limited_lines(stream: TextIO) -> Iterator[str]:
    """Lines with their ends; of one longer than `MAX_ROW_LENGTH` only the beginning, without its end."""
    while line := stream.readline(MAX_ROW_LENGTH):
        if len(line) == MAX_ROW_LENGTH and not line.endswith(("\n", "\r")):
            while (rest := stream.readline(MAX_ROW_LENGTH)) and not rest.endswith(("\n", "\r")):
                pass
        yield line


class _Lines:
    """Lines that can be put back, and the ones that the last row was made of."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._returned: deque[str] = deque()
        self.used: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return self._returned.popleft() if self._returned else next(self._lines)

    def joined(self, first: str) -> Iterator[str]:
        """This line and those after it, as many as a row may have, remembered in ``used``."""
        self.used = [first]
        yield first
        while len(self.used) < MAX_ROW_LINES and (line := next(self, None)) is not None:
            self.used.append(line)
            yield line

    def put_back(self) -> None:
        """Give all lines of the row but its first again."""
        self._returned.extendleft(reversed(self.used[1:]))


def _quoted_row(lines: Iterator[str], delimiter: str, is_row: Callable[[Sequence[str]], bool], source: _Lines) -> Row:
    try:
        fields = next(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        fault = "a quote that is not closed" if len(source.used) > 1 else f"broken quoting ({error})"
        source.put_back()
        return Row(None, f"{fault} in {quoted(source.used[0])}")
    inside = ([field.strip(' "\r\n') for field in line.split(delimiter)] for line in source.used[1:])
    if len(source.used) > 1 and (any(map(is_row, inside)) or not is_row(fields)):
        source.put_back()
        return Row(None, f"a quote that is not closed in {quoted(source.used[0])}")
    return Row(fields)


def _too_long(line: str) -> Row | None:
    if len(line) < MAX_ROW_LENGTH:
        return None
    return Row(None, f"a line of {MAX_ROW_LENGTH} characters or more, {quoted(line)}")
