"""Options that would change nothing in a run, which are refused in a line instead of being taken silently."""

from __future__ import annotations

from clover.errors import ConfigError
from clover.experiment.configs import PretrainingExperiment
from clover.experiment.distillation import DistillationExperiment


def check_effects(given: PretrainingExperiment, recipe: PretrainingExperiment) -> None:
    """Compare a run with its recipe: what was changed must have an effect.

    Args:
        given: The run as the command line makes it.
        recipe: What it was made from.

    Raises:
        ConfigError: an option has no effect; the line says beside which other.
    """
    encoders = (
        ("video", given.video_encoder, given.model.video != recipe.model.video),
        ("text", given.text_encoder, given.model.text != recipe.model.text),
    )
    for kind, source, is_changed in encoders:
        if source and is_changed:
            raise ConfigError(
                f"--model.{kind} has no effect: --{kind}-encoder {source} brings the sizes of its own; leave one out"
            )
    if given.init_parts != recipe.init_parts and not given.init:
        raise ConfigError("--init-parts has no effect without --init; give the folder that they are taken from")
    if not given.lora.rank and given.lora != recipe.lora:
        raise ConfigError("--lora has no effect without a rank; give --lora.rank 8, or leave the others out")
    if given.text_encoder and given.data.vocabulary_size != recipe.data.vocabulary_size:
        raise ConfigError("--data.vocabulary-size has no effect: --text-encoder brings its own tokenizer; leave it out")
    if isinstance(given, DistillationExperiment):
        _check_words(given, recipe)


def _check_words(given: DistillationExperiment, recipe: PretrainingExperiment) -> None:
    names = {"tokenizer": "--data.tokenizer", "vocabulary_size": "--data.vocabulary-size"}
    for name, option in names.items():
        if getattr(given.data, name) != getattr(recipe.data, name):
            raise ConfigError(f"{option} has no effect: a student takes the teacher's tokenizer; leave it out")
