"""Semantic enhanced masked-language modelling: focal loss over masked places (paper, Eq. 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def focal_loss(
    scores: Float[Tensor, "masked vocabulary"],
    targets: Int[Tensor, " masked"],
    gamma: float = 2.0,
    *,
    num_places: int | None = None,
) -> Float[Tensor, ""]:
    """Mean over masked places of ``(1-p)^γ · (-log p)``; the gradient flows through both factors.

    The printed equation lacks the logarithm; this is the published run's form. A batch without masked places
    gives 0 with a zero gradient, where the published run gives NaN.

    Args:
        scores: Logits at the masked places only.
        targets: The right word pieces.
        gamma: ``γ``: how much easy words are played down; 0 is plain cross-entropy.
        num_places: Masked places of the whole batch where these are only some of them: the sum is divided by it, so
            that the parts of a batch add up to its mean.
    """
    if len(targets) == 0:
        return scores.sum() * 0.0
    wide = torch.promote_types(scores.dtype, torch.float32)
    log_probability = F.log_softmax(scores.to(wide), dim=-1).gather(1, targets[:, None])[:, 0]
    # 1 - p by expm1, so that a sure and right word keeps an exact (tiny) factor instead of 1 - 1 = 0
    losses = (-log_probability.expm1()).pow(gamma) * -log_probability
    return losses.mean() if num_places is None else losses.sum() / num_places
