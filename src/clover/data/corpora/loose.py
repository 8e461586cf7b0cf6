"""A corpus whose media are files in a folder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64

from clover.data.corpora.captions import CaptionTable
from clover.data.corpora.media_folder import MediaFolder
from clover.errors import DataError


class LooseCorpus:
    """Captions of a table and the files they belong to.

    As long as every file lies where the corpus usually has it the folder is never listed. The first one that does not
    makes it be listed, once; from then on files are found in any layout. Call `missing` before worker processes are
    started, so that they need not list it themselves.
    """

    def __init__(self, table: CaptionTable) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def caption(self, position: SupportsIndex) -> str:
        """The text, stripped and not empty."""
        return self.table.captions[position]

    def name(self, position: SupportsIndex) -> str:
        """Name of the media file without its ending."""
        return self.table.name(position)

    def media(self, position: SupportsIndex) -> Path:
        """The file, wherever in the folder it lies; when there is none, the path it should have.

        Raises:
            DataError: the folder does not exist.
        """
        locator = self.table.locators[position]
        usual = self.table.folder / locator
        if "files" not in self.__dict__ and usual.is_file():
            return usual
        return self.files.find(locator) or usual

    @cached_property
    def files(self) -> MediaFolder:
        """What is in the folder, listed when first asked for."""
        return MediaFolder(self.table.folder)

    def missing(self) -> Int64[np.ndarray, " missing"]:
        """Positions of the rows without a file; `name` tells which they are.

        Raises:
            DataError: the folder does not exist.
        """
        return self.files.missing(self.table.locators)

    def present(self) -> LooseCorpus:
        """The rows that have a file.

        Raises:
            DataError: no row has one.
        """
        is_present = np.ones(len(self), dtype=bool)
        is_present[self.missing()] = False
        if not is_present.any():
            raise DataError(
                f"{self.table.folder}: expected media of {len(self)} rows of {self.table.file}, such as "
                f"{self.table.locators[0]}, found none of them among {len(self.files)} files; check the folder"
            )
        present = LooseCorpus(self.table.take(np.flatnonzero(is_present)))
        present.files = self.files
        return present
