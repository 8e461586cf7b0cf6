"""Samples to batches: media are read, texts encoded and masked; what cannot be read is left out and named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from clover.data.captioned import Captioned, CaptionedVideo
from clover.data.masking import TextMaskingConfig, VideoMaskingConfig, mask_text, tube_masks
from clover.data.tagging import TagCache, TaggedWord
from clover.data.text import Tokenizer, choice_texts
from clover.data.workers import note_reading
from clover.errors import DataError, MediaError
from clover.types import Cloze, MultiChoice, OpenEnded, Pair

ItemT = TypeVar("ItemT")
RowT = TypeVar("RowT", Pair, MultiChoice, OpenEnded, Cloze, OpenEnded | Cloze)

ClipReader = Callable[[Path, np.random.Generator | None], np.ndarray]
"""Video and randomness (None in tests) to a clip ``[t h w 3]`` of uint8."""

SampleReader = Callable[[Captioned, np.random.Generator], np.ndarray]
"""Sample of pre-training and randomness to a clip ``[t h w 3]`` of uint8."""


class UnreadableBatchError(DataError):
    """A batch, or a process' share of one, of which nothing can be read."""

    def __init__(self, message: str, skipped: tuple[tuple[str, str], ...] = (), *, step: int | None = None) -> None:
        super().__init__(message)
        self.skipped = skipped
        """Name and reason of each sample."""
        self.step = step
        """Of the run, from 0, where it is known."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What every batch has beside its tensors."""

    names: tuple[str, ...] = ()
    """What messages call each sample."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Name and reason of each sample that could not be read; the batch is smaller by them."""


@dataclass(frozen=True, kw_only=True)
class PretrainingBatch(Batch):
    """Clean and masked samples of one step."""

    clip: UInt8[Tensor, "b t h w 3"]
    is_masked_cell: Bool[Tensor, "b gh gw"]
    token_ids: Int[Tensor, "b l"]
    masked_token_ids: Int[Tensor, "b l"]
    is_token: Bool[Tensor, "b l"]
    targets: Int[Tensor, "b l"]
    """The original ids at masked places, `IGNORED` elsewhere."""


@dataclass(frozen=True, kw_only=True)
class QuestionBatch(Batch):
    """Questions about videos."""

    clip: UInt8[Tensor, "b t h w 3"]
    token_ids: Int[Tensor, "b l"]
    is_token: Bool[Tensor, "b l"]
    is_blank: Bool[Tensor, "b l"]
    """Where a [MASK] stands."""
    labels: Int[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class PairBatch(Batch):
    """Videos and a text of each."""

    clip: UInt8[Tensor, "b t h w 3"]
    token_ids: Int[Tensor, "b l"]
    is_token: Bool[Tensor, "b l"]


@dataclass(frozen=True, kw_only=True)
class ChoiceBatch(Batch):
    """Videos and a composed text per option of a question about each."""

    clip: UInt8[Tensor, "b t h w 3"]
    token_ids: Int[Tensor, "b k l"]
    is_token: Bool[Tensor, "b k l"]
    labels: Int[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class LabelBatch(Batch):
    """Videos and which labels each shows."""

    clip: UInt8[Tensor, "b t h w 3"]
    labels: Float[Tensor, "b labels"]


@dataclass(frozen=True, kw_only=True)
class ReadClips(Generic[ItemT]):
    """Samples whose media could be read, and their clips."""

    items: list[ItemT]
    clip: UInt8[Tensor, "b t h w 3"]
    named: Batch
    """Names of the samples, and those that are left out."""


def read_clips(
    items: Sequence[ItemT], read: Callable[[ItemT], np.ndarray], name: Callable[[ItemT], str], *, strict: bool
) -> ReadClips[ItemT]:
    """Read the clips of samples; those that cannot be read are left out.

    Args:
        items: Samples.
        read: Reads the clip ``[t h w 3]`` of one.
        name: What messages call one.
        strict: Stop at the first that cannot be read.

    Raises:
        UnreadableBatchError: none can be read.
        MediaError: with ``strict``, one cannot be read.
    """
    kept: list[ItemT] = []
    clips: list[np.ndarray] = []
    skipped: list[tuple[str, str]] = []
    for item in items:
        note_reading(name(item))
        try:
            clips.append(read(item))
        except MediaError as error:
            if strict:
                raise
            skipped.append((name(item), str(error)))
        else:
            kept.append(item)
    if not clips:
        reason = f"none of the {len(items)} videos of a batch can be read; the last: {skipped[-1][1]}"
        raise UnreadableBatchError(reason, tuple(skipped))
    note_reading("")
    named = Batch(names=tuple(map(name, kept)), skipped=tuple(skipped))
    return ReadClips(items=kept, clip=torch.from_numpy(np.stack(clips)), named=named)


@dataclass(frozen=True, kw_only=True)
class PretrainingCollator:
    """Captioned media to a batch of clean and masked samples; one caption of each at random."""

    read_clip: SampleReader
    tokenizer: Tokenizer
    tags: TagCache
    text_masking: TextMaskingConfig
    video_masking: VideoMaskingConfig
    grid: tuple[int, int]
    """Rows and columns of the video encoder's final grid: the cells of a tube mask."""
    max_text_length: int
    strict: bool = False
    """Stop at a sample that cannot be read; otherwise the batch is one smaller."""

    def __call__(self, items: Sequence[Captioned], generator: np.random.Generator) -> PretrainingBatch:
        """Read, choose, encode and mask."""
        captions: list[str] = []
        tagged: list[list[TaggedWord] | None] = []

        def read(item: Captioned) -> np.ndarray:
            place = int(generator.integers(len(item.captions)))
            clip = self.read_clip(item, generator)
            captions.append(item.captions[place])
            tagged.append(item.tags(place))
            return clip

        found = read_clips(items, read, lambda item: item.name, strict=self.strict)
        encoded = self.tokenizer.encode(captions, max_length=self.max_text_length)
        masked = mask_text(encoded, self._tags(captions, tagged), self.text_masking, self.tokenizer, generator)
        cells = tube_masks(len(captions), *self.grid, self.video_masking, generator)
        return PretrainingBatch(
            names=found.named.names,
            skipped=found.named.skipped,
            clip=found.clip,
            is_masked_cell=torch.from_numpy(cells),
            token_ids=torch.from_numpy(encoded.token_ids),
            masked_token_ids=torch.from_numpy(masked.token_ids),
            is_token=torch.from_numpy(encoded.is_token),
            targets=torch.from_numpy(masked.targets),
        )

    def _tags(self, captions: Sequence[str], known: Sequence[list[TaggedWord] | None]) -> list[list[TaggedWord]]:
        """Words and parts of speech: those that came with the samples, and the tagger's for the others."""
        computed = iter(self.tags.tag([text for text, words in zip(captions, known, strict=True) if words is None]))
        return [next(computed) if words is None else words for words in known]


@dataclass(frozen=True, kw_only=True)
class LabelCollator:
    """Videos to a batch with the labels that each shows."""

    read_clip: SampleReader
    labels: Mapping[str, Collection[str]]
    """Name of a video to its labels."""
    names: Sequence[str]
    """All labels, in the order of the columns."""
    strict: bool = False
    """Stop at a video that cannot be read; otherwise the batch is one smaller."""

    def __call__(self, items: Sequence[CaptionedVideo], generator: np.random.Generator) -> LabelBatch:
        """Read and look up."""
        found = read_clips(
            items, lambda item: self.read_clip(item, generator), lambda item: item.name, strict=self.strict
        )
        present = [[name in self.labels[item.video_id] for name in self.names] for item in found.items]
        return LabelBatch(
            names=found.named.names,
            skipped=found.named.skipped,
            clip=found.clip,
            labels=torch.tensor(present, dtype=torch.float32),
        )


@dataclass(frozen=True, kw_only=True)
class ClipCollator:
    """Reads the clips of a batch; what the collators of fine-tuning share."""

    read_clip: ClipReader
    tokenizer: Tokenizer
    max_text_length: int
    strict: bool = False
    """Stop at a video that cannot be read; otherwise the batch is one smaller."""

    def read(self, items: Sequence[RowT], generator: np.random.Generator | None) -> ReadClips[RowT]:
        """Rows whose video can be read, and their clips; see `read_clips`."""
        return read_clips(
            items,
            lambda item: self.read_clip(item.video, generator),
            lambda item: str(item.video),
            strict=self.strict,
        )


class PairCollator(ClipCollator):
    """Pairs of video and text to a batch."""

    def __call__(self, items: Sequence[Pair], generator: np.random.Generator | None) -> PairBatch:
        """Read and encode."""
        found = self.read(items, generator)
        encoded = self.tokenizer.encode([item.text for item in found.items], max_length=self.max_text_length)
        return PairBatch(
            names=found.named.names,
            skipped=found.named.skipped,
            clip=found.clip,
            token_ids=torch.from_numpy(encoded.token_ids),
            is_token=torch.from_numpy(encoded.is_token),
        )


class QuestionCollator(ClipCollator):
    """Questions, or sentences with a blank, with a label in the vocabulary to a batch."""

    def __call__(self, items: Sequence[OpenEnded | Cloze], generator: np.random.Generator | None) -> QuestionBatch:
        """Read and encode; a blank survives the cut of a long sentence."""
        found = self.read(items, generator)
        questions = [item.question for item in found.items]
        encoded = self.tokenizer.encode(questions, max_length=self.max_text_length, keep_mask=True)
        token_ids = torch.from_numpy(encoded.token_ids)
        return QuestionBatch(
            names=found.named.names,
            skipped=found.named.skipped,
            clip=found.clip,
            token_ids=token_ids,
            is_token=torch.from_numpy(encoded.is_token),
            is_blank=token_ids == self.tokenizer.mask_id,
            labels=torch.tensor([item.label for item in found.items]),
        )


@dataclass(frozen=True, kw_only=True)
class ChoiceCollator(ClipCollator):
    """Multiple-choice rows to a batch."""

    lists_options: bool = True
    """See `clover.data.text.choice_texts`."""

    def __call__(self, items: Sequence[MultiChoice], generator: np.random.Generator | None) -> ChoiceBatch:
        """Read, compose one text per option, and encode."""
        found = self.read(items, generator)
        texts = [
            text
            for item in found.items
            for text in choice_texts(item.question, item.options, lists_options=self.lists_options)
        ]
        encoded = self.tokenizer.encode(texts, max_length=self.max_text_length)
        shape = (len(found.items), -1)
        return ChoiceBatch(
            names=found.named.names,
            skipped=found.named.skipped,
            clip=found.clip,
            token_ids=torch.from_numpy(encoded.token_ids).unflatten(0, shape),
            is_token=torch.from_numpy(encoded.is_token).unflatten(0, shape),
            labels=torch.tensor([item.label for item in found.items]),
        )
