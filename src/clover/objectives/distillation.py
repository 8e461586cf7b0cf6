"""What a small student learns from a larger Clover: its embeddings, its similarities, its scores of fused pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clover.errors import ConfigError
from clover.objectives.contrastive import rows_of, similarities
from clover.objectives.pretraining import WeightedTerm

_TEACHER = "teacher_"


@dataclass(frozen=True, kw_only=True)
class DistillationObjectiveConfig:
    """Weights of the terms that look at the teacher."""

    embedding_weight: float = 1.0
    """Weight of the distance between the embeddings of student and teacher, for which both must be as wide; 0 leaves it
    out."""
    similarity_weight: float = 1.0
    """Weight of the teacher's similarities of all videos and texts of a batch; 0 leaves it out."""
    fused_weight: float = 1.0
    """Weight of the teacher's scores of a video fused with its own text and with similar ones; 0 leaves it out."""
    temperature: float = 0.05
    """Similarities and scores of both are divided by it before they become probabilities."""

    def __post_init__(self) -> None:
        weights = (self.embedding_weight, self.similarity_weight, self.fused_weight)
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ConfigError(
                f"distillation weights are {', '.join(f'{weight:g}' for weight in weights)}; "
                "give 0 or more of each and more than 0 of one"
            )
        if self.temperature <= 0:
            raise ConfigError(f"distillation temperature is {self.temperature}; it must be above 0")

    @property
    def compared(self) -> tuple[str, ...]:
        """Outputs that the terms look at, the student's and, with ``teacher_`` ahead, the teacher's."""
        embeddings = ("video", "text") if self.embedding_weight or self.similarity_weight else ()
        names = (*embeddings, *(("fused_scores",) if self.fused_weight else ()))
        return (*names, *(_TEACHER + name for name in names))


def distillation_terms(
    outputs: Mapping[str, Tensor], config: DistillationObjectiveConfig, *, rows: slice | None = None
) -> dict[str, WeightedTerm]:
    """All terms; each is 0 where the student says what the teacher says. No gradient reaches the teacher.

    - ``taught_embeddings``: one less the cosine between the student's and the teacher's embedding, of video and text.
    - ``taught_similarities``: Kullback-Leibler divergence of the student's softmax over the batch from the teacher's,
      videos of a text and texts of a video (Hinton et al. 2015, arXiv 1503.02531, applied to a contrastive batch).
    - ``taught_fusion``: the same over the texts that a video was fused with.

    Args:
        outputs: What ``config.compared`` names: embeddings ``[b d]``, not normalised, and scores ``[b k]``, cosines.
        config: Weights and temperature.
        rows: The samples whose losses are wanted, a range of the batch: each term is then what they add to its mean.
            None takes all.
    """
    taught = {name: value.detach() for name, value in outputs.items() if name.startswith(_TEACHER)}
    pairs = [(outputs[name], taught[_TEACHER + name]) for name in ("video", "text") if _TEACHER + name in taught]
    terms: dict[str, WeightedTerm] = {}
    if config.embedding_weight:
        value = torch.stack([_distance(*pair, rows) for pair in pairs]).sum()
        terms["taught_embeddings"] = WeightedTerm(value=value, weight=config.embedding_weight)
    if config.similarity_weight:
        value = _one_way(pairs, rows, config.temperature) + _one_way(pairs[::-1], rows, config.temperature)
        terms["taught_similarities"] = WeightedTerm(value=value, weight=config.similarity_weight)
    if config.fused_weight:
        student, teacher = outputs["fused_scores"], taught["teacher_fused_scores"]
        scores = [rows_of(side, rows) / config.temperature for side in (student, teacher)]
        value = _divergence(scores[0], scores[1]) / len(student)
        terms["taught_fusion"] = WeightedTerm(value=value, weight=config.fused_weight)
    return terms


def _distance(student: Tensor, teacher: Tensor, rows: slice | None) -> Float[Tensor, ""]:
    cosines = F.cosine_similarity(rows_of(student, rows), rows_of(teacher, rows), dim=1)
    return (1 - cosines).sum() / len(student)


def _one_way(pairs: list[tuple[Tensor, Tensor]], rows: slice | None, temperature: float) -> Float[Tensor, ""]:
    """From the samples of the first pair to all of the second's; student and teacher in each pair."""
    (student, teacher), (student_others, teacher_others) = pairs
    scores = similarities(rows_of(student, rows), student_others, temperature)
    wanted = similarities(rows_of(teacher, rows), teacher_others, temperature)
    return _divergence(scores, wanted) / len(student)


def _divergence(scores: Float[Tensor, "rows b"], wanted: Float[Tensor, "rows b"]) -> Float[Tensor, ""]:
    return F.kl_div(scores.log_softmax(dim=1), wanted.log_softmax(dim=1), log_target=True, reduction="sum")
