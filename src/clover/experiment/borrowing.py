"""Encoders of Hugging Face's transformers in a pre-training run: what they change of it, and their weights."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clover.data.borrowed_tokenizer import TOKENIZER_FILES, holds_tokenizer, tokenizer_of
from clover.data.text import Tokenizer
from clover.errors import ConfigError
from clover.experiment.configs import PretrainingExperiment, StageConfig, with_kept_frames
from clover.experiment.starting import Start
from clover.files import is_hub_id
from clover.modeling.borrowed_shape import describe_video, unseen_pixels, vision_part
from clover.modeling.borrowed_text import BorrowedTextConfig, check_is_text, check_sees_all_words, describe_text
from clover.modeling.borrowed_video import BorrowedVideoConfig
from clover.modeling.hub_folders import Companion, find_folder
from clover.modeling.huggingface import architecture, config_of, read_config
from clover.modeling.huggingface_weights import read_weights
from clover.modeling.model import CloverModel
from clover.modeling.pixels import PixelConfig
from clover.modeling.preprocessor import PREPROCESSOR_FILES, holds_preprocessor, read_pixels
from clover.modeling.sizes import around
from clover.modeling.weights import load_strictly
from clover.publishing.history import Event
from clover.training.adapters import Part

_PREPROCESSOR = Companion(
    title="a preprocessor_config.json", files=PREPROCESSOR_FILES, is_in=holds_preprocessor, is_needed=False
)
_TOKENIZER = Companion(title="a tokenizer", files=TOKENIZER_FILES, is_in=holds_tokenizer, is_needed=True)


@dataclass(frozen=True, kw_only=True)
class Borrowing:
    """A run around encoders of others."""

    experiment: PretrainingExperiment
    """The run's settings, which the encoders have changed."""
    tokenizer: Tokenizer | None = None
    """The text encoder's."""
    weights: dict[Part, dict[str, Tensor]] = field(default_factory=dict)
    """By part, under the library's names."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Of the weights, by part."""
    history: tuple[Event, ...] = ()
    """Where the weights come from."""

    def put_into(self, network: CloverModel) -> None:
        """Replace a network's weights by those of the encoders; all others stay as they are."""
        for part, weights in self.weights.items():
            load_strictly(network.get_submodule(f"{part}.borrowed.model"), weights, source=f"the {part}")


def borrow(experiment: PretrainingExperiment, start: Start | None, *, quiet: bool = False) -> Borrowing:
    """Read the encoders that a run names; a run that names none comes back as it is.

    Args:
        experiment: The run.
        start: What it starts from; encoders of others that are taken from there bring their shape along.
        quiet: Show nothing.

    Raises:
        ConfigError: an encoder is named wrongly, transformers is not installed, or texts are longer than its positions.
        CheckpointError: an encoder is missing, broken, or of no use here.
        TextError: a text encoder's tokenizer is.
    """
    made = Borrowing(experiment=experiment)
    if start is not None:
        made = replace(made, experiment=_of_start(experiment, start, quiet=quiet))
    if experiment.video_encoder:
        folder = find_folder(experiment.video_encoder, option="--video-encoder", companion=_PREPROCESSOR)
        made = _with_video(made, folder, quiet=quiet)
    if experiment.text_encoder:
        folder = find_folder(experiment.text_encoder, option="--text-encoder", companion=_TOKENIZER)
        made = _with_text(made, folder, quiet=quiet)
    return made


def _of_start(experiment: PretrainingExperiment, start: Start, *, quiet: bool) -> PretrainingExperiment:
    model = start.model
    if model is None:  # imported encoders are Clover's own
        return experiment
    lines = []
    if "video_encoder" in experiment.init_parts and isinstance(model.video, BorrowedVideoConfig):
        experiment = _around_video(experiment, model.video, model.pixels)
        lines.append(f"video encoder from {start.source}: {_video_sizes(model.video)}")
    if "text_encoder" in experiment.init_parts and isinstance(model.text, BorrowedTextConfig):
        experiment = _around_text(experiment, model.text)
        lines.append(f"text encoder from {start.source}: {_text_sizes(model.text)}")
    if not quiet:
        for line in lines:
            _say(line)
    return experiment


def _with_video(made: Borrowing, folder: Path, *, quiet: bool) -> Borrowing:
    inputs = made.experiment.inputs
    plain = vision_part(read_config(folder), source=str(folder))
    config = describe_video(
        architecture(config_of(plain, source=str(folder))),
        num_frames=inputs.num_frames,
        frame_size=inputs.frames.size,
        source=str(folder),
    )
    pixels = read_pixels(folder)
    weights = read_weights(folder, config.architecture)
    if not quiet:
        _say(f"video encoder from {folder}: {_video_sizes(config, weights)}")
        unseen = unseen_pixels(config)
        if unseen:
            _say(unseen)
        if pixels is None:
            _say(f"{folder} holds no preprocessor_config.json: pixels are normalised by ImageNet's figures")
    return replace(
        made,
        experiment=_around_video(made.experiment, config, pixels or PixelConfig()),
        weights={**made.weights, "video_encoder": weights},
        **_origin(made, "video_encoder", made.experiment.video_encoder, config.architecture, weights),
    )


def _with_text(made: Borrowing, folder: Path, *, quiet: bool) -> Borrowing:
    plain = architecture(config_of(read_config(folder), source=str(folder)))
    check_is_text(plain, source=str(folder))
    tokenizer = tokenizer_of(folder)
    config = describe_text(
        plain, vocabulary_size=tokenizer.vocabulary_size, pad_id=tokenizer.pad_id, source=str(folder)
    )
    weights = read_weights(folder, plain)
    check_sees_all_words(config, weights, pad_id=tokenizer.pad_id, source=str(folder))
    if not quiet:
        _say(f"text encoder from {folder}: {_text_sizes(config, weights)}")
    return replace(
        made,
        experiment=_around_text(made.experiment, config),
        tokenizer=tokenizer,
        weights={**made.weights, "text_encoder": weights},
        **_origin(made, "text_encoder", made.experiment.text_encoder, plain, weights),
    )


def _origin(
    made: Borrowing, part: Part, source: str, architecture: dict[str, Any], weights: dict[str, Tensor]
) -> dict[str, Any]:
    """What is to be known of an encoder: its fingerprint and, in the history, its name; of a folder the last part."""
    fingerprint = _fingerprint(architecture, weights)
    name = source.removeprefix("hf:")
    event = Event(
        kind="encoder",
        title=str(architecture["model_type"]),
        parts=(part,),
        name=name if is_hub_id(name) else Path(name).expanduser().resolve().name,
        digest=fingerprint,
    )
    return {"fingerprints": {**made.fingerprints, part: fingerprint}, "history": (*made.history, event)}


def _around_video(
    experiment: PretrainingExperiment, config: BorrowedVideoConfig, pixels: PixelConfig
) -> PretrainingExperiment:
    """Frames as the encoder takes them, and no warm start: its weights are what that is to give."""
    inputs = experiment.inputs
    return replace(
        experiment,
        data=with_kept_frames(experiment.data, config.num_frames),
        model=replace(around(experiment.model, video=config), pixels=pixels),
        inputs=replace(inputs, num_frames=config.num_frames, frames=inputs.frames.of_size(config.frame_size)),
        video_warm_start=StageConfig(),
    )


def _around_text(experiment: PretrainingExperiment, config: BorrowedTextConfig) -> PretrainingExperiment:
    longest = experiment.inputs.max_text_length
    if longest > config.max_length:
        raise ConfigError(
            f"texts of {longest} tokens are longer than the {config.max_length} positions of the text encoder; "
            f"use --inputs.max-text-length {config.max_length}"
        )
    return replace(experiment, model=around(experiment.model, text=config), text_warm_start=StageConfig())


def _fingerprint(plain: dict[str, Any], weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _video_sizes(config: BorrowedVideoConfig, weights: dict[str, Tensor] | None = None) -> str:
    grid = " x ".join(map(str, config.grid))
    return (
        f"{config.architecture['model_type']}{_count(weights)}; {config.num_frames} frames of {config.frame_size} "
        f"pixels become {grid} tokens of width {config.output_width}"
    )


def _text_sizes(config: BorrowedTextConfig, weights: dict[str, Tensor] | None = None) -> str:
    return (
        f"{config.architecture['model_type']}{_count(weights)}; {config.vocabulary_size:,} word pieces, tokens of "
        f"width {config.width}"
    )


def _count(weights: dict[str, Tensor] | None) -> str:
    if weights is None:
        return ""
    num_weights = sum(value.numel() for value in weights.values())
    return f", {num_weights / 1e6:.1f} M weights" if num_weights >= 1e6 else f", {num_weights:,} weights"


def _say(line: str) -> None:
    print(line, file=sys.stderr)
