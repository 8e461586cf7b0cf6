"""The rows of a caption file, held as columns; the record of a row is made when it is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64

from clover.data.annotations.problems import Problems, quoted
from clover.data.corpora.media_folder import stem_of
from clover.data.corpora.text_column import TextColumn, checked_position
from clover.errors import DataError
from clover.types import Pair


@dataclass(frozen=True, kw_only=True)
class CaptionTable:
    """Captions and where their media belong, in columns.

    Attributes:
        file: The caption file.
        folder: Where the media are, in the corpus's usual layout or another.
        captions: Texts, stripped and not empty.
        locators: Usual path of each file within ``folder``, with ``/`` between its parts.
        indices: Row number of each in the caption file, from 0.
        num_rows: Rows in the file: those here and those among the problems.
        problems: Rows that are not here, and why.
    """

    file: Path
    folder: Path
    captions: TextColumn
    locators: TextColumn
    indices: Int64[np.ndarray, " rows"]
    num_rows: int
    problems: Problems

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: SupportsIndex) -> Pair:
        """The record of a row; its path is the usual one, whether there is a file or not."""
        name, index = self.name(position), int(self.indices[checked_position(position, len(self))])
        return Pair(
            video=self.folder / self.locators[position],
            text=self.captions[position],
            index=index,
            video_id=name,
            text_id=f"{name}#{index}",
        )

    def name(self, position: SupportsIndex) -> str:
        """Name of the media file without its ending."""
        return stem_of(PurePosixPath(self.locators[position]).name)

    def take(self, positions: Int64[np.ndarray, " taken"]) -> CaptionTable:
        """A table of some of the rows; ``num_rows`` and ``problems`` stay those of the file."""
        return CaptionTable(
            file=self.file,
            folder=self.folder,
            captions=self.captions.take(positions),
            locators=self.locators.take(positions),
            indices=self.indices[positions],
            num_rows=self.num_rows,
            problems=self.problems,
        )

    @property
    def num_bytes(self) -> int:
        """Memory of the columns."""
        return self.captions.num_bytes + self.locators.num_bytes + self.indices.nbytes


@dataclass(kw_only=True)
class CaptionTableBuilder:
    """Takes the rows of a caption file one by one."""

    file: Path
    folder: Path
    captions: TextColumn = field(default_factory=TextColumn)
    locators: TextColumn = field(default_factory=TextColumn)
    indices: array[int] = field(default_factory=lambda: array("q"))
    num_rows: int = 0
    problems: Problems = field(default_factory=Problems)

    def add(self, caption: str, locator: str, *, link: str = "") -> bool:
        """Take a row, or note that its text cannot be used; True when it was taken.

        Args:
            caption: The text; white space around it is dropped.
            locator: Usual path of the file within the folder.
            link: What else must be text, though it is not kept.
        """
        caption = caption.strip()
        if not caption:
            self.reject("a caption", "an empty one")
            return False
        if not is_text(caption + locator + link):
            shown = f"{caption} {link or locator}".encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            self.reject("UTF-8", f"other bytes in {quoted(shown)}")
            return False
        self.captions.append(caption)
        self.locators.append(locator)
        self.indices.append(self.num_rows)
        self.num_rows += 1
        return True

    def reject(self, expected: str, found: str) -> None:
        """Note that the next row cannot be used."""
        self.problems.add(self.file, self.num_rows, expected, found)
        self.num_rows += 1

    def build(self) -> CaptionTable:
        """The finished table.

        Raises:
            DataError: it has no row; the first problem is named.
        """
        if not len(self.captions):
            first = next(iter(self.problems), None)
            found = f"none in {self.num_rows}; the first: {first}" if first else "none"
            raise DataError(f"{self.file}: expected rows with a caption and its media, found {found}")
        return CaptionTable(
            file=self.file,
            folder=self.folder,
            captions=self.captions,
            locators=self.locators,
            indices=np.frombuffer(self.indices, dtype=np.int64),
            num_rows=self.num_rows,
            problems=self.problems,
        )


def is_text(text: str) -> bool:
    """Whether it can be written in UTF-8: it holds no stand-ins for other bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_inside(parts: Sequence[str]) -> bool:
    """Whether a path of these parts stays in the folder it begins in, and is one that a file may have."""
    return bool(parts) and not any(part in ("", ".", "..") or set(part) & {"/", "\\", "\0"} for part in parts)
