"""Batches in which every video comes with the most similar wrong texts of its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clover.data.captioned import Captioned
from clover.data.collators import PretrainingBatch, PretrainingCollator


@dataclass(frozen=True, kw_only=True)
class PairedBatch(PretrainingBatch):
    """A pre-training batch, and for every video its own text and others, its own first."""

    pair_token_ids: Int[Tensor, "b k l2"]
    pair_is_token: Bool[Tensor, "b k l2"]


@dataclass(frozen=True, kw_only=True)
class PairedCollator:
    """Captioned media to such a batch.

    The texts are chosen here, by their words, so that what a sample is compared with does not depend on how the batch
    is cut afterwards.
    """

    plain: PretrainingCollator
    num_others: int
    """Wrong texts of a video, at least 1."""

    def __call__(self, items: Sequence[Captioned], generator: np.random.Generator) -> PairedBatch:
        """Read, choose, encode and mask."""
        batch = self.plain(items, generator)
        others = most_similar(batch.token_ids, batch.is_token, self.num_others)
        places = torch.cat([torch.arange(len(others))[:, None], others], dim=1)
        return PairedBatch(**vars(batch), pair_token_ids=batch.token_ids[places], pair_is_token=batch.is_token[places])


def most_similar(token_ids: Int[Tensor, "b l"], is_token: Bool[Tensor, "b l"], count: int) -> Int[Tensor, "b count"]:
    """Places of the texts that share most words with each, by intersection over union of their word pieces.

    Those with the very same words come last. Where there are too few others they are repeated; a text that is alone
    gets itself.

    Args:
        token_ids: Texts.
        is_token: False at padding.
        count: How many of each.
    """
    num_texts = len(token_ids)
    if num_texts == 1:
        return torch.zeros(1, count, dtype=torch.long)
    words, place = token_ids.unique(return_inverse=True)
    has_word = torch.zeros(num_texts, len(words) + 1)
    has_word.scatter_(1, place.masked_fill(~is_token, len(words)), 1.0)  # padding goes to a column of its own
    has_word = has_word[:, :-1]
    shared = has_word @ has_word.T
    sizes = has_word.sum(dim=1)
    overlap = shared / (sizes[:, None] + sizes - shared)
    overlap = overlap.masked_fill(overlap >= 1.0, -1.0)
    order = overlap.fill_diagonal_(-2.0).argsort(dim=1, descending=True, stable=True)[:, :-1]
    return order[:, torch.arange(count) % (num_texts - 1)]
