"""Bytes to rows: encodings, line endings, delimiters, headers, quotes and JSON, each row with its number."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clover.data.annotations.problems import Problems, quoted
from clover.data.annotations.rows import Row
from clover.errors import DataError

_DELIMITERS = "\t,;"
_OTHER_BYTE = re.compile("[\udc80-\udcff]")
_UNKNOWN_BYTES = b"\x81\x8d\x8f\x90\x9d".decode("utf-8", "surrogateescape")  # these stand for nothing

_Splitter = Callable[[str], list[str] | None]


@dataclass(frozen=True, slots=True)
class Line:
    r"""A line of a file.

    Attributes:
        number: Place in the file, from 1.
        text: Without its ending.
        is_text: Whether it is text in a known encoding; if not, what could not be read stands as ``\ufffd``.
    """

    number: int
    text: str
    is_text: bool = True


def read_lines(path: Path, problems: Problems) -> list[Line]:
    r"""Read the lines that are not blank; only ``\n`` ends a line, a ``\r`` before it is cut off.

    Lines that are not UTF-8 are taken for Windows-1252, each by itself, and counted in a note.

    Raises:
        DataError: The file is missing or cannot be read.
    """
    return [line for line in _all_lines(path, problems) if line.text.strip(" ")]


def _all_lines(path: Path, problems: Problems) -> list[Line]:
    lines: list[Line] = []
    other: list[int] = []
    for number, raw in enumerate(_utf8_bytes(path).split(b"\n"), start=1):
        raw = raw.rstrip(b"\r")
        try:
            line = Line(number, raw.decode("utf-8"))
        except UnicodeDecodeError:
            try:
                line = Line(number, raw.decode("cp1252"))
                other.append(number)
            except UnicodeDecodeError:
                line = Line(number, raw.decode("cp1252", errors="replace"), is_text=False)
        lines.append(line)
    if other:
        count = f"{len(other):,} line{'s are' if len(other) > 1 else ' is'}"
        problems.note(path, f"{count} not UTF-8, read as Windows-1252 (first: line {other[0]})")
    return lines


def _utf8_bytes(path: Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{path}: expected a readable annotation file, found {reason.lower()}; check the path"
        ) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise DataError(f"{path}: expected UTF-8, found broken UTF-16 ({error}); save it as UTF-8") from error
    return data.removeprefix(codecs.BOM_UTF8)


def read_table(path: Path, columns: Sequence[str], problems: Problems) -> list[Row]:
    """Read a table with a header, addressed by column name; TAB, comma or semicolon by what the header holds.

    Quotes are read as in CSV; where that fails in a table of TABs the row is split as it stands. A line break within
    quotes is no part of these files: an unpaired quote costs its own row, not the ones after it.

    Args:
        path: The file.
        columns: Names that the header must have; others may be there, in any order.
        problems: Where rows that are left out go.

    Raises:
        DataError: The file cannot be read, or its header lacks a column or repeats one.
    """
    lines = read_lines(path, problems)
    header = lines[0].text if lines else ""
    wanted = f"a header with {', '.join(columns)}"
    for delimiter in _DELIMITERS:
        names = [name.strip().lower() for name in _split_quoted(header, delimiter) or []]
        if set(columns) <= set(names):
            break
    else:
        raise DataError(f"{path}: expected {wanted}, found {quoted(header) if lines else 'an empty file'}")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: expected {wanted}, each column once, found {quoted(header)}")

    return _rows(path, lines[1:], names, partial(_split, delimiter=delimiter, num_columns=len(names)), problems)


def read_columns(path: Path, names: Sequence[str], problems: Problems, *, header: str) -> list[Row]:
    """Read a table of TABs without quoting, addressed by place; a header line is passed over where there is one.

    Args:
        path: The file.
        names: What to call the columns, all of them, in order.
        problems: Where rows that are left out go.
        header: First field of a header line, in whatever case.

    Raises:
        DataError: The file cannot be read.
    """
    lines = read_lines(path, problems)
    if lines and lines[0].text.split("\t")[0].strip(' "').lower() == header.lower():
        lines = lines[1:]
    return _rows(path, lines, names, lambda text: text.split("\t"), problems)


def _split(text: str, *, delimiter: str, num_columns: int) -> list[str] | None:
    fields = _split_quoted(text, delimiter)
    if delimiter == "\t" and (fields is None or len(fields) != num_columns):
        return text.split("\t")
    return fields


def _split_quoted(text: str, delimiter: str) -> list[str] | None:
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None


def _rows(path: Path, lines: Sequence[Line], names: Sequence[str], split: _Splitter, problems: Problems) -> list[Row]:
    rows: list[Row] = []
    for index, line in enumerate(lines):
        if not line.is_text:
            problems.add(path, line.number, expected="text in UTF-8 or Windows-1252", found="other bytes")
            continue
        fields = split(line.text)
        if fields is None:
            problems.add(path, line.number, expected="paired quotes", found=quoted(line.text))
        elif len(fields) != len(names):
            found = f"{len(fields)} in {quoted(line.text)}"
            problems.add(path, line.number, expected=f"{len(names)} columns", found=found)
        elif [field.strip().lower() for field in fields] == list(names):
            problems.add(path, line.number, expected="data", found=f"a header in {quoted(line.text)}")
        else:
            rows.append(Row(path, line.number, index, dict(zip(names, fields, strict=True))))
    return rows


def read_list(path: Path, problems: Problems) -> list[Row]:
    """Read a file of one name per line, as rows with the field ``name``.

    Raises:
        DataError: The file cannot be read.
    """
    return _rows(path, read_lines(path, problems), ["name"], lambda text: [text], problems)


def read_json(path: Path, problems: Problems) -> Any:
    """Read a JSON document.

    Bytes that are not UTF-8 are taken for Windows-1252, each by itself, because the document may be a single line.

    Raises:
        DataError: The file cannot be read, is text in no known encoding, or is not JSON.
    """
    text = _json_text(path, problems)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: expected JSON, found {error.msg.lower()} ({where}); fetch it again") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: expected JSON of plain records, found {quoted(str(error))}; fetch it again"
        ) from error


def _json_text(path: Path, problems: Problems) -> str:
    # every byte that is not UTF-8 becomes half of a surrogate pair, which UTF-8 itself cannot hold
    text = _utf8_bytes(path).decode("utf-8", errors="surrogateescape")
    found = list(_OTHER_BYTE.finditer(text))
    if not found:
        return text
    try:
        read = _OTHER_BYTE.sub(lambda match: match[0].encode("utf-8", "surrogateescape").decode("cp1252"), text)
    except UnicodeDecodeError:
        bad = next(match for match in found if match[0] in _UNKNOWN_BYTES)
        line = text.count("\n", 0, bad.start()) + 1
        raise DataError(f"{path}: expected UTF-8 or Windows-1252, found other bytes in line {line}") from None
    count = f"{len(found):,} byte{'s are' if len(found) > 1 else ' is'}"
    line = text.count("\n", 0, found[0].start()) + 1
    problems.note(path, f"{count} not UTF-8, read as Windows-1252 (first: line {line})")
    return read


def json_rows(path: Path, document: Any, problems: Problems, *, key: str | None = None) -> list[Row]:
    """Take the rows of a JSON list of objects, or of the list under ``key`` of a JSON object.

    Raises:
        DataError: There is no such list.
    """
    if key is not None:
        if not isinstance(document, dict) or key not in document:
            found = quoted(sorted(document)) if isinstance(document, dict) else quoted(document)
            raise DataError(f"{path}: expected a JSON object with {key!r}, found {found}")
        document = document[key]
    if not isinstance(document, list):
        raise DataError(f"{path}: expected a JSON list{f' under {key!r}' * bool(key)}, found {quoted(document)}")
    rows: list[Row] = []
    for index, fields in enumerate(document):
        if isinstance(fields, dict):
            rows.append(Row(path, index + 1, index, fields))
        else:
            problems.add(path, index + 1, expected="a JSON object", found=quoted(fields))
    return rows


def read_json_list(path: Path, problems: Problems, *, key: str | None = None) -> list[Row]:
    """Read the rows of a JSON file that is a list of objects, or holds one under ``key``.

    Raises:
        DataError: The file cannot be read or holds no such list.
    """
    return json_rows(path, read_json(path, problems), problems, key=key)


def read_json_lines(path: Path, problems: Problems) -> list[Row]:
    """Read a file with one JSON object per line.

    Raises:
        DataError: The file cannot be read.
    """
    rows: list[Row] = []
    for index, line in enumerate(read_lines(path, problems)):
        try:
            fields = json.loads(line.text) if line.is_text else None
        except (ValueError, RecursionError):
            fields = None
        if isinstance(fields, dict):
            rows.append(Row(path, line.number, index, fields))
        else:
            problems.add(path, line.number, expected="a JSON object", found=quoted(line.text))
    return rows
