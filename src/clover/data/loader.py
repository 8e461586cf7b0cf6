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
from clover.data.text import Tokenizer
from clover.errors import DataError, MediaError
from clover.types import OpenEnded

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
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[Future[BatchT]] = deque()
            for step in range(first_step, num_steps):
                waiting.append(pool.submit(self.batch, step))
                if len(waiting) > self.num_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


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
        captions, clips = [], []
        for item in items:
            caption = item.captions[generator.integers(len(item.captions))]
            try:
                clips.append(self.read_clip(item.video, generator))
            except MediaError as error:
                if self.skipped is None:
                    raise
                self.skipped[str(item.video)] = str(error)
                continue
            captions.append(caption)
        if not clips:
            last = list((self.skipped or {}).values())[-1]
            raise DataError(f"none of the {len(items)} videos of a batch can be read; the last: {last}")
        encoded = self.tokenizer.encode(captions, max_length=self.max_text_length)
        masked = mask_text(encoded, self.tags.tag(captions), self.text_masking, self.tokenizer, generator)
        cells = tube_masks(len(clips), *self.grid, self.video_masking, generator)
        return PretrainingBatch(
            clip=torch.from_numpy(np.stack(clips)),
            is_masked_cell=torch.from_numpy(cells),
            token_ids=torch.from_numpy(encoded.token_ids),
            masked_token_ids=torch.from_numpy(masked.token_ids),
            is_token=torch.from_numpy(encoded.is_token),
            targets=torch.from_numpy(masked.targets),
        )


@dataclass(frozen=True, kw_only=True)
class QuestionCollator:
    """Questions with a label in the vocabulary to a batch."""

    read_clip: ClipReader
    tokenizer: Tokenizer
    max_text_length: int

    def __call__(self, items: Sequence[OpenEnded], generator: np.random.Generator | None) -> QuestionBatch:
        """Read and encode."""
        encoded = self.tokenizer.encode([item.question for item in items], max_length=self.max_text_length)
        return QuestionBatch(
            clip=torch.from_numpy(np.stack([self.read_clip(item.video, generator) for item in items])),
            token_ids=torch.from_numpy(encoded.token_ids),
            is_token=torch.from_numpy(encoded.is_token),
            labels=torch.tensor([item.label for item in items]),
        )
