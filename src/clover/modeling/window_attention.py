"""Attention within windows with an additive bias, on the fastest exact path there is."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def window_attention(
    query: Float[Tensor, "b windows n l dh"],
    key: Float[Tensor, "b windows n l dh"],
    value: Float[Tensor, "b windows n l dh"],
    bias: Float[Tensor, "windows_or_1 n l l"],
) -> Float[Tensor, "b windows n l dh"]:
    """Softmax attention of every window; ``bias`` is added to the scaled scores and may need a gradient.

    Windows and heads are one axis, so that the bias broadcasts over the batch without being copied.
    """
    windows, num_heads = query.shape[1:3]
    bias = bias.expand(windows, -1, -1, -1).flatten(0, 1)[None]
    mixed = F.scaled_dot_product_attention(query.flatten(1, 2), key.flatten(1, 2), value.flatten(1, 2), attn_mask=bias)
    return mixed.unflatten(1, (windows, num_heads))
