"""Answering: cross-entropy over candidates or over the answer vocabulary."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def answer_loss(scores: Float[Tensor, "b answers"], labels: Int[Tensor, " b"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the right answer (or choice).

    Args:
        scores: Logits over the answer vocabulary, or over the choices of a question.
        labels: The right one's place; questions whose answer is outside the vocabulary must not come here.
    """
    return F.cross_entropy(scores.float(), labels)
