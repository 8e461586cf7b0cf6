"""What fine-tuning trains for: a head, batches and a loss per family of benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from clover.data.annotations.vocabulary import OUTSIDE, label_answers
from clover.data.collators import (
    ChoiceBatch,
    ChoiceCollator,
    PairBatch,
    PairCollator,
    QuestionBatch,
    QuestionCollator,
)
from clover.modeling.model import HeadConfig
from clover.objectives.answering import answer_loss
from clover.objectives.contrastive import symmetric_info_nce
from clover.objectives.pretraining import WeightedTerm
from clover.pipeline import Clover
from clover.training.gradient_cache import Outputs, SplitLoss, share_of_mean


@dataclass(frozen=True, kw_only=True)
class RetrievalTask:
    """Video and text of a pair nearer to each other than to the rest of the batch."""

    temperature: float = 0.05

    def collator(self, clover: Clover, **settings: Any) -> PairCollator:
        """Rows to batches; takes the settings of `ClipCollator`."""
        return PairCollator(**settings)

    def with_head(self, clover: Clover, seed: int) -> Clover:
        """Retrieval uses the projections of pre-training; task heads go."""
        return clover.with_heads(HeadConfig(), seed=seed)

    def usable(self, rows: Sequence[Any]) -> list[Any]:
        """All."""
        return list(rows)

    def loss(self, clover: Clover) -> SplitLoss[PairBatch]:
        """Symmetric InfoNCE over the batch of all processes (published run)."""
        network = clover.network

        def outputs(batch: PairBatch) -> Outputs:
            return {
                "video": network.embed_video(network.video_tokens(batch.clip)),
                "text": network.embed_text(network.text_encoder(batch.token_ids, batch.is_token)),
            }

        def compare(found: Outputs, _: int, rows: slice | None) -> dict[str, WeightedTerm]:
            value = symmetric_info_nce(found["video"], found["text"], self.temperature, rows)
            return {"alignment": WeightedTerm(value=value, weight=1.0)}

        return SplitLoss(outputs=outputs, compared=("video", "text"), compare=compare)


@dataclass(frozen=True, kw_only=True)
class ChoiceTask:
    """The right one of several texts."""

    dropout: float = 0.5

    def collator(self, clover: Clover, **settings: Any) -> ChoiceCollator:
        """Rows to batches; takes the settings of `ClipCollator`."""
        return ChoiceCollator(lists_options=clover.config.inputs.lists_options, **settings)

    def with_head(self, clover: Clover, seed: int) -> Clover:
        """One score per composed text."""
        return clover.with_heads(HeadConfig(has_choices=True, choice_dropout=self.dropout), seed=seed)

    def usable(self, rows: Sequence[Any]) -> list[Any]:
        """All."""
        return list(rows)

    def loss(self, clover: Clover) -> SplitLoss[ChoiceBatch]:
        """Cross-entropy over the options."""
        network = clover.network

        def outputs(batch: ChoiceBatch) -> Outputs:
            return {"choices": network.choice_scores(network.video_tokens(batch.clip), batch.token_ids, batch.is_token)}

        return SplitLoss(outputs=outputs, add_up=partial(_answers, "choices"))


@dataclass(frozen=True, kw_only=True)
class AnswerTask:
    """One answer of a vocabulary, to a question or for a blank."""

    answers: tuple[str, ...]
    dropout: float = 0.1
    at_mask: bool = False

    def collator(self, clover: Clover, **settings: Any) -> QuestionCollator:
        """Rows to batches; takes the settings of `ClipCollator`."""
        return QuestionCollator(**settings)

    def with_head(self, clover: Clover, seed: int) -> Clover:
        """One score per answer of the vocabulary."""
        heads = HeadConfig(num_answers=len(self.answers), answer_dropout=self.dropout, answers_at_mask=self.at_mask)
        return clover.with_heads(heads, answers=self.answers, seed=seed)

    def usable(self, rows: Sequence[Any]) -> list[Any]:
        """The rows whose answer is in the vocabulary."""
        return [row for row in label_answers(rows, self.answers) if row.label != OUTSIDE]

    def loss(self, clover: Clover) -> SplitLoss[QuestionBatch]:
        """Cross-entropy over the vocabulary."""
        network = clover.network

        def outputs(batch: QuestionBatch) -> Outputs:
            is_blank = batch.is_blank if self.at_mask else None
            tokens = network.video_tokens(batch.clip)
            return {"answers": network.answer_scores(tokens, batch.token_ids, batch.is_token, is_blank=is_blank)}

        return SplitLoss(outputs=outputs, add_up=partial(_answers, "answers"))


def _answers(name: str, outputs: Outputs, batch: ChoiceBatch | QuestionBatch, count: int) -> dict[str, WeightedTerm]:
    """Cross-entropy of some of a batch's samples, as what it adds to the mean over all."""
    return {name: share_of_mean(answer_loss(outputs[name], batch.labels), len(batch.labels), count)}


Task = RetrievalTask | ChoiceTask | AnswerTask
"""One family of benchmarks: `collator` gives what makes batches of its rows, `with_head` the model with what the task
needs on top, `usable` the rows that can be trained on, `loss` what is minimised."""
