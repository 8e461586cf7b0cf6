"""Semantic enhanced masked-language modelling: focal loss over masked places (paper, Eq. 5)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def focal_loss(
    scores: Float[Tensor, "masked vocabulary"], targets: Int[Tensor, " masked"], gamma: float = 2.0
) -> Float[Tensor, ""]:
    """Mean over masked places of ``(1-p)^γ · (-log p)``; the gradient flows through both factors.

    The printed equation lacks the logarithm; this is the published run's form. A batch without masked places
    gives 0 with a zero gradient, where the published run gives NaN.

    Args:
        scores: Logits at the masked places only.
        targets: The right word pieces.
        gamma: ``γ``: how much easy words are played down; 0 is plain cross-entropy.
    """
    if len(targets) == 0:
        return scores.sum() * 0.0
    log_probability = F.log_softmax(scores.float(), dim=-1).gather(1, targets[:, None])[:, 0]
    # 1 - p by expm1, so that a sure and right word keeps an exact (tiny) factor instead of 1 - 1 = 0
    return ((-log_probability.expm1()).pow(gamma) * -log_probability).mean()
