"""Pieces that every run is put together from: corpus, tokenizer, clip reader, one stage of training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from clover.config import to_plain
from clover.data.frame_cache import FrameCache
from clover.data.loader import CaptionedVideo, ClipReader, Loader
from clover.data.shapes.corpus import read_pairs
from clover.data.text import Tokenizer
from clover.data.transforms import training_clip
from clover.data.video import read_frames
from clover.errors import ConfigError
from clover.experiment.configs import DataConfig, StageConfig
from clover.files import WriteError, check_writable
from clover.objectives.pretraining import Losses
from clover.pipeline import InputConfig
from clover.training.checkpoint import TrainingState
from clover.training.logbook import Logbook, progress
from clover.training.loop import Occasional, Training
from clover.training.optimizer import Optimizer
from clover.training.records import RunRecord, checksums, data_fingerprint
from clover.training.sinks import SinkName

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


def captioned_videos(corpus: Path, split: str) -> list[CaptionedVideo]:
    """Videos of a split with all their captions, in the order of the annotation file."""
    captions: dict[str, list[str]] = {}
    paths: dict[str, Path] = {}
    for pair in read_pairs(corpus, split):
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
    with progress("decoding videos", quiet=quiet) as report:
        kept = FrameCache.build(
            cache / "frames",
            videos,
            num_kept=data.num_kept_frames,
            size=size,
            strict=data.strict,
            progress=report,
        )
    skipped = {item.video: item.reason for item in kept.skipped}
    return lambda video, generator: kept.clip(video, num_frames, generator), skipped


def run_stage(
    *,
    folder: Path,
    title: str,
    settings: Any,
    stage: StageConfig,
    module: nn.Module,
    items: Sequence[ItemT],
    make_batch: Callable[[Sequence[ItemT], np.random.Generator], BatchT],
    losses: Callable[[BatchT, int], Losses],
    leaves_gradients: bool = False,
    seed: int,
    save_every: int,
    resume: bool,
    occasional: Sequence[Occasional] = (),
    record: RunRecord | None = None,
    log_to: Sequence[SinkName] = (),
    quiet: bool = False,
) -> None:
    """Train a module on items until the stage's steps are done, in a folder of its own.

    Args:
        folder: Gets log.jsonl and, while the stage runs, state.safetensors.
        title: Shown above the progress.
        settings: Everything that decides the result; a state of other settings is refused.
        stage: Steps, batch size and optimiser.
        module: What is trained.
        items: Samples.
        make_batch: Samples and randomness to a batch.
        losses: Batch and step to losses.
        leaves_gradients: Whether it adds the gradients to the weights' itself.
        seed: Of the order of the samples and everything random.
        save_every: Steps between two saved states.
        resume: Go on from the saved state; a stage without one starts from the beginning.
        occasional: What else is done every so many steps.
        record: Of the run; is told where the stage begins or goes on.
        log_to: Sinks that get the figures too.
        quiet: Show nothing.
    """
    torch.manual_seed(seed)
    loader = Loader(items=items, make_batch=make_batch, batch_size=stage.batch_size, seed=seed)
    optimizer = Optimizer(module, stage.optimizer, num_steps=stage.num_steps, steps_per_epoch=loader.steps_per_epoch)
    run = json.dumps({"title": title, "settings": to_plain(settings)}, sort_keys=True)
    state = TrainingState(path=folder / "state.safetensors", run=run, module=module, optimizer=optimizer)
    first_step = state.restore() if resume and state.path.is_file() else 0
    if record is not None:
        record.enter(folder, first_step)
    module.train()
    with Logbook(
        folder,
        total_steps=stage.num_steps,
        batch_size=stage.batch_size,
        first_step=first_step,
        title=title,
        log_to=log_to,
        settings=to_plain(settings),
        quiet=quiet,
    ) as logbook:
        training = Training(
            losses=losses,
            leaves_gradients=leaves_gradients,
            optimizer=optimizer,
            logbook=logbook,
            state=state,
            save_every=save_every,
            occasional=occasional,
        )
        training.run(loader.batches(first_step, stage.num_steps), first_step=first_step)
    state.save(stage.num_steps)
    module.eval()
