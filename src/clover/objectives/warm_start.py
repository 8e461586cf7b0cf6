"""Objectives of the warm start: what Kinetics labels and BERT's pre-training are to the paper's encoders."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def label_loss(scores: Float[Tensor, "b labels"], is_present: Float[Tensor, "b labels"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of every label, summed over labels and averaged over videos.

    Args:
        scores: Logits.
        is_present: 1 where the video shows what the label names, else 0.
    """
    return F.binary_cross_entropy_with_logits(scores.float(), is_present, reduction="sum") / len(scores)
