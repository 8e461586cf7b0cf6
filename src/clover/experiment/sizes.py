"""The sizes of weights that a run starts from, which it takes over with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from clover.checkpoints import InputConfig
from clover.config import flat, to_plain
from clover.errors import ConfigError
from clover.modeling.model import ModelConfig
from clover.modeling.text_encoder import TextEncoderConfig
from clover.modeling.video_swin import VideoEncoderConfig
from clover.training.adapters import Part

_ON_VIDEO_WIDTH: frozenset[Part] = frozenset({"video_encoder", "fusion", "projections"})
_ON_TEXT_WIDTH: frozenset[Part] = frozenset({"text_encoder", "fusion", "projections", "masked_words"})
"""Parts with weights as wide as the tokens of an encoder."""


def with_video(model: ModelConfig, video: VideoEncoderConfig, inputs: InputConfig) -> ModelConfig:
    """A network with the geometry of another video encoder; the fusion's positions follow the grid that it makes.

    What training chooses stays: stochastic depth, and how a position bias begins.

    Args:
        model: The network.
        video: The other encoder's geometry.
        inputs: What goes into it.
    """
    own = replace(
        video,
        stochastic_depth=model.own_video.stochastic_depth,
        initial_position_bias=model.own_video.initial_position_bias,
    )
    size = inputs.frames.size
    times, rows, columns = own.output_grid(inputs.num_frames, size, size)
    fusion = replace(
        model.fusion,
        video_width=own.output_width,
        num_spatial_positions=rows * columns,
        num_temporal_positions=times,
    )
    return replace(model, video=own, fusion=fusion)


def with_text(model: ModelConfig, text: TextEncoderConfig) -> ModelConfig:
    """A network with the geometry of another text encoder; the fusion's layers get its widths, and stay as many.

    What training chooses stays: dropout.
    """
    theirs, mixing = text.transformer, model.fusion.transformer
    layers = replace(theirs, dropout=model.own_text.transformer.dropout)
    fusion = replace(theirs, num_layers=mixing.num_layers, dropout=mixing.dropout)
    return replace(model, text=replace(text, transformer=layers), fusion=replace(model.fusion, transformer=fusion))


def with_sizes_of(model: ModelConfig, theirs: ModelConfig, parts: Collection[Part], inputs: InputConfig) -> ModelConfig:
    """A network that the weights of some parts of another fit.

    Parts that begin fresh keep their own sizes, unless they meet the others at another width: then an encoder gets the
    whole geometry of the other network's, and the fusion its heads and widths. Extents of tables of positions stay,
    where the tokens are the same: the tables are resized. An encoder of transformers, on either side, changes nothing
    here; of the text, fusion and projections go with it.

    Args:
        model: The network.
        theirs: The other one.
        parts: Parts whose weights are taken from it.
        inputs: What goes into the network.
    """
    if _are(VideoEncoderConfig, model.video, theirs.video) and (
        "video_encoder" in parts
        or (_ON_VIDEO_WIDTH.intersection(parts) and model.video.output_width != theirs.video.output_width)
    ):
        model = _with_their_video(model, theirs.own_video, inputs)
    if not _are(TextEncoderConfig, model.text, theirs.text):
        return model
    if "text_encoder" in parts or (_ON_TEXT_WIDTH.intersection(parts) and model.text.width != theirs.text.width):
        model = _with_their_text(model, theirs.own_text)
    if "fusion" in parts:
        layers = replace(theirs.fusion.transformer, dropout=model.fusion.transformer.dropout)
        fusion = replace(model.fusion, has_own_cls=theirs.fusion.has_own_cls, transformer=layers)
        model = replace(model, fusion=fusion)
    if "projections" in parts:
        model = replace(model, embedding_width=theirs.embedding_width, projection_width=theirs.projection_width)
    return model


def _are(kind: type, *configs: object) -> bool:
    return all(isinstance(config, kind) for config in configs)


def _with_their_video(model: ModelConfig, theirs: VideoEncoderConfig, inputs: InputConfig) -> ModelConfig:
    own = model.own_video
    has_their_tokens = (own.patch_size, len(own.depths)) == (theirs.patch_size, len(theirs.depths))
    changed = with_video(model, replace(theirs, window=own.window) if has_their_tokens else theirs, inputs)
    if not has_their_tokens:
        return changed
    return replace(changed, fusion=replace(model.fusion, video_width=changed.fusion.video_width))


def _with_their_text(model: ModelConfig, theirs: TextEncoderConfig) -> ModelConfig:
    own = model.own_text
    text = replace(theirs, max_length=own.max_length, vocabulary_size=own.vocabulary_size)
    if own.width == theirs.width:
        layers = replace(theirs.transformer, dropout=own.transformer.dropout)
        return replace(model, text=replace(text, transformer=layers))
    return with_text(model, text)


def differences(old: Any, new: Any) -> dict[str, Any]:
    """The settings that differ between two configs, by dotted name, as they are in the second."""
    before, after = flat(to_plain(old)), flat(to_plain(new))
    return {name: value for name, value in after.items() if name not in before or before[name] != value}


def as_words(value: Any) -> str:
    """A setting as the command line takes it."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def check_kept(asked: ModelConfig, recipe: ModelConfig, adopted: ModelConfig, *, source: str) -> None:
    """Compare what was asked for with what weights have made of it.

    Args:
        asked: A run's network, as the command line makes it.
        recipe: What it was made from.
        adopted: The same with the sizes of the weights.
        source: Where the weights come from, for the message.

    Raises:
        ConfigError: the weights have another size than an option gives; the line names both.
    """
    given, overruled = differences(recipe, asked), differences(asked, adopted)
    for name in (name for name in given if name in overruled):
        raise ConfigError(
            f"--model.{name.replace('_', '-')} {as_words(given[name])} does not fit the weights of --init {source}, "
            f"which have {as_words(overruled[name])} there; leave it out, or leave their part out of --init-parts"
        )
