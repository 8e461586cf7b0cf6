"""A corpus in WebDataset tar shards, read at any position without unpacking."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

from clover.data.annotations.problems import Problem
from clover.data.corpora.index_files import load_or_index
from clover.data.corpora.shard_index import FailedSample, ShardIndex
from clover.data.corpora.text_column import TextColumn, checked_position
from clover.errors import DataError, MediaError

_CLIP = re.compile(r"(.+)_\d{3,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSample:
    """One sample of a shard.

    Attributes:
        shard: The tar.
        key: Name of the sample in it.
        caption: The text, stripped and not empty.
        offset: Where in the shard its media begin, in bytes.
        size: How many bytes they have.
        about_offset: Where its packed JSON begins.
        about_size: How many bytes that has; 0 when there is none.
    """

    shard: Path
    key: str
    caption: str
    offset: int
    size: int
    about_offset: int = 0
    about_size: int = 0

    @property
    def video_id(self) -> str:
        """The key without the number of a clip: the same for all clips of a video."""
        clip = _CLIP.fullmatch(self.key)
        return clip[1] if clip else self.key


class ShardCorpus:
    """Samples of shards, in the order in which they lie there, held as columns.

    Attributes:
        shards: The tars.
        problems: What is wrong with them. A problem with a row is about one sample (the row counts the keys of its
            shard from 0), which is then left out.
        failed: Samples that the shards' maker could not fetch.
    """

    def __init__(self, indexes: Iterable[ShardIndex]) -> None:
        self.shards: list[Path] = []
        self.problems: list[Problem] = []
        self.failed = FailedSamples(self.shards)
        self._keys, self._captions = TextColumn(), TextColumn()
        self._offsets, self._sizes, self._shard_numbers = array("q"), array("q"), array("i")
        self._about_offsets, self._about_sizes = array("q"), array("i")
        for index in indexes:
            number = len(self.shards)
            self.shards.append(index.shard)
            for sample in index.samples:
                self._keys.append(sample.key)
                self._captions.append(sample.caption)
                self._offsets.append(sample.offset)
                self._sizes.append(sample.size)
                self._shard_numbers.append(number)
                self._about_offsets.append(sample.about_offset)
                self._about_sizes.append(sample.about_size)
            self.failed.extend(number, index.failed)
            self.problems += index.problems

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, position: SupportsIndex) -> ShardSample:
        """The record of a sample."""
        place = checked_position(position, len(self))
        return ShardSample(
            shard=self.shards[self._shard_numbers[place]],
            key=self._keys[place],
            caption=self._captions[place],
            offset=self._offsets[place],
            size=self._sizes[place],
            about_offset=self._about_offsets[place],
            about_size=self._about_sizes[place],
        )

    def caption(self, position: SupportsIndex) -> str:
        """The text, stripped and not empty."""
        return self._captions[position]

    def name(self, position: SupportsIndex) -> str:
        """The sample's key."""
        return self._keys[position]

    def media(self, position: SupportsIndex) -> bytes:
        """The bytes of its video or image file.

        Raises:
            MediaError: the shard is not there any more, or shorter than it was.
        """
        sample = self[position]
        return _read(sample, sample.offset, sample.size)

    def about(self, position: SupportsIndex) -> dict[str, Any]:
        """The JSON that `clover data pack` wrote of the sample; empty where another made the shard.

        Raises:
            MediaError: the shard is not there any more, or shorter than it was.
        """
        sample = self[position]
        if not sample.about_size:
            return {}
        try:
            return dict(json.loads(_read(sample, sample.about_offset, sample.about_size)))
        except (ValueError, TypeError, RecursionError) as error:
            raise MediaError(f"{sample.shard}, sample {sample.key}: its JSON cannot be read; pack it again") from error

    @property
    def num_bytes(self) -> int:
        """Memory of the columns."""
        numbers = (self._offsets, self._sizes, self._shard_numbers, self._about_offsets, self._about_sizes)
        return self._keys.num_bytes + self._captions.num_bytes + sum(len(n) * n.itemsize for n in numbers)


class FailedSamples:
    """Samples without media, held as columns; the record of one is made when it is asked for."""

    def __init__(self, shards: list[Path]) -> None:
        self._shards = shards
        self._keys, self._statuses, self._shard_numbers = TextColumn(), TextColumn(), array("i")

    def extend(self, number: int, failed: Iterable[FailedSample]) -> None:
        """Take those of one shard, given by its number."""
        for sample in failed:
            self._keys.append(sample.key)
            self._statuses.append(sample.status)
            self._shard_numbers.append(number)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, position: SupportsIndex) -> FailedSample:
        place = checked_position(position, len(self))
        return FailedSample(self._shards[self._shard_numbers[place]], self._keys[place], self._statuses[place])

    def __iter__(self) -> Iterator[FailedSample]:
        return (self[place] for place in range(len(self)))


def _read(sample: ShardSample, offset: int, size: int) -> bytes:
    try:
        with sample.shard.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise MediaError(f"{sample.shard}: cannot be read ({error.strerror}); put the shard back") from error
    if len(content) < size:
        raise MediaError(
            f"{sample.shard}, sample {sample.key}: only {len(content)} of {size} bytes are there; the shard "
            "was cut short since it was indexed: open the shards again"
        )
    return content


def open_shards(
    paths: Path | Iterable[Path],
    *,
    cache_folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ShardCorpus:
    """Open shards; those without an index are gone through once, and the index is kept.

    Args:
        paths: Tars, and folders of which every ``*.tar`` is taken, in the order of their names.
        cache_folder: Where indexes are kept; None keeps each beside its shard.
        progress: Called with (shards done, shards).

    Returns:
        The samples with media and a caption, in the order in which they lie in the shards.

    Raises:
        DataError: there is no shard, one of them is missing or no uncompressed tar, or no sample can be used.
        WriteError: the ``cache_folder`` cannot be written.
    """
    shards = _shards([paths] if isinstance(paths, Path) else [Path(path) for path in paths])

    def indexes() -> Iterator[ShardIndex]:
        for done, shard in enumerate(shards, start=1):
            yield load_or_index(shard, cache_folder)
            if progress is not None:
                progress(done, len(shards))

    corpus = ShardCorpus(indexes())
    if not len(corpus):
        first = f"; the first problem: {corpus.problems[0]}" if corpus.problems else ""
        raise DataError(
            f"{shards[0]} and {len(shards) - 1} more: expected samples with media and a caption, found none "
            f"({len(corpus.failed)} failed){first}"
        )
    return corpus


def _shards(paths: list[Path]) -> list[Path]:
    """Folders replaced by the tars in them."""
    shards: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(child for child in path.glob("*.tar") if not child.name.startswith("."))
            if not inside:
                raise DataError(f"{path}: expected *.tar files in this folder, found none; check the path")
            shards += inside
        else:
            shards.append(path)
    if not shards:
        raise DataError("no shards were given; name tar files or a folder of them")
    return shards
