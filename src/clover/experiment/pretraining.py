"""Pre-training: warm start of the two encoders, then the objective, then a checkpoint folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from clover.checkpoints import CloverConfig
from clover.config import to_plain
from clover.data.collators import PretrainingCollator
from clover.data.order import steps_of_epochs
from clover.data.shapes.corpus import read_labels
from clover.distributed import current
from clover.errors import CheckpointError, ConfigError
from clover.experiment.borrowing import borrow
from clover.experiment.configs import PretrainingExperiment, RunConfig, StageConfig, deciding, wherever
from clover.experiment.losses import pretraining_loss, ramp
from clover.experiment.notices import tell_kept_frames, tell_left_out, tell_taken_over, tell_untrained
from clover.experiment.pieces import Stage, states_folder
from clover.experiment.sizes import check_kept
from clover.experiment.sources import open_pretraining_data
from clover.experiment.starting import Start
from clover.experiment.validation import FIGURES, Validation
from clover.experiment.warm_start import text_warm_start, video_warm_start
from clover.modeling.initialise import new_model
from clover.pipeline import Clover
from clover.publishing.history import Event, of_stage
from clover.training.adapters import WARMED, merge_adapters, prepare
from clover.training.checkpoint import forget_states, saved_states
from clover.training.compute import Compute
from clover.training.gradient_cache import SplitLoss
from clover.training.loop import Occasional
from clover.training.parallel import gathered
from clover.training.records import RunRecord
from clover.training.skipped import SkippedSamples
from clover.types import Parallel

_STAGES = {"video_warm_start": "video_warm_start", "text_warm_start": "text_warm_start", "pretraining": "training"}
"""Folders of the stages of a run, and names of their settings."""


def _without_best(run: RunConfig) -> RunConfig:
    """For stages that log other numbers than the one by which the best state is chosen."""
    return replace(run, keep=replace(run.keep, best_by=""))


def _check_text_length(experiment: PretrainingExperiment, start: Start | None) -> None:
    """Before anything is trained: the stages that read no text would run to their end first."""
    longest, most = experiment.inputs.max_text_length, experiment.model.text.max_length
    if longest <= most:
        return
    remedy = f"use --inputs.max-text-length {most}"
    if start is not None and start.encoders is not None and "text_encoder" in start.weights:
        remedy += f", or import the text encoder again with --text-positions {longest}"
    raise ConfigError(f"texts of {longest} tokens are longer than the {most} positions of the text encoder; {remedy}")


class Pretraining:
    """A `PretrainingExperiment` built: data, tokenizer and network in place, ready to run.

    Attributes:
        init_weights: Number of weight tensors by part that were taken from another checkpoint.
    """

    title = "pre-training"
    """What its record calls the run."""

    def __init__(
        self,
        experiment: PretrainingExperiment,
        folder: Path,
        *,
        recipe: PretrainingExperiment | None = None,
        quiet: bool = False,
    ) -> None:
        """Read what the run needs; nothing is trained or written yet.

        Args:
            experiment: The run.
            folder: Where it leaves its states, records and checkpoint.
            recipe: What the settings were made from; those that differ and that its starting weights overrule are
                refused. None: starting weights overrule in silence.
            quiet: Print nothing.

        Raises:
            ConfigError: settings do not go together, or with the data or the starting weights.
            CheckpointError: the starting weights cannot be read, or do not fit.
            DataError: the data cannot be read.
        """
        self.folder, self.quiet = Path(folder), quiet
        Compute(experiment.compute)  # a device that is not there is known before any work
        start = Start.read(experiment.init, experiment.init_parts) if experiment.init else None
        asked = experiment
        experiment = adopted = start.adopted_by(experiment) if start else experiment
        if start is not None and recipe is not None:
            check_kept(asked.model, recipe.model, adopted.model, source=start.source)
        adopted.model.check()
        borrowed = borrow(experiment, start, quiet=quiet)
        self.experiment = experiment = borrowed.experiment
        self._check_adopted(experiment)
        if not quiet:
            tell_taken_over(asked.model, adopted.model, experiment.model)
            tell_left_out(asked, experiment)
            tell_kept_frames(asked.data, experiment.data, experiment.inputs.num_frames)
        _check_text_length(experiment, start)
        words = (start.words if start else "") or experiment.data.tokenizer
        data = replace(experiment.data, tokenizer=words)
        self.data = open_pretraining_data(
            data, experiment.inputs, self.folder, tokenizer=borrowed.tokenizer, quiet=quiet
        )
        self.tokenizer, self.skipped = self.data.tokenizer, self.data.skipped
        self.stages = {name: self._stage_config(name) for name in _STAGES}
        if self.stages["video_warm_start"].num_steps and not self.data.has_labels:
            raise ConfigError(
                "the warm start of the video encoder needs a generated corpus with its labels; leave it out"
            )
        text = replace(experiment.model.text, vocabulary_size=self.tokenizer.vocabulary_size)
        self.config = CloverConfig(model=replace(experiment.model, text=text), inputs=experiment.inputs)
        self.network = new_model(self.config.model, seed=experiment.seed)
        borrowed.put_into(self.network)
        self._borrowed = borrowed.fingerprints
        self.init_weights, origins = (
            start.put_into(self.network, given=list(borrowed.weights), quiet=quiet) if start else ({}, ())
        )
        self._init_fingerprint = start.fingerprint if start else ""
        self._origins = (*origins, *borrowed.history)
        if not quiet:
            tell_untrained(experiment.freeze, {*self.init_weights, *borrowed.weights}, self.stages)
        self._validation = self._open_validation()
        self._skipped = SkippedSamples(self.folder, self.skipped, current())
        self._record = RunRecord(
            self.folder,
            title=self.title,
            settings=experiment,
            stages={name: stage.num_steps for name, stage in self.stages.items() if stage.num_steps},
            data=lambda: self._settings["data"],
            starting_checkpoint=self._init_fingerprint,
        )

    def _check_adopted(self, experiment: PretrainingExperiment) -> None:
        """Whether the run with its starting weights makes sense; for runs that ask for more than pre-training does."""

    def _open_validation(self) -> Validation | None:
        config, best_by = self.experiment.validation, self.experiment.keep.best_by
        if best_by.startswith("validation_") and (not config.every or best_by not in FIGURES):
            raise ConfigError(
                f"keep.best_by is {best_by!r}; an evaluation (--validation.every) gives {', '.join(FIGURES)}"
            )
        if not config.every:
            return None
        found = Validation(config, corpus=self.experiment.data.corpus, seed=self.experiment.seed)
        found.check(Clover(self.network, self.tokenizer, self.config))
        return found

    def _evaluate(self, num_done: int) -> dict[str, float]:
        """Figures of the weights of now; the random state stays as it is."""
        assert self._validation is not None
        network, processes = self.network, current()
        device = next(network.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            if self.experiment.parallel == "fsdp" and processes.count > 1:
                network = gathered(network, new_model(self.config.model)).to(device)
            figures = self._validation.figures(Clover(network, self.tokenizer, self.config), processes)
        self.network.train()
        if not self.quiet:
            shown = "  ".join(f"{name} {value:.1f}" for name, value in figures.items())
            print(f"after {num_done} steps: {shown}", file=sys.stderr, flush=True)
        return figures

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What decides the result: the config, the weights it starts from, the data, and the words of the tokenizer."""
        settings = {
            "experiment": wherever(deciding(self.experiment)),
            "vocabulary": self.tokenizer.fingerprint,
            "data": dict(self.data.fingerprint()),
            **self._more_settings(),
        }
        if self._borrowed:
            settings["encoders"] = self._borrowed
        return settings | ({"starting_checkpoint": self._init_fingerprint} if self._init_fingerprint else {})

    def _more_settings(self) -> dict[str, Any]:
        """What else decides the result; for runs that are more than a pre-training."""
        return {}

    def _stage_config(self, name: str) -> StageConfig:
        """A stage's settings, its length in steps.

        Raises:
            ConfigError: a source does not fill a batch of it.
        """
        config: StageConfig = getattr(self.experiment, _STAGES[name])
        if not config.num_steps and not config.num_epochs:
            return config
        sizes = [len(source) for source in self.data.samples.sources]
        if min(sizes) < config.batch_size:
            raise ConfigError(
                f"{min(sizes)} samples do not fill a batch of {config.batch_size}; "
                f"give more, or a smaller --{_STAGES[name].replace('_', '-')}.batch-size"
            )
        if not config.num_epochs:
            return config
        weights = self.data.samples.weights
        num_steps = steps_of_epochs(config.num_epochs, sizes, weights, batch_size=config.batch_size)
        return replace(config, num_steps=min(num_steps, config.num_steps or num_steps))

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
        self._skipped.begin(resume=resume)
        for run in stages:
            run(resume)
        clover = Clover(self.network, self.tokenizer, self.config)
        clover.history = self._history()
        with current().first_alone():
            if current().is_first:
                clover.save_pretrained(self.folder / "checkpoint")
        notes = {"init_weights": self.init_weights} if self.init_weights else {}
        self._record.finish(lambda: clover.fingerprint, **notes)
        return clover

    def _history(self) -> tuple[Event, ...]:
        """Where the weights come from: what the run started from, what it learned from, and its stages."""
        settings = to_plain(self.experiment.data)
        stages = [
            of_stage("warm start" if name in WARMED else self.title, WARMED.get(name, ()), settings, stage.num_steps)
            for name, stage in self.stages.items()
            if stage.num_steps
        ]
        return (*self._origins, *self._taught_by(), *stages)

    def _taught_by(self) -> tuple[Event, ...]:
        """The history of another model that it learns from."""
        return ()

    def collator(self) -> PretrainingCollator:
        """Captioned videos to batches."""
        size = self.experiment.inputs.frames.size
        grid = self.config.model.video.output_grid(self.experiment.inputs.num_frames, size, size)
        return PretrainingCollator(
            read_clip=self.data.read_clip,
            tokenizer=self.tokenizer,
            tags=self.data.tags,
            text_masking=self.experiment.text_masking,
            video_masking=self.experiment.video_masking,
            grid=grid[1:],
            max_text_length=self.experiment.inputs.max_text_length,
            strict=self.experiment.data.strict,
        )

    def _pretrain(self, resume: bool) -> None:
        run, stage = self.experiment, self.stages["pretraining"]
        if not stage.num_steps and any(config.num_steps for config in self.stages.values()):
            return  # a run that makes warm encoders only
        collator, loss = self._batches_and_loss(partial(ramp, num_steps=stage.num_steps, shares=run.ranking_ramp))
        prepare(self.network, run.freeze, run.lora, seed=run.seed, is_pretraining=True)
        self._stage("pretraining", self.title, stage, self.network, collator, loss, resume, run.parallel)
        merge_adapters(self.network)
        if run.parallel == "fsdp" and current().count > 1:
            self.network = gathered(self.network, new_model(self.config.model, seed=run.seed)).eval()

    def _batches_and_loss(self, ranking_scale: Callable[[int], float]) -> tuple[Any, SplitLoss[Any]]:
        """What makes batches of samples, and what is minimised on them."""
        return self.collator(), pretraining_loss(self.network, self.experiment.objective, ranking_scale=ranking_scale)

    def _occasional(self) -> tuple[Occasional, ...]:
        if self._validation is None:
            return ()
        every = self.experiment.validation.every
        return (Occasional(every=every, run=self._evaluate, figures=tuple(FIGURES)),)

    def _warm_start_video(self, resume: bool) -> None:
        run, stage = self.experiment, self.stages["video_warm_start"]
        if stage.num_steps:
            labels = read_labels(Path(run.data.corpus), "train")
            warm = video_warm_start(
                self.network, labels, read_clip=self.data.read_clip, seed=run.seed, strict=run.data.strict
            )
            self._stage("video_warm_start", warm.title, stage, warm.module, warm.make_batch, warm.loss, resume)

    def _warm_start_text(self, resume: bool) -> None:
        stage = self.stages["text_warm_start"]
        if stage.num_steps:
            warm = text_warm_start(self.network, self.collator())
            self._stage("text_warm_start", warm.title, stage, warm.module, warm.make_batch, warm.loss, resume)

    def _stage(  # type: ignore[no-untyped-def]
        self, name, title, config: StageConfig, module, make_batch, loss, resume: bool, parallel: Parallel = "ddp"
    ) -> None:
        stage: Stage[Any, Any] = Stage(
            folder=self.folder / name,
            title=title,
            settings=self._settings,
            config=config,
            run_config=self.experiment if name == "pretraining" else _without_best(self.experiment),
            module=module,
            items=self.data.samples,
            make_batch=make_batch,
            loss=loss,
            record=self._record,
            parallel=parallel,
            skipped=self._skipped,
            occasional=self._occasional() if name == "pretraining" else (),
            quiet=self.quiet,
        )
        stage.run(resume=resume)
