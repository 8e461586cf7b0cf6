"""The paper's sum (Eq. 6), its published variant, and the systems it is compared with, as weighted named terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clover.errors import ConfigError
from clover.modeling.model import PretrainingOutput
from clover.objectives import contrastive
from clover.objectives.masked_words import focal_loss


@dataclass(frozen=True, kw_only=True)
class PretrainingObjectiveConfig:
    """Weights of the terms; the defaults are the published run's (method, section 3)."""

    alignment: Literal["tri-modal", "pair-wise", "none"] = "tri-modal"
    """Tri-modal exclusive-NCE, plain InfoNCE between complete video and text (the paper's baseline), or nothing."""
    temperature: float = 0.05
    """``τ``: similarities are divided by it."""
    towards_anchor_weight: float = 1 / 3
    """Weight of Eq. 3 against Eq. 2: 1/3 in the published run, 1 in the paper."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over the samples of a batch: mean in the published run, sum in the paper's Eq. 2 and 3."""
    alignment_weight: float = 1.0
    """Weight of the alignment terms."""
    ranking_weight: float = 1.0
    """Weight of the pair-wise ranking; 0 leaves it out."""
    ranking_margin: float = 5.0
    """``λ``, on similarities already divided by the temperature."""
    published_num_processes: int = 1
    """Divides the weight of every term that compares embeddings. Here gradients are the same on any number of
    processes; the published run's gather made these terms weigh one over its number of processes, which were 32."""
    masked_word_weight: float = 1.0
    """Weight of masked-word prediction; 0 leaves it out."""
    focal_gamma: float = 2.0
    """``γ`` of the focal loss."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; it must be above 0")

        if self.published_num_processes < 1:
            raise ConfigError(f"published_num_processes is {self.published_num_processes}; give 1 or more")

    @property
    def compared(self) -> tuple[str, ...]:
        """Which embeddings the terms look at together; none where no term does."""
        names = {"tri-modal": _EMBEDDINGS, "pair-wise": _EMBEDDINGS[:2], "none": ()}[self.alignment]
        ranked = _EMBEDDINGS[:4] if self.ranking_weight else ()
        return max(names, ranked, key=len)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Outputs of the network that the terms look at: what is compared, and the scores of masked words."""
        return (*self.compared, *(("word_scores",) if self.masked_word_weight else ()))


_EMBEDDINGS = ("video", "text", "masked_video", "masked_text", "fused_for_video", "fused_for_text")


@dataclass(frozen=True, kw_only=True)
class WeightedTerm:
    """One term before weighting, and its weight in the sum."""

    value: Float[Tensor, ""]
    weight: float


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Named terms before weighting, and their weighted sum."""

    terms: dict[str, Float[Tensor, ""]]
    total: Float[Tensor, ""]


def pretraining_losses(
    output: PretrainingOutput,
    masked_words: Int[Tensor, " masked"],
    config: PretrainingObjectiveConfig,
    *,
    ranking_scale: float = 1.0,
) -> Losses:
    """All terms of one batch.

    Args:
        output: What the network gave.
        masked_words: The right word pieces at the masked places, in the order of ``output.word_scores``.
        config: Weights and constants.
        ranking_scale: Multiplies the ranking weight; a schedule may ramp it in.

    Raises:
        ConfigError: no term has a weight above 0.
    """
    terms = embedding_terms(vars(output.embeddings), config, ranking_scale=ranking_scale)
    return weighted_sum(terms | word_terms(output.word_scores, masked_words, config))


def embedding_terms(
    embeddings: Mapping[str, Tensor],
    config: PretrainingObjectiveConfig,
    *,
    ranking_scale: float = 1.0,
    rows: slice | None = None,
) -> dict[str, WeightedTerm]:
    """Alignment and ranking: the terms that compare the samples' embeddings; empty where neither has a weight.

    Args:
        embeddings: Those of `Embeddings` that ``config.compared`` names, ``[b d]``.
        config: Weights and constants.
        ranking_scale: Multiplies the ranking weight.
        rows: The samples whose losses are wanted, a range of the batch: each term is then what they add to it. None
            takes all.
    """
    terms: dict[str, WeightedTerm] = {}
    if config.alignment == "tri-modal":
        terms |= _weighted(_tri_modal_alignment(embeddings, config, rows), config.alignment_weight)
    elif config.alignment == "pair-wise":
        pair = contrastive.symmetric_info_nce(embeddings["video"], embeddings["text"], config.temperature, rows)
        terms |= _weighted({"pair_alignment": pair}, config.alignment_weight)
    if config.ranking_weight:
        terms |= _weighted(_ranking(embeddings, config, rows), config.ranking_weight * ranking_scale)
    share = 1 / config.published_num_processes
    return {name: WeightedTerm(value=term.value, weight=term.weight * share) for name, term in terms.items()}


def word_terms(
    word_scores: Float[Tensor, "masked vocabulary"],
    masked_words: Int[Tensor, " masked"],
    config: PretrainingObjectiveConfig,
    *,
    num_places: int | None = None,
) -> dict[str, WeightedTerm]:
    """Masked words, place by place; empty where they have no weight.

    Args:
        word_scores: Scores at the masked places.
        masked_words: The right word pieces there.
        config: Weights and constants.
        num_places: Masked places of the whole batch where these are only some of them; see `focal_loss`.
    """
    if not config.masked_word_weight:
        return {}
    loss = focal_loss(word_scores, masked_words, config.focal_gamma, num_places=num_places)
    return _weighted({"masked_words": loss}, config.masked_word_weight)


def weighted_sum(terms: dict[str, WeightedTerm]) -> Losses:
    """Named terms and their sum.

    Raises:
        ConfigError: there is no term.
    """
    if not terms:
        raise ConfigError("the objective has no term with a weight above 0")
    total = torch.stack([term.value * term.weight for term in terms.values()]).sum()
    return Losses(terms={name: term.value for name, term in terms.items()}, total=total)


def _weighted(values: dict[str, Tensor], weight: float) -> dict[str, WeightedTerm]:
    return {name: WeightedTerm(value=value, weight=weight) for name, value in values.items()}


def _mean(losses: Float[Tensor, " rows"], num_samples: int, rows: slice | None) -> Float[Tensor, ""]:
    """Mean over a batch, or what some of its samples add to it."""
    return losses.mean() if rows is None else losses.sum() / num_samples


def _tri_modal_alignment(
    embeddings: Mapping[str, Tensor], config: PretrainingObjectiveConfig, rows: slice | None
) -> dict[str, Tensor]:
    """``L_v + w·L_v'`` and its mirror image ``L_t + w·L_t'``."""
    sides = {
        "video_alignment": (
            embeddings["video"],
            (embeddings["text"], embeddings["masked_text"], embeddings["fused_for_video"]),
        ),
        "text_alignment": (
            embeddings["text"],
            (embeddings["video"], embeddings["masked_video"], embeddings["fused_for_text"]),
        ),
    }
    losses = {}
    for name, (anchor, positives) in sides.items():
        forward = contrastive.exclusive_nce(anchor, positives, config.temperature, rows).sum(dim=0)
        backward = contrastive.towards_anchor(anchor, positives, config.temperature, rows).sum(dim=0)
        per_sample = forward + config.towards_anchor_weight * backward
        losses[name] = _mean(per_sample, len(anchor), rows) if config.reduction == "mean" else per_sample.sum()
    return losses


def _ranking(
    embeddings: Mapping[str, Tensor], config: PretrainingObjectiveConfig, rows: slice | None
) -> dict[str, Tensor]:
    """The two hinges of Eq. 4: complete text before masked text, complete video before masked video."""
    constants = {"margin": config.ranking_margin, "temperature": config.temperature}
    count = len(embeddings["video"])
    own = {name: contrastive.rows_of(embeddings[name], rows) for name in _EMBEDDINGS[:4]}
    text = contrastive.ranking(own["video"], own["text"], own["masked_text"], **constants)
    video = contrastive.ranking(own["text"], own["video"], own["masked_video"], **constants)
    return {"text_ranking": _mean(text, count, rows), "video_ranking": _mean(video, count, rows)}
