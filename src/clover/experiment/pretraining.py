"""Pre-training: warm start of the two encoders, then the objective, then a checkpoint folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clover.data.loader import CaptionedVideo, PretrainingBatch, PretrainingCollator, read_clips
from clover.data.shapes.corpus import read_labels
from clover.data.tagging import TagCache
from clover.distributed import current
from clover.errors import CheckpointError, ConfigError
from clover.experiment.configs import PretrainingExperiment, StageConfig
from clover.experiment.pieces import (
    Stage,
    cache_folder,
    captioned_videos,
    clip_reader,
    corpus_fingerprint,
    corpus_folder,
    states_folder,
    tokenizer_for,
)
from clover.modeling.initialise import initialise, new_model
from clover.modeling.model import CloverModel, PretrainingOutput
from clover.objectives.pretraining import PretrainingObjectiveConfig, WeightedTerm, embedding_terms, word_terms
from clover.objectives.warm_start import label_loss
from clover.pipeline import Clover, CloverConfig
from clover.training.checkpoint import forget_states, saved_states
from clover.training.compute import Compute
from clover.training.gradient_cache import Outputs, SplitLoss, share_of_mean
from clover.training.parallel import Parallel, gathered
from clover.training.records import RunRecord
from clover.types import IGNORED


def ramp(step: int, num_steps: int, shares: tuple[float, float]) -> float:
    """A weight that rises linearly from 0 to 1 between two shares of a run."""
    start, end = (share * num_steps for share in shares)
    if step < start or start == end:
        return float(step >= end)
    return min(1.0, (step - start) / (end - start))


_STAGES = ("video_warm_start", "text_warm_start", "pretraining")
"""Folders of the stages of a run."""


def network_output(network: CloverModel, batch: PretrainingBatch) -> PretrainingOutput:
    """What the objectives look at, of one batch."""
    return network.pretraining_output(
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
        found = network_output(network, batch)
        words = {"word_scores": found.word_scores} if objective.masked_word_weight else {}
        return {name: getattr(found.embeddings, name) for name in objective.compared} | words

    return SplitLoss(
        outputs=outputs,
        compared=objective.compared,
        compare=lambda found, step: embedding_terms(found, objective, ranking_scale=ranking_scale(step)),
        add_up=masked_words(objective),
        count=num_masked,
    )


class Pretraining:
    """A `PretrainingExperiment` built: data, tokenizer and network in place, ready to run."""

    def __init__(self, experiment: PretrainingExperiment, folder: Path, *, quiet: bool = False) -> None:
        self.experiment, self.folder, self.quiet = experiment, Path(folder), quiet
        Compute(experiment.compute)  # a device that is not there is known before any work
        corpus = corpus_folder(experiment.data)
        videos = captioned_videos(corpus, "train")
        captions = [caption for video in videos for caption in video.captions]
        self.tokenizer = tokenizer_for(experiment.data, captions)
        cache = cache_folder(corpus, self.folder)
        self.tags = TagCache(cache / "tags.sqlite", tagger=experiment.data.tagger)
        with current().first_alone():
            self.tags.fill(captions)
        self.reader, self.skipped = clip_reader(
            experiment.data,
            experiment.inputs,
            [video.video for video in videos],
            cache=cache,
            quiet=quiet,
        )
        self.videos = [video for video in videos if str(video.video) not in self.skipped]
        for name in ("video_warm_start", "text_warm_start", "training"):
            stage: StageConfig = getattr(experiment, name)
            if stage.num_steps and len(self.videos) < stage.batch_size:
                raise ConfigError(
                    f"{len(self.videos)} videos do not fill a batch of {stage.batch_size}; "
                    f"give more, or a smaller --{name.replace('_', '-')}.batch-size"
                )
        text = replace(experiment.model.text, vocabulary_size=self.tokenizer.vocabulary_size)
        self.config = CloverConfig(model=replace(experiment.model, text=text), inputs=experiment.inputs)
        self.network = new_model(self.config.model, seed=experiment.seed)
        stages = zip(_STAGES, ("video_warm_start", "text_warm_start", "training"), strict=True)
        num_steps = {folder: getattr(experiment, name).num_steps for folder, name in stages}
        self._record = RunRecord(
            self.folder,
            title="pre-training",
            settings=experiment,
            stages={folder: count for folder, count in num_steps.items() if count},
            data=partial(corpus_fingerprint, corpus, [video.video for video in videos]),
        )

    def run(self, *, resume: bool = False) -> Clover:
        """Warm start, pre-train, and save the checkpoint folder; what a killed run had finished is not done again.

        Raises:
            CheckpointError: with ``resume``, there is no state, or it is another run's.
        """
        stages = [self._warm_start_video, self._warm_start_text, self._pretrain]
        folders = [states_folder(self.folder / stage) for stage in _STAGES]
        if resume and not any(saved_states(folder) for folder in folders):
            raise CheckpointError(
                f"nothing to resume in {self.folder}: no state was saved there; start without --resume"
            )
        if not resume:
            with current().first_alone():
                for folder in folders:
                    forget_states(folder)
        self._record.begin(resume=resume)
        for run in stages:
            run(resume)
        clover = Clover(self.network, self.tokenizer, self.config)
        with current().first_alone():
            if current().is_first:
                clover.save_pretrained(self.folder / "checkpoint")
        self._record.finish()
        return clover

    def collator(self) -> PretrainingCollator:
        """Captioned videos to batches."""
        size = self.experiment.inputs.frames.size
        grid = self.config.model.video.output_grid(self.experiment.inputs.num_frames, size, size)
        return PretrainingCollator(
            read_clip=self.reader,
            tokenizer=self.tokenizer,
            tags=self.tags,
            text_masking=self.experiment.text_masking,
            video_masking=self.experiment.video_masking,
            grid=grid[1:],
            max_text_length=self.experiment.inputs.max_text_length,
            skipped=None if self.experiment.data.strict else self.skipped,
        )

    def _pretrain(self, resume: bool) -> None:
        run = self.experiment
        scale = partial(ramp, num_steps=run.training.num_steps, shares=run.ranking_ramp)
        loss = pretraining_loss(self.network, run.objective, ranking_scale=scale)
        collator = self.collator()
        self._stage("pretraining", "pre-training", run.training, self.network, collator, loss, resume, run.parallel)
        if run.parallel == "fsdp" and current().count > 1:
            self.network = gathered(self.network, new_model(self.config.model, seed=run.seed)).eval()

    def _warm_start_video(self, resume: bool) -> None:
        """Teach the video encoder to name what training videos show, with a classifier that is thrown away.

        A label counts as seen where its best token sees it: the mean over tokens drowns small objects.
        """
        stage = self.experiment.video_warm_start
        if not stage.num_steps:
            return
        labels_of = read_labels(corpus_folder(self.experiment.data), "train")
        names = sorted({label for labels in labels_of.values() for label in labels})
        classifier = nn.Linear(self.config.model.video.output_width, len(names))
        initialise(classifier, self.experiment.seed)
        shares = torch.tensor([[name in labels for name in names] for labels in labels_of.values()]).float().mean(dim=0)
        with torch.no_grad():
            classifier.bias.copy_(torch.logit(shares, eps=1e-6))

        skipped = None if self.experiment.data.strict else self.skipped

        def make_batch(items: Sequence[CaptionedVideo], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
            kept, clips = read_clips(items, lambda item: self.reader(item.video, generator), skipped)
            present = [[name in labels_of[item.video_id] for name in names] for item in kept]
            return clips, torch.tensor(present, dtype=torch.float32)

        def outputs(batch: tuple[Tensor, Tensor]) -> Outputs:
            tokens = self.network.video_tokens(batch[0])
            return {"labels": classifier(tokens).amax(dim=(1, 2, 3))}

        def add_up(outputs: Outputs, batch: tuple[Tensor, Tensor], count: int) -> dict[str, WeightedTerm]:
            return {"labels": share_of_mean(label_loss(outputs["labels"], batch[1]), len(batch[1]), count)}

        module = nn.ModuleList([self.network.video_encoder, classifier])
        loss = SplitLoss(outputs=outputs, add_up=add_up)
        self._stage("video_warm_start", "warm start: video encoder", stage, module, make_batch, loss, resume)

    def _warm_start_text(self, resume: bool) -> None:
        """Teach the text encoder to fill masked words of training captions without seeing the video."""
        stage = self.experiment.text_warm_start
        if not stage.num_steps:
            return
        blind = replace(self.collator(), read_clip=lambda *_: np.zeros((1, 1, 1, 3), np.uint8))

        def outputs(batch: PretrainingBatch) -> Outputs:
            tokens = self.network.text_encoder(batch.masked_token_ids, batch.is_token)
            return {"word_scores": self.network.masked_word_head(tokens[batch.targets != IGNORED])}

        objective = PretrainingObjectiveConfig(focal_gamma=0.0)
        module = nn.ModuleList([self.network.text_encoder, self.network.masked_word_head])
        loss = SplitLoss(outputs=outputs, add_up=masked_words(objective), count=num_masked)
        self._stage("text_warm_start", "warm start: text encoder", stage, module, blind, loss, resume)

    def _stage(  # type: ignore[no-untyped-def]
        self, name, title, config: StageConfig, module, make_batch, loss, resume: bool, parallel: Parallel = "ddp"
    ) -> None:
        stage: Stage[Any, Any] = Stage(
            folder=self.folder / name,
            title=title,
            settings=self.experiment,
            config=config,
            run_config=self.experiment,
            module=module,
            items=self.videos,
            make_batch=make_batch,
            loss=loss,
            record=self._record,
            parallel=parallel,
            quiet=self.quiet,
        )
        stage.run(resume=resume)
