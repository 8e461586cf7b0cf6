"""Attention within windows with an additive bias, on the fastest exact path there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

KEPT_BYTES = 64 << 20
"""Largest attention probabilities of one call that are kept for its backward pass instead of computed again."""
PIECE_SCORES = 1 << 20
"""Scores that are worked on at a time, so that they stay near the processor."""


def window_attention(
    projected: Float[Tensor, "windows l 3 n dh"],
    bias: Float[Tensor, "biases n l l"],
    counts: Sequence[int],
) -> Float[Tensor, "windows l nd"]:
    """Softmax attention of every window; ``bias`` is added to the scaled scores and may need a gradient.

    Windows of the same bias lie together, so that none of it is copied. PyTorch's own attention leaves its fast path
    on processors where the bias needs a gradient; `_BiasedAttention` takes over there.

    Args:
        projected: Query, key and value of every token and head, as one linear layer gives them.
        bias: One bias per stretch of windows.
        counts: Length of each stretch; they add up to the number of windows.

    Returns:
        The mixed values, heads side by side.
    """
    needs_own = bias.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling()
    if needs_own and projected.device.type == "cpu":
        return _BiasedAttention.apply(projected, bias, tuple(counts))
    return _library_attention(projected, bias, counts)


def _library_attention(projected: Tensor, bias: Tensor, counts: Sequence[int]) -> Tensor:
    bias = bias.to(projected.dtype)
    if len(bias) in (1, len(projected)):
        stretches, biases = [projected], [bias]
    else:
        stretches, biases = list(projected.split(list(counts))), list(bias.split(1))
    mixed = []
    for stretch, one in zip(stretches, biases, strict=True):
        query, key, value = stretch.permute(2, 0, 3, 1, 4)
        mixed.append(F.scaled_dot_product_attention(query, key, value, attn_mask=one).transpose(1, 2))
    return (mixed[0] if len(mixed) == 1 else torch.cat(mixed)).flatten(2)


class _BiasedAttention(torch.autograd.Function):
    """Attention by batched matrix products, with the gradient of the bias.

    With ``P = softmax(QKᵀ·s + B)`` and ``O = PV``: ``dV = PᵀdO``, ``dS = P∘(dOVᵀ − rowsum(dO∘O))``, ``dQ = s·dS·K``,
    ``dK = s·dSᵀQ``, and ``dB`` is the sum of ``dS`` over the windows that share the bias. ``P`` is kept where it is
    small, else the forward pass is PyTorch's (which keeps none) and ``P`` is computed again, piece by piece.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, bias: Tensor, counts: tuple[int, ...]) -> Tensor:
        windows, length, _, num_heads, _ = projected.shape
        num_bytes = windows * num_heads * length * length * projected.element_size()
        probabilities = None
        with torch.autocast("cpu", enabled=False):
            if projected.dtype in (torch.float32, torch.float64) and num_bytes <= KEPT_BYTES:
                mixed, probabilities = _attend(projected, bias.to(projected.dtype), counts)
            else:
                mixed = _library_attention(projected, bias.detach(), counts).contiguous()
        ctx.save_for_backward(projected, bias, mixed, probabilities)
        ctx.counts = counts
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        projected, bias, mixed, probabilities = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            projected_gradient, bias_gradient = _attend_backward(
                projected, bias, mixed, probabilities, ctx.counts, gradient
            )
        return projected_gradient.to(projected.dtype), bias_gradient.to(bias.dtype), None


class _Batching:
    """How the matrix products of one call are batched: over the windows of one head, or over the heads of one window.

    Whichever makes fewer products; both are views of what the linear layers give. The first is the outer axis, which
    is looped over, the other the inner one, of which a piece is taken at a time.
    """

    def __init__(self, projected: Tensor, counts: tuple[int, ...]) -> None:
        windows, length, _, num_heads, _ = projected.shape
        self.counts = counts
        self.is_by_head = num_heads * len(counts) <= windows
        self.outer_inner = "n w" if self.is_by_head else "w n"
        self.num_scores = length * length
        self.scores_shape = (*((num_heads, windows) if self.is_by_head else (windows, num_heads)), length, length)
        self.most = max(1, PIECE_SCORES // self.num_scores)

    def apart(self, tokens: Tensor) -> Tensor:
        """``[windows l .. n dh]`` to ``[.. outer inner l dh]``, a view."""
        return rearrange(tokens, f"w l ... n d -> ... {self.outer_inner} l d")

    def together(self, tokens: Tensor) -> Tensor:
        """The inverse of `apart`, a copy."""
        return rearrange(tokens, f"... {self.outer_inner} l d -> w l ... n d").contiguous()

    def pieces(self) -> Iterator[tuple[tuple[int, slice], tuple[int, int | slice]]]:
        """Every piece's places on the outer and inner axis, and the place of its bias among ``[biases n]``."""
        first = 0
        for row, count in enumerate(self.counts):
            stretch = range(first, first + count)
            heads = range(self.scores_shape[0] if self.is_by_head else self.scores_shape[1])
            outer, inner = (heads, stretch) if self.is_by_head else (stretch, heads)
            for place in outer:
                for start in range(inner.start, inner.stop, self.most):
                    piece = slice(start, min(start + self.most, inner.stop))
                    yield (place, piece), (row, place if self.is_by_head else piece)
            first += count


def _attend(projected: Tensor, bias: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mixed values ``[windows l nd]``, and the probabilities as `_Batching` lays them out."""
    batching = _Batching(projected, counts)
    query, key, value = batching.apart(projected)
    probabilities = projected.new_empty(batching.scores_shape)
    mixed = projected.new_empty(query.shape)
    for piece, place in batching.pieces():
        scores = _scores(query[piece], key[piece], bias[place])
        torch.softmax(scores, dim=-1, out=probabilities[piece])
        torch.bmm(probabilities[piece], value[piece], out=mixed[piece])
    return batching.together(mixed).flatten(2), probabilities


def _scores(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5)


def _attend_backward(
    projected: Tensor,
    bias: Tensor,
    mixed: Tensor,
    probabilities: Tensor | None,
    counts: tuple[int, ...],
    gradient: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``projected`` and ``bias``; narrow number formats are worked on in float32."""
    wide = torch.promote_types(projected.dtype, torch.float32)
    batching = _Batching(projected, counts)
    query, key, value = batching.apart(projected)
    scale = query.shape[-1] ** -0.5
    per_head = (len(mixed), mixed.shape[1], *projected.shape[3:])
    down = batching.apart(gradient.reshape(per_head))
    row_sums = batching.apart((gradient.to(wide) * mixed).view(per_head).sum(-1, keepdim=True))
    results = projected.new_empty((3, *query.shape), dtype=wide)
    bias_gradient = torch.zeros_like(bias, dtype=wide)
    for piece, place in batching.pieces():
        q, k, v, d = (tensor[piece].to(wide) for tensor in (query, key, value, down))
        p = _scores(q, k, bias[place].to(wide)).softmax(dim=-1) if probabilities is None else probabilities[piece]
        s = torch.bmm(d, v.transpose(1, 2)).sub_(row_sums[piece]).mul_(p)
        bias_gradient[place] += s.sum(dim=0) if batching.is_by_head else s
        results[0][piece].baddbmm_(s, k, beta=0, alpha=scale)
        results[1][piece].baddbmm_(s.transpose(1, 2), q, beta=0, alpha=scale)
        torch.bmm(p.transpose(1, 2), d, out=results[2][piece])
    return batching.together(results), bias_gradient
