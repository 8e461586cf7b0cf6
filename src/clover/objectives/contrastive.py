"""Aligning embeddings: InfoNCE, exclusive-NCE and pair-wise ranking (paper, Eq. 2 to 4).

All functions take embeddings that are not normalised and compare them by cosine similarity over a temperature,
as the published run does (the paper writes a dot product).

Whatever compares all samples with all takes ``rows``: the samples whose losses are wanted, as a range of the batch, so
that many processes share a large batch, or one computes it piece by piece. None gives all, in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MOST_PAIRS = 4096**2
"""Pairs of samples that are compared at a time; of a larger batch, so many rows together as this allows."""


def similarities(
    rows: Float[Tensor, "b d"], columns: Float[Tensor, "b2 d"], temperature: float
) -> Float[Tensor, "b b2"]:
    """Cosine of every row with every column, divided by the temperature; in float32, or wider if that comes in.

    Under autocast too: bfloat16 keeps three digits, of which a cosine over 0.05 needs two before the point.
    """
    normalised = [_unit(part) for part in (rows, columns)]
    has_autocast = torch.amp.is_autocast_available(rows.device.type)
    with torch.autocast(rows.device.type, enabled=False) if has_autocast else nullcontext():
        return normalised[0] @ normalised[1].T / temperature


def info_nce(
    anchor: Float[Tensor, "b d"],
    positive: Float[Tensor, "b d"],
    temperature: float = 0.05,
    rows: slice | None = None,
) -> Float[Tensor, " rows"]:
    """Loss of finding each anchor's positive among all positives of the batch (one direction, per sample)."""
    scores = similarities(rows_of(anchor, rows), positive, temperature)
    return _cross_entropy_with_own(scores, _first(rows))


def symmetric_info_nce(
    video: Float[Tensor, "b d"], text: Float[Tensor, "b d"], temperature: float = 0.05, rows: slice | None = None
) -> Float[Tensor, ""]:
    """Fine-tuning loss of retrieval: mean video-to-text plus mean text-to-video, not halved (published run).

    Of some rows, what they add to the mean over the batch.
    """
    if rows is not None:
        both = info_nce(video, text, temperature, rows) + info_nce(text, video, temperature, rows)
        return both.sum() / len(video)
    scores = similarities(video, text, temperature)
    return (_cross_entropy_with_own(scores) + _cross_entropy_with_own(scores.T)).mean()


def exclusive_nce(
    anchor: Float[Tensor, "b d"],
    positives: Sequence[Float[Tensor, "b d"]],
    temperature: float = 0.05,
    rows: slice | None = None,
) -> Float[Tensor, "terms rows"]:
    """Eq. 2: one term per positive; negatives of all kinds are shared, the sample's other positives left out.

    Args:
        anchor: ``V_e`` (or ``T_e``).
        positives: ``T_e``, ``T_m`` and the fused embedding (or their mirror images).
        temperature: ``τ``.
        rows: The samples whose losses are wanted.

    Returns:
        The loss of every term for every sample; the paper sums over both.
    """
    anchors, first = rows_of(anchor, rows), _first(rows)
    scores = torch.stack([similarities(anchors, positive, temperature) for positive in positives])
    own = scores.diagonal(offset=first, dim1=1, dim2=2)
    places = torch.arange(len(anchor), device=anchor.device)
    is_own = places == places[first : first + len(anchors), None]
    negatives = scores.masked_fill(is_own, float("-inf")).transpose(0, 1).flatten(1)
    log_negatives = negatives.logsumexp(dim=1) if len(anchor) > 1 else torch.full_like(own[0], float("-inf"))
    return torch.logaddexp(own, log_negatives.expand_as(own)) - own


def towards_anchor(
    anchor: Float[Tensor, "b d"],
    positives: Sequence[Float[Tensor, "b d"]],
    temperature: float = 0.05,
    rows: slice | None = None,
) -> Float[Tensor, "terms rows"]:
    """Eq. 3: plain InfoNCE from every positive over all anchors, per term and sample."""
    return torch.stack([info_nce(positive, anchor, temperature, rows) for positive in positives])


def ranking(
    anchor: Float[Tensor, "b d"],
    complete: Float[Tensor, "b d"],
    masked: Float[Tensor, "b d"],
    *,
    margin: float = 5.0,
    temperature: float = 0.05,
) -> Float[Tensor, " b"]:
    """Eq. 4, one hinge: a complete sample must be closer to its anchor than its masked version is.

    The margin ``λ`` acts on similarities already divided by the temperature: 5 at 0.05 is a cosine gap of 0.25.
    """

    def closeness(other: Tensor) -> Tensor:
        normalised = [_unit(part) for part in (anchor, other)]
        return (normalised[0] * normalised[1]).sum(dim=-1) / temperature

    return F.relu(margin - closeness(complete) + closeness(masked))


def _unit(embeddings: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    return F.normalize(embeddings.to(wide), dim=-1, eps=1e-8)


def row_blocks(own: slice, num_samples: int, most_pairs: int = MOST_PAIRS) -> list[slice | None]:
    """Ranges of samples, one after the other, that are compared with the whole batch at a time.

    Args:
        own: The samples of this process.
        num_samples: Of the whole batch.
        most_pairs: Of a range's samples and the batch's.

    Returns:
        None where it is the whole batch in one piece.
    """
    size = max(1, most_pairs // num_samples)
    if own.stop - own.start == num_samples <= size:
        return [None]
    return [slice(first, min(first + size, own.stop)) for first in range(own.start, own.stop, size)]


def rows_of(embeddings: Float[Tensor, "b d"], rows: slice | None) -> Float[Tensor, "rows d"]:
    """Those of some samples, or all."""
    return embeddings if rows is None else embeddings[rows]


def _first(rows: slice | None) -> int:
    return 0 if rows is None else rows.start


def _cross_entropy_with_own(scores: Float[Tensor, "rows b"], first: int = 0) -> Float[Tensor, " rows"]:
    """Against the column of the row's own sample, ``first`` columns from the row's number."""
    return scores.logsumexp(dim=1) - scores.diagonal(offset=first)
