"""CC3M: a TSV of captions and links, without quoting, with or without a header; images named after the link.

Source: rom1504/img2dataset ``dataset_examples/cc3m.md`` (header), igorbrigadir/DownloadConceptualCaptions and
m-bain/frozen-in-time ``data_loader/ConceptualCaptions_dataset.py`` (images at ``training/<crc32 of the link>``),
showlab/all-in-one (a list of captions and file names).
"""

from __future__ import annotations

import hashlib
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from clover.data.annotations.problems import quoted
from clover.data.corpora.captions import CaptionTable, CaptionTableBuilder, is_inside
from clover.data.corpora.delimited import Row, limited_lines, opened_table, plain_rows, quoted_rows

_CAPTION_NAMES = frozenset(("caption", "text", "sentence", "title"))
_MEDIA_NAMES = frozenset(
    ("url", "image_url", "link", "filename", "file_name", "file", "image", "image_path", "img", "path", "filepath")
)


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Where in a row the fields are, and how rows are written."""

    delimiter: str
    num_columns: int
    caption: int
    media: int
    is_header: bool

    def is_row(self, fields: Sequence[str]) -> bool:
        """Whether these fields can be a whole row."""
        return len(fields) == self.num_columns and ("://" in fields[self.media] or "." in fields[self.media])


_WITHOUT_HEADER = _Columns(delimiter="\t", num_columns=2, caption=0, media=1, is_header=False)


def read_cc3m(file: Path, folder: Path, *, split_folder: str | None = None) -> CaptionTable:
    """Read ``Train_GCC-training.tsv``, the validation file, a copy with a header, or a list of file names.

    A header is recognised by its names; without one the caption comes first and the link second. Where two links give
    the same file name nobody knows which of them the file holds; such rows are among the problems.

    Args:
        file: The caption file.
        folder: Where the images are: in a folder ``training`` or ``validation`` when they are named after links, as
            written when the file gives their names.
        split_folder: Name of that folder; None takes ``validation`` when the caption file's name begins so.

    Returns:
        The rows that can be used; the others are among its ``problems``.

    Raises:
        DataError: the file is missing, or has no row that can be used (as under a header that is not recognised).
    """
    file = Path(file)
    if split_folder is None:
        split_folder = "validation" if file.name.lower().startswith("val") else "training"
    rows = _Rows(table=CaptionTableBuilder(file=file, folder=Path(folder)), split_folder=split_folder)
    with opened_table(file, is_quoted=False) as stream:
        lines = limited_lines(stream)
        first = next(lines)
        columns = _find_columns(first)
        if not columns.is_header:
            lines = chain([first], lines)
        is_plain = columns.delimiter == "\t"
        for row in plain_rows(lines, "\t") if is_plain else quoted_rows(lines, columns.delimiter, columns.is_row):
            rows.add(row, columns)
    return rows.build()


def file_name_of(link: str) -> str:
    """Name of the image at a link in the folder layout: the CRC-32 of its UTF-8, unsigned, in decimal."""
    return str(zlib.crc32(link.encode("utf-8", "surrogateescape")))


@dataclass(kw_only=True)
class _Rows:
    """The table, and of rows with a link a digest of the link, to find different links of one name."""

    table: CaptionTableBuilder
    split_folder: str
    places: array[int] = field(default_factory=lambda: array("q"))
    names: array[int] = field(default_factory=lambda: array("I"))
    digests: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, row: Row, columns: _Columns) -> None:
        fields = row.fields
        if fields is None or len(fields) != columns.num_columns:
            found = row.fault if fields is None else f"{len(fields)} in {quoted(columns.delimiter.join(fields))}"
            self.table.reject(f"{columns.num_columns} columns", found)
            return
        media = fields[columns.media].strip()
        if "://" in media:
            name = file_name_of(media)
            if self.table.add(fields[columns.caption], f"{self.split_folder}/{name}", link=media):
                self.places.append(len(self.table.captions) - 1)
                self.names.append(int(name))
                digest = hashlib.blake2b(media.encode(), digest_size=8).digest()
                self.digests.append(int.from_bytes(digest, "little"))
        elif columns.is_header and is_inside(media.removeprefix("./").split("/")):
            self.table.add(fields[columns.caption], media.removeprefix("./"))
        else:
            expected = "a link, or a file's path within the folder" if columns.is_header else "a link"
            self.table.reject(expected, quoted(media))

    def build(self) -> CaptionTable:
        """The table without rows whose file name belongs to several links."""
        table = self.table.build()
        names, digests = np.frombuffer(self.names, dtype="I"), np.frombuffer(self.digests, dtype="Q")
        order = np.lexsort((digests, names))
        is_clash = (np.diff(names[order]) == 0) & (np.diff(digests[order]) != 0)
        clashing = np.unique(names[order][1:][is_clash])
        if not len(clashing):
            return table
        is_dropped = np.zeros(len(table), dtype=bool)
        is_dropped[np.frombuffer(self.places, dtype=np.int64)[np.isin(names, clashing)]] = True
        for place in np.flatnonzero(is_dropped).tolist():
            found = f"{table.name(place)}, the name of several links' images"
            table.problems.add(table.file, int(table.indices[place]), "an image of its own", found)
        return table.take(np.flatnonzero(~is_dropped))


def _find_columns(first_line: str) -> _Columns:
    for delimiter in ("\t", ",", ";"):
        names = [name.strip(' "').lower() for name in first_line.rstrip("\r\n").split(delimiter)]
        captions = [place for place, name in enumerate(names) if name in _CAPTION_NAMES]
        media = [place for place, name in enumerate(names) if name in _MEDIA_NAMES]
        if captions and media:
            return _Columns(
                delimiter=delimiter, num_columns=len(names), caption=captions[0], media=media[0], is_header=True
            )
    return _WITHOUT_HEADER
