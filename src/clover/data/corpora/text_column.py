"""Millions of strings without millions of objects."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable, Iterator
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64


class TextColumn:
    """Strings in one block of UTF-8, and where each of them ends as an int64: 8 bytes a string beyond its text."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Take texts, each of which must be encodable as UTF-8."""
        self._data = bytearray()
        self._ends = array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add one at the end.

        Raises:
            UnicodeEncodeError: it holds half of a surrogate pair; nothing was added.
        """
        self._data += text.encode("utf-8")
        self._ends.append(len(self._data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, position: SupportsIndex) -> str:
        place = checked_position(position, len(self))
        return self._data[self._ends[place] : self._ends[place + 1]].decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))

    @property
    def num_bytes(self) -> int:
        """Memory in use."""
        return len(self._data) + self._ends.itemsize * len(self._ends)

    def take(self, positions: Int64[np.ndarray, " taken"]) -> TextColumn:
        """A new column of the texts at these positions."""
        taken = TextColumn()
        for place in positions.tolist():
            taken._data += self._data[self._ends[place] : self._ends[place + 1]]
            taken._ends.append(len(taken._data))
        return taken


def checked_position(position: SupportsIndex, length: int) -> int:
    """A position from 0, also when it was counted from the end.

    Raises:
        IndexError: there is none such.
    """
    place = operator.index(position)
    if not -length <= place < length:
        raise IndexError(f"position {place} of {length}")
    return place % length
