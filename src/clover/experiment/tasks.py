"""What fine-tuning trains for: a head, batches and a loss per family of benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clover.data.annotations.vocabulary import OUTSIDE, label_answers
from clover.data.loader import (
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
from clover.objectives.pretraining import Losses
from clover.pipeline import Clover


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

    def losses(self, clover: Clover, batch: PairBatch) -> Losses:
        """Symmetric InfoNCE over the batch (published run)."""
        network = clover.network
        video = network.embed_video(network.video_tokens(batch.clip))
        text = network.embed_text(network.text_encoder(batch.token_ids, batch.is_token))
        loss = symmetric_info_nce(video, text, self.temperature)
        return Losses(terms={"alignment": loss}, total=loss)


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

    def losses(self, clover: Clover, batch: ChoiceBatch) -> Losses:
        """Cross-entropy over the options."""
        network = clover.network
        scores = network.choice_scores(network.video_tokens(batch.clip), batch.token_ids, batch.is_token)
        loss = answer_loss(scores, batch.labels)
        return Losses(terms={"choices": loss}, total=loss)


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

    def losses(self, clover: Clover, batch: QuestionBatch) -> Losses:
        """Cross-entropy over the vocabulary."""
        network = clover.network
        is_blank = batch.is_blank if self.at_mask else None
        scores = network.answer_scores(
            network.video_tokens(batch.clip), batch.token_ids, batch.is_token, is_blank=is_blank
        )
        loss = answer_loss(scores, batch.labels)
        return Losses(terms={"answers": loss}, total=loss)


Task = RetrievalTask | ChoiceTask | AnswerTask
"""One family of benchmarks: `collator` gives what makes batches of its rows, `with_head` the model with what the task
needs on top, `usable` the rows that can be trained on, `losses` one forward pass."""
