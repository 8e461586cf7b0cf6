"""How a map of tokens falls into (shifted) windows: positions, who may attend to whom, and in which order they lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Size = tuple[int, int, int]
"""Extents in time, height and width."""

# Tables are computed once, on the processor, and moved; `torch.compile` takes them as constants. It looks a function up
# by the name of its code, so each is a plain function of the module, with its cache beside it.


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def relative_position_index(window: Size) -> Int[Tensor, "n n"]:
    """Row of the bias table for every pair of tokens of a window, tokens counted time-major."""
    axes = torch.meshgrid(*(torch.arange(extent, device="cpu") for extent in window), indexing="ij")
    coordinates = torch.stack(axes).flatten(1)
    distance = coordinates[:, :, None] - coordinates[:, None, :]
    index = torch.zeros_like(distance[0])
    for axis, extent in enumerate(window):
        index = index * (2 * extent - 1) + distance[axis] + extent - 1
    return index


@torch.compiler.assume_constant_result
def clipped_position_index(full: Size, used: Size, rule: str, device: torch.device) -> Int[Tensor, "n n"]:
    """Rows of the full window's bias table for a window clipped to ``used``; see `clipped_window_bias`."""
    return _clipped_position_index(full, used, rule, device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _clipped_position_index(full: Size, used: Size, rule: str, device: torch.device) -> Tensor:
    index = relative_position_index(full)
    if rule == "published":
        places = torch.arange(prod(used), device="cpu")
    else:
        axes = torch.meshgrid(*(torch.arange(extent, device="cpu") for extent in used), indexing="ij")
        t, h, w = (axis.flatten() for axis in axes)
        places = (t * full[1] + h) * full[2] + w
    return index[places][:, places].to(device)


_NEIGHBOURS = ((0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 1), (0, -1, -1))


def local_position_bias(window: Size, num_heads: int) -> Float[Tensor, "distances n"]:
    """A bias table with which attention starts like a convolution (the idea of d'Ascoli et al., ConViT, 2021).

    Head ``i`` prefers neighbour ``i`` of eight (right, left, below, above, later, earlier, two diagonals, then from
    the start again): minus the squared distance from it, at least -8.
    """
    axes = torch.meshgrid(*(torch.arange(1 - extent, extent, device="cpu") for extent in window), indexing="ij")
    distances = torch.stack(axes, dim=-1).flatten(0, 2)
    preferred = torch.tensor([_NEIGHBOURS[head % len(_NEIGHBOURS)] for head in range(num_heads)])
    return -(distances[:, None] - preferred).square().sum(dim=-1).clamp(max=8).float()


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def blocked_pairs(size: Size, window: Size, shift: Size) -> Bool[Tensor, "windows n n"]:
    """Pairs that a shifted window brings together although they are not neighbours: True = must not attend."""
    region = torch.zeros(size, dtype=torch.long, device="cpu")
    for axis, (extent, reach, moved) in enumerate(zip(size, window, shift, strict=True)):
        place = torch.arange(extent, device="cpu")
        label = (place >= extent - reach).long() + (place >= extent - moved).long() if moved else place * 0
        region = region * 3 + label.view([-1 if axis == other else 1 for other in range(3)])
    windows = split_windows(region[None, ..., None], window)[0, ..., 0]
    return windows[:, :, None] != windows[:, None, :]


def split_windows(tokens: Tensor, window: Size) -> Tensor:
    """``[b t h w d]`` to ``[b windows n d]``; the extents are multiples of the window."""
    b, t, h, w, d = tokens.shape
    wt, wh, ww = window
    blocks = tokens.view(b, t // wt, wt, h // wh, wh, w // ww, ww, d)
    return blocks.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, -1, wt * wh * ww, d)


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowOrder:
    """Tokens of a batch of maps, window after window; windows where the same pairs are blocked lie together.

    Shifting the map, cutting it into windows and sorting these is one permutation, so it costs one copy.
    """

    order: Int[Tensor, "2 tokens"]
    """For every token in window order, its place in the batch of maps; and the inverse."""
    is_same: bool
    """Both orders are the same: there is nothing to move."""
    tokens_per_window: int
    blocked: Bool[Tensor, "kinds n n"]
    """The different masks that occur: True = must not attend. Nothing is blocked in the first."""
    counts: tuple[int, ...]
    """Number of windows, over the whole batch, that each mask holds for."""

    def split(self, maps: Float[Tensor, "b t h w d"]) -> Float[Tensor, "windows n d"]:
        """The tokens of all windows of all maps."""
        rows = maps.flatten(0, 3)
        moved = rows if self.is_same else _Permutation.apply(rows, self.order)
        return moved.view(-1, self.tokens_per_window, rows.shape[1])

    def join(self, windows: Float[Tensor, "windows n d"], batch_size: int, size: Size) -> Float[Tensor, "b t h w d"]:
        """The inverse of `split`."""
        rows = windows.flatten(0, 1)
        moved = rows if self.is_same else _Permutation.apply(rows, self.order.flip(0))
        return moved.view(batch_size, *size, rows.shape[1])


def window_order(batch_size: int, size: Size, window: Size, shift: Size, device: torch.device) -> WindowOrder:
    """The order for maps of a size; the extents are multiples of the window.

    A shift brings strangers together in the last windows of its axis only: along an axis there are the windows
    before the last, and the last. What differs in no axis is one kind.
    """
    along = [
        (extent // reach - 1, 1) if moved else (extent // reach,)
        for extent, reach, moved in zip(size, window, shift, strict=True)
    ]
    is_one_stretch = not any(shift) and size[1:] == window[1:] and (batch_size == 1 or size[0] == window[0])
    return WindowOrder(
        order=_token_order(batch_size, size, window, shift, device),
        is_same=is_one_stretch,
        tokens_per_window=prod(window),
        blocked=_blocked_by_kind(size, window, shift, device),
        counts=tuple(batch_size * prod(counts) for counts in product(*along)),
    )


def _kind_of_windows(size: Size, window: Size, shift: Size) -> Int[Tensor, " windows"]:
    """For every window of one map, its kind: two for every axis that is shifted."""
    kind = torch.zeros(1, dtype=torch.long, device="cpu")
    for extent, reach, moved in zip(size, window, shift, strict=True):
        is_last = torch.arange(extent // reach, device="cpu") == extent // reach - 1
        along = is_last.long() if moved else is_last * 0
        kind = (kind[:, None] * (2 if moved else 1) + along).flatten()
    return kind


@torch.compiler.assume_constant_result
def _token_order(
    batch_size: int, size: Size, window: Size, shift: Size, device: torch.device
) -> Int[Tensor, "2 tokens"]:
    return _cached_token_order(batch_size, size, window, shift, device)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _cached_token_order(batch_size: int, size: Size, window: Size, shift: Size, device: torch.device) -> Tensor:
    places = torch.arange(prod(size), device="cpu").view(1, *size, 1).roll([-moved for moved in shift], dims=(1, 2, 3))
    places = split_windows(places, window)[0, :, :, 0][_kind_of_windows(size, window, shift).argsort(stable=True)]
    order = (places[:, None] + torch.arange(batch_size, device="cpu")[:, None] * prod(size)).flatten()
    return torch.stack([order, order.argsort()]).int().to(device)


@torch.compiler.assume_constant_result
def _blocked_by_kind(size: Size, window: Size, shift: Size, device: torch.device) -> Bool[Tensor, "kinds n n"]:
    return _cached_blocked_by_kind(size, window, shift, device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _cached_blocked_by_kind(size: Size, window: Size, shift: Size, device: torch.device) -> Tensor:
    kind = _kind_of_windows(size, window, shift)
    first = (kind == torch.arange(int(kind.max()) + 1, device="cpu")[:, None]).int().argmax(dim=1)
    return blocked_pairs(size, window, shift)[first].to(device)


class _Permutation(torch.autograd.Function):
    """Rows in another order. The gradient is a copy too; that of indexing would be a sum into zeros."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return rows.index_select(0, order[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return _Permutation.apply(gradient, order.flip(0)), None
