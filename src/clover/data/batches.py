"""What every batch can do, whatever is in it: be counted, and be cut into parts."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

BatchT = TypeVar("BatchT")


def num_samples(batch: Any) -> int:
    """Samples of a batch: rows of its tensors."""
    return next(len(value) for value in _values(batch).values() if isinstance(value, Tensor))


def device_of(batch: Any) -> torch.device:
    """Where a batch lies."""
    return next(value.device for value in _values(batch).values() if isinstance(value, Tensor))


def micro_batches(batch: BatchT, size: int) -> list[BatchT]:
    """Consecutive parts of ``size`` samples, views of the batch; the last may have fewer. 0 gives the batch whole.

    Args:
        batch: A dataclass or tuple of tensors that have a row a sample; tuples in it have an entry a sample or are
            left out of the parts.
        size: Samples of a part.
    """
    total = num_samples(batch)
    if not 0 < size < total:
        return [batch]
    return [_part(batch, slice(start, start + size), total) for start in range(0, total, size)]


def _part(batch: BatchT, rows: slice, total: int) -> BatchT:
    cut = {
        name: value[rows] if len(value) == total else ()
        for name, value in _values(batch).items()
        if isinstance(value, Tensor | tuple)
    }
    if is_dataclass(batch):
        return replace(batch, **cut)  # type: ignore[type-var]
    return tuple(cut.values())  # type: ignore[return-value]


def _values(batch: Any) -> dict[str, Any]:
    if is_dataclass(batch):
        return {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {str(place): value for place, value in enumerate(batch)}
