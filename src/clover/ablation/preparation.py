"""What all runs share: two corpora, and encoders that were warmed on one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from clover.ablation.folders import AblationFolder
from clover.ablation.measures import EvaluationData
from clover.ablation.settings import AblationConfig
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.errors import CheckpointError, ConfigError
from clover.experiment.configs import PretrainingExperiment, StageConfig
from clover.experiment.pretraining import Pretraining
from clover.experiment.sources import open_pretraining_data
from clover.files import shell_word
from clover.pipeline import Clover
from clover.recipes.pretrain import shapes
from clover.training.checkpoint import forget_states
from clover.training.compute import ComputeConfig
from clover.training.logbook import progress

Say = Callable[[str], None]

_STAGES = ("video_warm_start", "text_warm_start")
_LONGEST_TEXT = 64
"""Paragraphs are read by the text encoder in its warm start, as BERT has read long texts."""


def warm_experiment(folder: AblationFolder, config: AblationConfig, compute: ComputeConfig) -> PretrainingExperiment:
    """Video encoder on labels, text encoder on masked words, and nothing else."""
    recipe = shapes()
    return replace(
        recipe,
        seed=config.warm_seed,
        data=replace(recipe.data, corpus=str(folder.warm_corpus), with_paragraphs=True),
        inputs=replace(recipe.inputs, max_text_length=_LONGEST_TEXT),
        video_warm_start=replace(recipe.video_warm_start, num_steps=config.warm_video_steps),
        text_warm_start=replace(recipe.text_warm_start, num_steps=config.warm_text_steps),
        training=StageConfig(num_steps=0),
        compute=compute,
    )


def prepare(folder: AblationFolder, config: AblationConfig, compute: ComputeConfig, *, say: Say, quiet: bool) -> None:
    """Write both corpora, warm the encoders, and decode and tag for all runs; what is there already is kept.

    Raises:
        CloverError: the folder cannot be written, or the device is not there.
    """
    _write(folder.corpus, config.corpus, "corpus", say, quiet)
    if not is_prepared(folder):
        _write(folder.warm_corpus, config.warm_corpus, "corpus of the warm start", say, quiet)
        say("warming the encoders")
        resumed(lambda: Pretraining(warm_experiment(folder, config, compute), folder.warm, quiet=quiet))
        for stage in _STAGES:
            forget_states(folder.warm / stage / "states")
    say("decoding and tagging what all runs share")
    recipe = shapes()
    words = replace(recipe.data, corpus=str(folder.corpus), tokenizer=str(folder.warm_checkpoint))
    open_pretraining_data(words, recipe.inputs, folder.warm, quiet=quiet)
    clover = Clover.from_pretrained(folder.warm_checkpoint)
    EvaluationData.open(folder.corpus, config.corpus, config.evaluated_split, clover, folder.warm)


def is_prepared(folder: AblationFolder) -> bool:
    """Whether the warm encoders are there."""
    return (folder.warm_checkpoint / "config.json").is_file()


def check_prepared(folder: AblationFolder) -> None:
    """See that several machines share one set of warm encoders.

    Raises:
        ConfigError: there is none yet.
    """
    if not is_prepared(folder):
        raise ConfigError(
            f"{folder.path} has no warm encoders, which all parts of the work share: run clover ablate prepare "
            f"--out {shell_word(folder.path)} once, copy the folder to the other machines, then run the parts"
        )


def resumed(make: Callable[[], Pretraining]) -> Clover:
    """Do a run, or go on where it stopped; states of other settings, and broken ones, are started over."""
    run = make()
    if any(run.folder.glob("*/states/step-*/state.json")):
        try:
            return run.run(resume=True)
        except CheckpointError:
            run = make()  # with the weights of a beginning
    return run.run()


def _write(folder: Path, config: ShapesConfig, title: str, say: Say, quiet: bool) -> None:
    say(f"{title}: {config.num_videos} videos")
    with progress("writing videos", quiet=quiet) as report:
        write_corpus(folder, config, progress=report)
