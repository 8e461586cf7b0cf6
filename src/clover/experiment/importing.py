"""Encoders that others trained become a folder that runs start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from clover.data.text import Tokenizer
from clover.experiment.imported import Encoders, EncodersConfig, Source, check_words
from clover.experiment.official_record import video_as_recorded
from clover.modeling.bert import TextImport, import_bert
from clover.modeling.official import is_official, video_part
from clover.modeling.pixels import PixelConfig
from clover.modeling.positions import resized_words
from clover.modeling.preprocessor import read_pixels
from clover.modeling.published_config import check_swin
from clover.modeling.swin_import import VideoImport, import_video
from clover.modeling.video_swin import VideoEncoderConfig
from clover.modeling.weight_files import WeightFile, read_weights, weights_checksum
from clover.modeling.windows import Size

ChannelOrder = Literal["auto", "rgb", "bgr"]
PositionBias = Literal["auto", "published", "exact"]


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a video encoder is taken over."""

    window: Size | None = None
    """Frames, rows and columns (in tokens) of a window; None keeps the file's."""
    patch_frames: int | None = None
    """Frames of a patch, of an image encoder that is inflated; None: 2."""
    position_bias: PositionBias = "auto"
    """Bias of clipped windows; auto: as our record in the file says, else as the publisher's code does."""
    channel_order: ChannelOrder = "auto"
    """Order of the channels that it was trained on; auto: as our record in the file says if we exported it, else
    blue first for official Clover and red first for all others."""


def import_encoders(
    video: str, text: str, *, options: VideoOptions, text_positions: int = 0
) -> tuple[Encoders, list[str]]:
    """Take over a video encoder, a text encoder, or both.

    Args:
        video: File or folder of a Swin encoder; empty leaves it out.
        text: Folder of a BERT, or its file of weights; empty leaves it out.
        options: How the video encoder is taken over.
        text_positions: Number of text positions; 0 keeps the file's.

    Returns:
        The encoders, and lines that say what was taken and what was not.

    Raises:
        CheckpointError: a file is missing, broken, unsafe, of no known dialect, or does not fit.
        ConfigError: frames of a patch are given, and the file has its own.
    """
    config, state, told = EncodersConfig(), dict[str, Tensor](), []
    tokenizer = None
    if video:
        file = read_weights(video)
        found = _video(file, options)
        encoder, pixels = _as_published(file, found, options)
        config = replace(config, video=_bias_rule(encoder, options), pixels=_channels(pixels, options))
        config = replace(config, sources=(_source("video encoder", found.dialect, file.path, found.resized),))
        state |= found.state
        told += _told_of_video(found, config)
    if text:
        words = import_bert(text)
        words = _with_positions(words, text_positions)
        tokenizer = Tokenizer.load(words.path.parent)
        check_words(tokenizer, words.config.vocabulary_size, source=text)
        config = replace(
            config,
            text=words.config,
            sources=(*config.sources, _source("text encoder", "BERT", words.path, words.resized)),
        )
        state |= words.state
        told += _told_of_text(words)
    return Encoders(config=config, state=state, tokenizer=tokenizer), told


def _video(file: WeightFile, options: VideoOptions) -> VideoImport:
    state, dialect = file.state, ""
    if is_official(state):
        state, dialect = video_part(state), "official Clover, its video encoder"
    found = import_video(
        state,
        source=str(file.path),
        window=options.window,
        patch_frames=options.patch_frames,
        prefix=file.prefix,
    )
    if found.dialect.startswith("Hugging Face"):  # whose weights do not tell all that the library does with them
        check_swin(file.path.parent)
    return replace(found, dialect=dialect or found.dialect)


def _as_published(
    file: WeightFile, found: VideoImport, options: VideoOptions
) -> tuple[VideoEncoderConfig, PixelConfig]:
    """The encoder and its pixels, by our record in the file, else by the file beside the weights, else ImageNet's."""
    if is_official(file.state):
        recorded = video_as_recorded(file.meta, file.path, found.config, is_resized=options.window is not None)
        if recorded is not None:
            return recorded
    order: Literal["rgb", "bgr"] = "bgr" if is_official(file.state) else "rgb"
    return found.config, replace(read_pixels(file.path.parent) or PixelConfig(), channel_order=order)


def _bias_rule(video: VideoEncoderConfig, options: VideoOptions) -> VideoEncoderConfig:
    return video if options.position_bias == "auto" else replace(video, clipped_window_bias=options.position_bias)


def _channels(pixels: PixelConfig, options: VideoOptions) -> PixelConfig:
    return pixels if options.channel_order == "auto" else replace(pixels, channel_order=options.channel_order)


def _with_positions(words: TextImport, num_positions: int) -> TextImport:
    if num_positions in (0, words.config.max_length):
        return words
    name = "text_encoder.position_embedding.weight"
    state = words.state | {name: resized_words(words.state[name], num_positions)}
    how = "cut" if num_positions < words.config.max_length else "drawn out linearly, which changes every text"
    told = f"text positions {how}: {words.config.max_length} to {num_positions}"
    return replace(words, state=state, config=replace(words.config, max_length=num_positions), resized=(told,))


def _source(part: str, dialect: str, path: Path, resized: tuple[str, ...]) -> Source:
    return Source(part=part, dialect=dialect, file=path.name, sha256=weights_checksum(path), resized=resized)


def _told_of_video(found: VideoImport, config: EncodersConfig) -> list[str]:
    video = found.config
    count = sum(value.numel() for value in found.state.values())
    channels = "red first" if config.pixels.channel_order == "rgb" else "blue first (BGR)"
    window, patch = ("x".join(map(str, size)) for size in (video.window, video.patch_size))
    return [
        f"video encoder: {found.dialect}, {count / 1e6:.1f} M weights, width {video.width}, depths "
        f"{'-'.join(map(str, video.depths))}, window {window}, patch {patch}; channels: {channels}",
        *(f"  {line}" for line in found.told),
        *(f"  resized: {line}" for line in found.resized),
    ]


def _told_of_text(words: TextImport) -> list[str]:
    layers = words.config.transformer
    count = sum(value.numel() for value in words.state.values())
    return [
        f"text encoder: BERT, {count / 1e6:.1f} M weights, width {layers.width}, {layers.num_layers} layers, "
        f"{layers.num_heads} heads, {words.config.vocabulary_size} word pieces, epsilon {layers.norm_epsilon:g}",
        *(f"  {line}" for line in words.told),
        *(f"  resized: {line}" for line in words.resized),
    ]
