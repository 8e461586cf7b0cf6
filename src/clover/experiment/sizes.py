"""The sizes of weights that a run starts from, which it takes over with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from clover.checkpoints import InputConfig
from clover.config import flat, to_plain
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

    Parts that begin fresh keep their own sizes, except for the widths at which they meet the others. Extents of tables
    of positions stay too, where the tokens are the same: the tables are resized. Around encoders of transformers
    nothing is changed here.

    Args:
        model: The network.
        theirs: The other one.
        parts: Parts whose weights are taken from it.
        inputs: What goes into the network.
    """
    encoders = (model.video, theirs.video), (model.text, theirs.text)
    if not all(isinstance(one, (VideoEncoderConfig, TextEncoderConfig)) for pair in encoders for one in pair):
        return model
    if "video_encoder" in parts or (
        _ON_VIDEO_WIDTH.intersection(parts) and model.own_video.output_width != theirs.own_video.output_width
    ):
        model = _with_their_video(model, theirs.own_video, inputs)
    if "text_encoder" in parts or (_ON_TEXT_WIDTH.intersection(parts) and model.text.width != theirs.text.width):
        model = _with_their_text(model, theirs.own_text)
    if "fusion" in parts:
        layers = replace(theirs.fusion.transformer, dropout=model.fusion.transformer.dropout)
        fusion = replace(model.fusion, has_own_cls=theirs.fusion.has_own_cls, transformer=layers)
        model = replace(model, fusion=fusion)
    if "projections" in parts:
        model = replace(model, embedding_width=theirs.embedding_width, projection_width=theirs.projection_width)
    return model


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
