"""Distillation: a small student is pre-trained, and learns from a larger Clover besides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clover.data.similar_texts import PairedBatch, PairedCollator
from clover.errors import ConfigError
from clover.experiment.configs import PretrainingExperiment
from clover.experiment.losses import pretraining_loss
from clover.experiment.pretraining import Pretraining
from clover.modeling.model import CloverModel, unit
from clover.objectives.distillation import DistillationObjectiveConfig, distillation_terms
from clover.objectives.pretraining import WeightedTerm, embedding_terms
from clover.pipeline import Clover
from clover.publishing.history import Event, of_teacher
from clover.training.compute import Compute
from clover.training.gradient_cache import Outputs, SplitLoss


@dataclass(frozen=True, kw_only=True)
class DistillationExperiment(PretrainingExperiment):
    """A pre-training run with a teacher; ``model`` is the student."""

    distillation: DistillationObjectiveConfig = field(default_factory=DistillationObjectiveConfig)
    """Weights of what is learned from the teacher; those of ``objective`` come on top."""
    num_similar_texts: int = 3
    """Wrong texts that every video is fused with, the most similar of its batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_similar_texts < 1:
            raise ConfigError(f"num_similar_texts is {self.num_similar_texts}; give 1 or more")


def pair_outputs(network: CloverModel, batch: PairedBatch, *, fuses: bool) -> Outputs:
    """Embeddings of videos and of their own texts ``[b d]``, and scores ``[b k]`` of videos fused with their texts.

    A score is the cosine similarity of fusion and text, as `clover.search.rerank` takes it.
    """
    video = network.video_tokens(batch.clip)
    num_texts = batch.pair_token_ids.shape[1] if fuses else 1
    token_ids = batch.pair_token_ids[:, :num_texts].flatten(0, 1)
    is_token = batch.pair_is_token[:, :num_texts].flatten(0, 1)
    words = network.text_encoder(token_ids, is_token)
    text: Tensor = network.embed_text(words)
    found = {"video": network.embed_video(video), "text": text[::num_texts]}
    if fuses:
        repeated = video.repeat_interleave(num_texts, dim=0)
        pools_video = network.config.fused_pairing == "first_release"
        pair = network.fused_pair(network.fuse(repeated, words, is_token, gives_video=pools_video))
        found["fused_scores"] = (unit(pair.for_text) * unit(text)).sum(dim=1).view(-1, num_texts)
    return found


def distillation_loss(
    network: CloverModel,
    teacher: CloverModel,
    experiment: DistillationExperiment,
    *,
    ranking_scale: Callable[[int], float] = lambda _: 1.0,
) -> SplitLoss[PairedBatch]:
    """The objective of pre-training and what is learned from the teacher, whose weights stay as they are.

    Args:
        network: The student.
        teacher: Sees the same clips and word pieces.
        experiment: Terms and their weights.
        ranking_scale: Step to what the ranking weight is multiplied by.
    """
    objective, config = experiment.objective, experiment.distillation
    plain: SplitLoss[Any] = pretraining_loss(network, objective, ranking_scale=ranking_scale)
    names = tuple(dict.fromkeys((*objective.compared, *config.compared)))

    def outputs(batch: PairedBatch) -> Outputs:
        found = pair_outputs(network, batch, fuses=bool(config.fused_weight))
        with torch.no_grad():
            taught = pair_outputs(teacher, batch, fuses=bool(config.fused_weight))
        found |= {f"teacher_{name}": value for name, value in taught.items()}
        if objective.wanted:
            found |= plain.outputs(batch)
        return {name: value for name, value in found.items() if name in names or name == "word_scores"}

    def compare(found: Outputs, step: int, rows: slice | None) -> dict[str, WeightedTerm]:
        terms = embedding_terms(found, objective, ranking_scale=ranking_scale(step), rows=rows)
        return terms | distillation_terms(found, config, rows=rows)

    return replace(plain, outputs=outputs, compared=names, compare=compare)


class Distillation(Pretraining):
    """A `DistillationExperiment` built, ready to run; the student takes the teacher's tokenizer.

    Attributes:
        teacher: Stays as it is.
    """

    title = "distillation"

    def __init__(
        self,
        teacher: str | Path,
        experiment: DistillationExperiment,
        folder: Path,
        *,
        recipe: DistillationExperiment | None = None,
        quiet: bool = False,
    ) -> None:
        """Read the teacher and what the run needs; arguments and errors as of `Pretraining`."""
        self.teacher = Clover.from_pretrained(teacher, device=Compute(experiment.compute).device)
        self.teacher.network.requires_grad_(False)
        if not experiment.init:
            folder_of_words = str(self.teacher.source)  # of a teacher on the Hub, where its copy lies
            experiment = replace(experiment, data=replace(experiment.data, tokenizer=folder_of_words))
        self._distillation = experiment
        super().__init__(experiment, folder, recipe=recipe, quiet=quiet)
        if self.tokenizer.fingerprint != self.teacher.tokenizer.fingerprint:
            raise ConfigError(f"{experiment.init} has other word pieces than the teacher {teacher}: leave --init out")

    def _check_adopted(self, experiment: PretrainingExperiment) -> None:
        _check_fit(self.teacher, self._distillation, experiment)

    def _more_settings(self) -> dict[str, Any]:
        return {"teacher": self.teacher.fingerprint}

    def _taught_by(self) -> tuple[Event, ...]:
        return of_teacher(self.teacher.history, self.teacher.fingerprint)

    def _batches_and_loss(self, ranking_scale: Callable[[int], float]) -> tuple[Any, SplitLoss[Any]]:
        collator = PairedCollator(plain=self.collator(), num_others=self._distillation.num_similar_texts)
        loss = distillation_loss(self.network, self.teacher.network, self._distillation, ranking_scale=ranking_scale)
        return collator, loss


def _check_fit(teacher: Clover, asked: DistillationExperiment, experiment: PretrainingExperiment) -> None:
    """Both must read the same clips, and where embeddings are matched, give such of one width."""
    ours, theirs = experiment.inputs, teacher.config.inputs
    for name, own, taught in (
        ("inputs.num_frames", ours.num_frames, theirs.num_frames),
        ("inputs.frames.size", ours.frames.size, theirs.frames.size),
    ):
        if own != taught:
            raise ConfigError(
                f"{name} is {own}, and the teacher reads {taught}: both see the same clips, give {taught}"
            )
    widths = experiment.model.embedding_width, teacher.config.model.embedding_width
    if not asked.distillation.embedding_weight or widths[0] == widths[1]:
        return
    if "projections" in asked.init_parts and asked.init and asked.model.embedding_width == widths[1]:
        raise ConfigError(
            f"--init {asked.init} has embeddings {widths[0]} wide, and the teacher's are {widths[1]} wide: leave "
            "projections out of --init-parts, or give --distillation.embedding-weight 0"
        )
    raise ConfigError(
        f"model.embedding_width is {widths[0]}, and the teacher's embeddings are {widths[1]} wide: "
        f"give {widths[1]}, or --distillation.embedding-weight 0"
    )
