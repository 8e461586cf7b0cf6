"""WebVid: a CSV with a header, and clips at ``videos/<page_dir>/<videoid>.mp4``.

Source: m-bain/webvid (``download.py``, README), m-bain/frozen-in-time ``data_loader/WebVid_dataset.py``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clover.data.annotations.problems import quoted
from clover.data.corpora.captions import CaptionTable, CaptionTableBuilder, is_inside
from clover.data.corpora.delimited import limited_lines, opened_table, quoted_rows
from clover.errors import DataError

_NEEDED = ("videoid", "page_dir", "name")
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Where in a row the needed fields are."""

    delimiter: str
    num_columns: int
    videoid: int
    page_dir: int
    name: int

    def is_row(self, fields: Sequence[str]) -> bool:
        """Whether these fields can be a whole row."""
        return len(fields) == self.num_columns and self.video_id(fields).isdecimal()

    def video_id(self, fields: Sequence[str]) -> str:
        """The clip's number, also where it is written as a file name."""
        return fields[self.videoid].strip().removesuffix(".mp4")


def read_webvid(file: Path, folder: Path) -> CaptionTable:
    """Read ``results_2M_train.csv``, ``results_10M_train.csv`` or a validation file.

    Columns are found by their name, whatever their order and number. Durations are not read: they are often wrong.

    Args:
        file: The caption file.
        folder: Where the folder ``videos`` is, or will be.

    Returns:
        The rows that can be used; the others are among its ``problems``.

    Raises:
        DataError: the file is missing, has another header, or has no row that can be used.
    """
    file = Path(file)
    table = CaptionTableBuilder(file=file, folder=Path(folder))
    with opened_table(file, is_quoted=True) as stream:
        lines = limited_lines(stream)
        columns = _find_columns(file, next(lines, ""))
        for row in quoted_rows(lines, columns.delimiter, columns.is_row):
            if row.fields is None:
                table.reject("a row of standard CSV", row.fault)
            else:
                _add(table, columns, row.fields)
    return table.build()


def _add(table: CaptionTableBuilder, columns: _Columns, fields: list[str]) -> None:
    if len(fields) != columns.num_columns:
        table.reject(f"{columns.num_columns} columns", f"{len(fields)} in {quoted(columns.delimiter.join(fields))}")
        return
    video_id, page_dir = columns.video_id(fields), fields[columns.page_dir].strip()
    if not (video_id.isascii() and video_id.isdecimal()):
        table.reject("a number as videoid", quoted(fields[columns.videoid]))
    elif not is_inside([page_dir]):
        table.reject("the name of a folder as page_dir", quoted(page_dir))
    else:
        table.add(fields[columns.name], f"videos/{page_dir}/{video_id}.mp4")


def _find_columns(file: Path, header: str) -> _Columns:
    for delimiter in _DELIMITERS:
        try:
            names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        except csv.Error:
            continue
        if all(names.count(name) == 1 for name in _NEEDED):
            places = {name: names.index(name) for name in _NEEDED}
            return _Columns(delimiter=delimiter, num_columns=len(names), **places)
    shown = header.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    raise DataError(f"{file}: expected a header with the columns {', '.join(_NEEDED)}, found {quoted(shown)}")
