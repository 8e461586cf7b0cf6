"""The objective of pre-training on what a network gives: what compares a whole batch, and what adds up over samples."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from clover.data.collators import PretrainingBatch
from clover.modeling.model import CloverModel, PretrainingOutput
from clover.objectives.pretraining import PretrainingObjectiveConfig, WeightedTerm, embedding_terms, word_terms
from clover.training.gradient_cache import Outputs, SplitLoss
from clover.types import IGNORED


def ramp(step: int, num_steps: int, shares: tuple[float, float]) -> float:
    """A weight that rises linearly from 0 to 1 between two shares of a run."""
    start, end = (share * num_steps for share in shares)
    if step < start or start == end:
        return float(step >= end)
    return min(1.0, (step - start) / (end - start))


def network_output(network: CloverModel, batch: PretrainingBatch) -> PretrainingOutput:
    """What the objectives look at, of one batch."""
    return network.pretraining_output(*_inputs(batch))


def _inputs(batch: PretrainingBatch) -> tuple[Tensor, ...]:
    return (
        batch.clip,
        batch.is_masked_cell,
        batch.token_ids,
        batch.masked_token_ids,
        batch.is_token,
        batch.targets != IGNORED,
    )


def num_masked(batch: PretrainingBatch) -> int:
    """Masked words of a batch."""
    return int((batch.targets != IGNORED).sum())


def masked_words(
    objective: PretrainingObjectiveConfig,
) -> Callable[[Outputs, PretrainingBatch, int], dict[str, WeightedTerm]]:
    """Masked words of a part of a batch, as their share of the batch's mean."""

    def add_up(outputs: Outputs, batch: PretrainingBatch, count: int) -> dict[str, WeightedTerm]:
        if not objective.masked_word_weight:
            return {}
        words = batch.targets[batch.targets != IGNORED]
        return word_terms(outputs["word_scores"], words, objective, num_places=count)

    return add_up


def pretraining_loss(
    network: CloverModel,
    objective: PretrainingObjectiveConfig,
    *,
    ranking_scale: Callable[[int], float] = lambda _: 1.0,
) -> SplitLoss[PretrainingBatch]:
    """The paper's sum, split into what compares a whole batch and what adds up over its samples.

    Args:
        network: Gives the embeddings and word scores.
        objective: Terms and their weights.
        ranking_scale: Step to what the ranking weight is multiplied by.
    """

    def outputs(batch: PretrainingBatch) -> Outputs:
        return network.wanted_outputs(*_inputs(batch), wanted=objective.wanted)

    return SplitLoss(
        outputs=outputs,
        compared=objective.compared,
        compare=lambda found, step, rows: embedding_terms(
            found, objective, ranking_scale=ranking_scale(step), rows=rows
        ),
        add_up=masked_words(objective),
        count=num_masked,
    )
