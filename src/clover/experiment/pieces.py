"""Pieces that every run is put together from: corpus, tokenizer, clip reader, one stage of training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from clover.checkpoints import InputConfig
from clover.config import to_plain
from clover.data.batches import num_samples
from clover.data.captioned import CaptionedVideo
from clover.data.collators import ClipReader, UnreadableBatchError
from clover.data.frame_cache import FrameCache
from clover.data.loader import Loader
from clover.data.order import Mixture
from clover.data.shapes.corpus import read_pairs, read_paragraphs
from clover.data.text import Tokenizer
from clover.data.text_lengths import cut_to_longest, longest_first
from clover.data.transforms import training_clip
from clover.data.video import read_frames
from clover.distributed import current
from clover.errors import ConfigError
from clover.experiment.configs import DataConfig, RunConfig, StageConfig, deciding
from clover.files import WriteError, check_writable
from clover.training.checkpoint import TrainingStates, saved_states
from clover.training.compute import Compute
from clover.training.gradient_cache import Outputs, SplitLoss, exact_gradients
from clover.training.health import Health
from clover.training.logbook import Logbook, progress
from clover.training.loop import Occasional, Training
from clover.training.optimizer import Optimizer
from clover.training.parallel import caller_for
from clover.training.records import RunRecord, checksums, data_fingerprint
from clover.training.skipped import SkippedSamples
from clover.types import Parallel

ItemT = TypeVar("ItemT")
BatchT = TypeVar("BatchT")


def corpus_folder(data: DataConfig) -> Path:
    """The corpus a run was given.

    Raises:
        ConfigError: it was given none.
    """
    if not data.corpus:
        raise ConfigError("no corpus: give its folder with --data.corpus (clover corpus shapes DIR writes one)")
    return Path(data.corpus)


def corpus_fingerprint(corpus: Path, videos: Sequence[Path]) -> dict[str, Any]:
    """What tells a corpus' training split apart from another's."""
    return data_fingerprint(checksums(corpus, "corpus.json") | checksums(corpus, "train*.jsonl"), videos, corpus)


def cache_folder(corpus: Path, run: Path) -> Path:
    """Where tags and decoded frames are kept: beside the corpus, for all runs; where it is read-only, in the run."""
    try:
        check_writable(corpus / ".cache")
    except WriteError:
        return run / ".cache"
    return corpus / ".cache"


def captioned_videos(corpus: Path, split: str, *, with_paragraphs: bool = False) -> list[CaptionedVideo]:
    """Videos of a split with all their captions (and paragraphs), in the order of the annotation file."""
    captions: dict[str, list[str]] = {}
    paths: dict[str, Path] = {}
    for pair in [*read_pairs(corpus, split), *(read_paragraphs(corpus, split) if with_paragraphs else ())]:
        captions.setdefault(pair.video_id, []).append(pair.text)
        paths[pair.video_id] = pair.video
    return [CaptionedVideo(video=paths[name], video_id=name, captions=tuple(texts)) for name, texts in captions.items()]


def tokenizer_for(data: DataConfig, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer a run was given, or one trained from its texts."""
    return Tokenizer.load(data.tokenizer) if data.tokenizer else Tokenizer.train(texts, data.vocabulary_size)


def clip_reader(
    data: DataConfig, inputs: InputConfig, videos: Sequence[Path], *, cache: Path, quiet: bool
) -> tuple[ClipReader, dict[str, str]]:
    """How training reads its clips, and the videos that cannot be read with the reason.

    With kept frames, all videos are decoded now (or were before) into the folder ``cache``; without, each is decoded
    when its turn comes.

    Raises:
        MediaError: in a strict run, a video that cannot be read.
    """
    num_frames, size = inputs.num_frames, inputs.frames.size
    if not data.num_kept_frames:

        def decode(video: Path, generator: np.random.Generator | None) -> np.ndarray:
            frames = read_frames(
                video,
                num_frames,
                generator=generator,
                end_seconds=inputs.max_seconds or None,
                short_side=inputs.frames.training_read_size,
            )
            return training_clip(frames.images, inputs.frames, generator or np.random.default_rng(0))

        return decode, {}
    if data.num_kept_frames % num_frames:
        raise ConfigError(f"num_kept_frames is {data.num_kept_frames}; it must be a multiple of {num_frames} frames")
    if inputs.max_seconds:
        raise ConfigError("kept frames are of whole videos: use --num-kept-frames 0 with --inputs.max-seconds")
    if inputs.frames.training_fit != "square":
        raise ConfigError("kept frames cannot be cropped anew: use --data.num-kept-frames 0 with random crops")
    with current().first_alone(), progress("decoding videos", quiet=quiet) as report:
        kept = FrameCache.build(
            cache / "frames",
            videos,
            num_kept=data.num_kept_frames,
            size=size,
            strict=data.strict,
            tries_again=current().is_first,  # the others come after it
            progress=report,
        )
    skipped = {item.video: item.reason for item in kept.skipped}
    return lambda video, generator: kept.clip(video, num_frames, generator), skipped


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[ItemT, BatchT]):
    """One stretch of a run: a module is trained on items until its steps are done, in a folder of its own."""

    folder: Path
    """Gets log.jsonl and states/."""
    title: str
    """Shown above the progress."""
    settings: Any
    """Everything that decides the result; a state of other settings is refused."""
    config: StageConfig
    """Steps, batch size and optimiser."""
    run_config: RunConfig
    """Seed, and how the run is carried out."""
    module: nn.Module
    """What is trained."""
    items: Sequence[ItemT] | Mixture[ItemT]
    """Samples, of one source or several."""
    make_batch: Callable[[Sequence[ItemT], np.random.Generator], BatchT]
    """Samples and randomness to a batch."""
    loss: SplitLoss[BatchT]
    """What is minimised."""
    occasional: Sequence[Occasional] = ()
    """What else is done every so many steps."""
    record: RunRecord | None = None
    """Of the run; is told where the stage begins or goes on."""
    parallel: Parallel = "ddp"
    """How several processes hold the module."""
    skipped: SkippedSamples | None = None
    """Lists the samples that could not be read, and why."""
    quiet: bool = False
    """Show nothing."""

    def run(self, *, resume: bool) -> None:
        """Train; with ``resume``, from the last saved state if there is one."""
        config, run, processes = self.config, self.run_config, current()
        torch.manual_seed(run.seed + 1_000_003 * processes.rank)
        loader = Loader(
            items=self.items,
            make_batch=self.make_batch,
            batch_size=config.batch_size,
            seed=run.seed,
            rank=processes.rank,
            num_ranks=processes.count,
            num_workers=run.num_workers,
        )
        compute = Compute(run.compute)
        module = compute.prepare(self.module)
        caller = caller_for(module, compute.in_its_format(self._outputs), processes, parallel=self.parallel)
        optimizer = Optimizer(
            self.module, config.optimizer, num_steps=config.num_steps, steps_per_epoch=loader.steps_per_epoch
        )
        states = TrainingStates(
            folder=states_folder(self.folder),
            run=json.dumps({"title": self.title, "settings": deciding(self.settings)}, sort_keys=True),
            module=self.module,
            optimizer=optimizer,
            seed=run.seed,
            health=Health(run.health),
            keep=run.keep,
            evaluated=tuple(name for task in self.occasional for name in task.figures),
            processes=processes,
        )
        first_step = states.restore() if resume and processes.from_first(bool(saved_states(states.folder))) else 0
        if self.record is not None:
            self.record.enter(self.folder, first_step)
        self.module.train()
        gradients = partial(
            exact_gradients,
            loss=self.loss,
            caller=caller,
            micro_batch_size=config.micro_batch_size,
            processes=processes,
        )
        with self._logbook(first_step) as logbook:
            training: Training[BatchT] = Training(
                gradients=lambda batch, step: gradients(batch, step=step),
                optimizer=optimizer,
                logbook=logbook,
                states=states,
                save_every=run.save_every,
                occasional=self.occasional,
                processes=processes,
                skipped=self.skipped,
                stage=self.folder.name,
            )
            batches = map(self._ready_to_be_cut, loader.batches(first_step, config.num_steps))
            try:
                training.run(compute.on_device(batches), first_step=first_step)
            except UnreadableBatchError as error:
                if self.skipped is not None:
                    self.skipped.add_last(error.skipped, stage=self.folder.name, step=error.step)
                raise
        if first_step < config.num_steps:
            states.save(config.num_steps)
        self.module.eval()

    def _ready_to_be_cut(self, batch: BatchT) -> BatchT:
        return longest_first(batch) if 0 < self.config.micro_batch_size < num_samples(batch) else batch

    def _outputs(self, batch: BatchT) -> Outputs:
        return self.loss.outputs(cut_to_longest(batch) if self.config.micro_batch_size else batch)

    def _logbook(self, first_step: int) -> Logbook:
        return Logbook(
            self.folder,
            total_steps=self.config.num_steps,
            batch_size=self.config.batch_size,
            first_step=first_step,
            title=self.title,
            log_to=self.run_config.log_to,
            settings=to_plain(self.settings),
            quiet=self.quiet,
            writes=current().is_first,
        )


def states_folder(stage: Path) -> Path:
    """Where a stage saves its states."""
    return stage / "states"
