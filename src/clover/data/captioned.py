"""Samples of pre-training: a video or image and its texts, from a list or from a corpus of millions of rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

from clover.data.corpora.corpus import Corpus
from clover.data.corpora.shards import ShardCorpus
from clover.data.media_source import Media
from clover.data.packing.tags import TaggedCaption, read_captions
from clover.data.taggers import TaggedWord


@dataclass(frozen=True, kw_only=True)
class CaptionedVideo:
    """One video file and all texts that describe it."""

    video: Path
    video_id: str
    captions: tuple[str, ...]

    @property
    def name(self) -> str:
        """The path."""
        return str(self.video)

    @property
    def is_image(self) -> bool:
        """It is not."""
        return False

    def media(self) -> Path:
        """The path."""
        return self.video

    def tags(self, place: int) -> None:
        """Not known."""


@dataclass(frozen=True, kw_only=True)
class CorpusSample:
    """One row of a corpus; nothing of it is read before it is asked for."""

    corpus: Corpus
    row: int
    is_image: bool

    @cached_property
    def name(self) -> str:
        """The path of the file, or the shard and the key in it."""
        if isinstance(self.corpus, ShardCorpus):
            sample = self.corpus[self.row]
            return f"{sample.shard}, sample {sample.key}"
        return str(self.corpus.media(self.row))

    @property
    def captions(self) -> tuple[str, ...]:
        """The caption, and in packed shards all that the video had before."""
        return tuple(caption.text for caption in self._tagged)

    def media(self) -> Media:
        """The file, or its bytes under the sample's name.

        Raises:
            MediaError: its shard cannot be read any more.
        """
        media = self.corpus.media(self.row)
        return NamedBytes(media, self.name) if isinstance(media, bytes) else media

    def tags(self, place: int) -> list[TaggedWord] | None:
        """Words of a caption, where its shard was packed with them."""
        return self._tagged[place].words

    @cached_property
    def _tagged(self) -> list[TaggedCaption]:
        caption = self.corpus.caption(self.row)
        about = self.corpus.about(self.row) if isinstance(self.corpus, ShardCorpus) else {}
        return read_captions(about, caption)


Captioned = CaptionedVideo | CorpusSample
"""One sample of pre-training: `name` is what messages call it, `captions` are its texts, at least one; `is_image` tells
whether it is read as one frame; `media` is what `clover.data.video.read_frames` takes; `tags` are the words of a
caption with their parts of speech, where they are known already."""


class NamedBytes(io.BytesIO):
    """Bytes of a file that messages call by a name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


@dataclass(frozen=True, kw_only=True)
class CorpusSamples(Sequence[CorpusSample]):
    """The rows of a corpus as samples, made when they are asked for."""

    corpus: Corpus
    is_image: bool
    """Whether they are read as one frame each."""

    def __len__(self) -> int:
        return len(self.corpus)

    @overload
    def __getitem__(self, row: int) -> CorpusSample: ...
    @overload
    def __getitem__(self, row: slice) -> list[CorpusSample]: ...
    def __getitem__(self, row: int | slice) -> CorpusSample | list[CorpusSample]:
        """One sample, or those of a range."""
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return CorpusSample(corpus=self.corpus, row=row % len(self), is_image=self.is_image)
