"""Rows as the text of the publishers' kinds of file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], *, delimiter: str = ",", end: str = "\n") -> str:
    """A table with a header and standard quoting."""
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter=delimiter, lineterminator=end)
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()


def plain_text(rows: Iterable[Sequence[Any]], *, delimiter: str = "\t") -> str:
    """A table without header and without quoting; no field may hold the delimiter or a line's end."""
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)


def json_text(value: Any) -> str:
    """One JSON value on one line."""
    return json.dumps(value) + "\n"
