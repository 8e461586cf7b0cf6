"""Texts of like length beside each other: a micro-batch is then cut to its own longest text, not to the batch's."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from clover.data.batches import num_samples

BatchT = TypeVar("BatchT")


def longest_first(batch: BatchT) -> BatchT:
    """The same samples, those with the longest text first; among equals the order stays.

    Losses look at a batch as a set, so that no order need be restored. The first micro-batch is the one that needs
    most memory: what does not fit is known at once. A batch without texts stays as it is.
    """
    is_token = getattr(batch, "is_token", None)
    if is_token is None:
        return batch
    order = _lengths(is_token).argsort(descending=True, stable=True)
    places, total = order.tolist(), num_samples(batch)
    ordered: dict[str, Any] = {}
    for name, value in _values(batch).items():
        if isinstance(value, Tensor):
            ordered[name] = value.index_select(0, order)
        elif isinstance(value, tuple) and len(value) == total:
            ordered[name] = tuple(value[place] for place in places)
    return replace(batch, **ordered)  # type: ignore[type-var]


def cut_to_longest(batch: BatchT) -> BatchT:
    """The same samples without the places where every text is padding; views of the batch."""
    is_token = getattr(batch, "is_token", None)
    if is_token is None:
        return batch
    length = int(_lengths(is_token).max())
    cut = {
        name: value[..., :length]
        for name, value in _values(batch).items()
        if isinstance(value, Tensor) and value.shape == is_token.shape
    }
    return replace(batch, **cut)  # type: ignore[type-var]


def _lengths(is_token: Tensor) -> Tensor:
    """Tokens of the longest text of every sample, which may have one text or several: ``[b]``."""
    return is_token.sum(dim=-1).view(len(is_token), -1).amax(dim=1).to(torch.int64)


def _values(batch: Any) -> dict[str, Any]:
    return {field.name: getattr(batch, field.name) for field in fields(batch)}
