"""Records to batches: the order, the randomness and the position, all functions of the seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from clover.data.masking import TextMaskingConfig, VideoMaskingConfig, mask_text, tube_masks
from clover.data.tagging import TagCache
from clover.data.text import Tokenizer, choice_texts
from clover.errors import DataError, MediaError
from clover.types import Cloze, MultiChoice, OpenEnded, Pair

ItemT = TypeVar("ItemT")
BatchT = TypeVar("BatchT")

ClipReader = Callable[[Path, np.random.Generator | None], np.ndarray]
"""Video and randomness (None in tests) to a clip ``[t h w 3]`` of uint8."""


@dataclass(frozen=True, kw_only=True)
class CaptionedVideo:
    """One video and all texts that describe it."""

    video: Path
    video_id: str
    captions: tuple[str, ...]


MediaT = TypeVar("MediaT", CaptionedVideo, Pair, MultiChoice, OpenEnded, Cloze, OpenEnded | Cloze)


@dataclass(frozen=True, kw_only=True)
class PretrainingBatch:
    """Clean and masked samples of one step."""

    clip: UInt8[Tensor, "b t h w 3"]
    is_masked_cell: Bool[Tensor, "b gh gw"]
    token_ids: Int[Tensor, "b l"]
    masked_token_ids: Int[Tensor, "b l"]
    is_token: Bool[Tensor, "b l"]
    targets: Int[Tensor, "b l"]
    """The original ids at masked places, `IGNORED` elsewhere."""


@dataclass(frozen=True, kw_only=True)
class QuestionBatch:
    """Questions about videos."""

    clip: UInt8[Tensor, "b t h w 3"]
    token_ids: Int[Tensor, "b l"]
    is_token: Bool[Tensor, "b l"]
    is_blank: Bool[Tensor, "b l"]
    """Where a [MASK] stands."""
    labels: Int[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """Videos and a text of each."""

    clip: UInt8[Tensor, "b t h w 3"]
    token_ids: Int[Tensor, "b l"]
    is_token: Bool[Tensor, "b l"]


@dataclass(frozen=True, kw_only=True)
class ChoiceBatch:
    """Videos and a composed text per option of a question about each."""

    clip: UInt8[Tensor, "b t h w 3"]
    token_ids: Int[Tensor, "b k l"]
    is_token: Bool[Tensor, "b k l"]
    labels: Int[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class Loader(Generic[ItemT, BatchT]):
    """Batches of a run from any step on; the same whatever the number of threads.

    Every epoch is a new permutation; what does not fill a batch at its end is left to later epochs.
    """

    items: Sequence[ItemT]
    make_batch: Callable[[Sequence[ItemT], np.random.Generator], BatchT]
    batch_size: int
    seed: int
    num_ahead: int = 2
    """Batches prepared while the network works."""

    def __post_init__(self) -> None:
        if len(self.items) < self.batch_size:
            raise DataError(
                f"{len(self.items)} samples do not fill a batch of {self.batch_size}; give more data or a smaller batch"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the items."""
        return len(self.items) // self.batch_size

    def batch(self, step: int) -> BatchT:
        """The batch of one step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.items))
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        return self.make_batch([self.items[row] for row in chosen], np.random.default_rng([self.seed, 2, step]))

    def batches(self, first_step: int, num_steps: int) -> Iterator[BatchT]:
        """Batches of steps ``first_step`` to ``num_steps - 1``, prepared ahead."""
        pool = ThreadPoolExecutor(1)
        waiting: deque[Future[BatchT]] = deque()
        try:
            for step in range(first_step, num_steps):
                waiting.append(pool.submit(self.batch, step))
                if len(waiting) > self.num_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def read_clips(
    items: Sequence[MediaT], read: Callable[[MediaT], np.ndarray], skipped: dict[str, str] | None
) -> tuple[list[MediaT], UInt8[Tensor, "b t h w 3"]]:
    """Items whose video can be read, and their clips; a batch gets smaller by the others.

    Args:
        items: Records with a ``video``.
        read: Reads the clip ``[t h w 3]`` of one.
        skipped: Gets the videos that cannot be read, and why; None stops at the first.

    Raises:
        DataError: none can be read.
        MediaError: where nothing may be skipped, one cannot be read.
    """
    kept: list[MediaT] = []
    clips: list[np.ndarray] = []
    for item in items:
        try:
            clips.append(read(item))
        except MediaError as error:
            if skipped is None:
                raise
            skipped[str(item.video)] = str(error)
        else:
            kept.append(item)
    if not clips:
        last = list((skipped or {}).values())[-1]
        raise DataError(f"none of the {len(items)} videos of a batch can be read; the last: {last}")
    return kept, torch.from_numpy(np.stack(clips))


@dataclass(frozen=True, kw_only=True)
class PretrainingCollator:
    """Captioned videos to a batch of clean and masked samples; one caption of each video at random."""

    read_clip: ClipReader
    tokenizer: Tokenizer
    tags: TagCache
    text_masking: TextMaskingConfig
    video_masking: VideoMaskingConfig
    grid: tuple[int, int]
    """Rows and columns of the video encoder's final grid: the cells of a tube mask."""
    max_text_length: int
    skipped: dict[str, str] | None = field(default_factory=dict)
    """Videos that could not be read, and why; None stops at the first."""

    def __call__(self, items: Sequence[CaptionedVideo], generator: np.random.Generator) -> PretrainingBatch:
        """Read, choose, encode and mask. A video that cannot be read makes the batch one smaller."""
        captions: list[str] = []

        def read(item: CaptionedVideo) -> np.ndarray:
            caption = item.captions[generator.integers(len(item.captions))]
            clip = self.read_clip(item.video, generator)
            captions.append(caption)
            return clip

        kept, clip = read_clips(items, read, self.skipped)
        encoded = self.tokenizer.encode(captions, max_length=self.max_text_length)
        masked = mask_text(encoded, self.tags.tag(captions), self.text_masking, self.tokenizer, generator)
        cells = tube_masks(len(kept), *self.grid, self.video_masking, generator)
        return PretrainingBatch(
            clip=clip,
            is_masked_cell=torch.from_numpy(cells),
            token_ids=torch.from_numpy(encoded.token_ids),
            masked_token_ids=torch.from_numpy(masked.token_ids),
            is_token=torch.from_numpy(encoded.is_token),
            targets=torch.from_numpy(masked.targets),
        )


@dataclass(frozen=True, kw_only=True)
class ClipCollator:
    """Reads the clips of a batch; what the collators of fine-tuning share."""

    read_clip: ClipReader
    tokenizer: Tokenizer
    max_text_length: int
    skipped: dict[str, str] | None = field(default_factory=dict)
    """Videos that could not be read, and why; None stops at the first."""

    def clips(self, items: Sequence[MediaT], generator: np.random.Generator | None) -> tuple[list[MediaT], Tensor]:
        """Items whose video can be read, and their clips; see `read_clips`."""
        return read_clips(items, lambda item: self.read_clip(item.video, generator), self.skipped)


class PairCollator(ClipCollator):
    """Pairs of video and text to a batch."""

    def __call__(self, items: Sequence[Pair], generator: np.random.Generator | None) -> PairBatch:
        """Read and encode."""
        kept, clip = self.clips(items, generator)
        encoded = self.tokenizer.encode([item.text for item in kept], max_length=self.max_text_length)
        return PairBatch(
            clip=clip,
            token_ids=torch.from_numpy(encoded.token_ids),
            is_token=torch.from_numpy(encoded.is_token),
        )


class QuestionCollator(ClipCollator):
    """Questions, or sentences with a blank, with a label in the vocabulary to a batch."""

    def __call__(self, items: Sequence[OpenEnded | Cloze], generator: np.random.Generator | None) -> QuestionBatch:
        """Read and encode; a blank survives the cut of a long sentence."""
        kept, clip = self.clips(items, generator)
        questions = [item.question for item in kept]
        encoded = self.tokenizer.encode(questions, max_length=self.max_text_length, keep_mask=True)
        token_ids = torch.from_numpy(encoded.token_ids)
        return QuestionBatch(
            clip=clip,
            token_ids=token_ids,
            is_token=torch.from_numpy(encoded.is_token),
            is_blank=token_ids == self.tokenizer.mask_id,
            labels=torch.tensor([item.label for item in kept]),
        )


@dataclass(frozen=True, kw_only=True)
class ChoiceCollator(ClipCollator):
    """Multiple-choice rows to a batch."""

    lists_options: bool = True
    """See `clover.data.text.choice_texts`."""

    def __call__(self, items: Sequence[MultiChoice], generator: np.random.Generator | None) -> ChoiceBatch:
        """Read, compose one text per option, and encode."""
        kept, clip = self.clips(items, generator)
        texts = [
            text
            for item in kept
            for text in choice_texts(item.question, item.options, lists_options=self.lists_options)
        ]
        encoded = self.tokenizer.encode(texts, max_length=self.max_text_length)
        shape = (len(kept), -1)
        return ChoiceBatch(
            clip=clip,
            token_ids=torch.from_numpy(encoded.token_ids).unflatten(0, shape),
            is_token=torch.from_numpy(encoded.is_token).unflatten(0, shape),
            labels=torch.tensor([item.label for item in kept]),
        )
