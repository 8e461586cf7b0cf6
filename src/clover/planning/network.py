"""What a network costs for one sample, counted from its config: operations, weights and what autograd holds.

A multiplication with its addition counts as two operations, as everywhere in the field. Only matrix products count: the
rest (norms, softmax, GELU) is below a hundredth of the operations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

from clover.modeling.fusion import FusionConfig
from clover.modeling.layers import TransformerConfig
from clover.modeling.model import ModelConfig, needed_inputs
from clover.modeling.text_encoder import TextEncoderConfig
from clover.modeling.video_swin import VideoEncoderConfig

Part = Literal["video", "text", "fusion", "heads"]

WIDE_BYTES = 4
"""Of a number where autocast keeps float32: the inputs of norms."""
_NUM_PASSES = 2
"""Every encoder sees the complete and the masked sample; the fusion encoder both pairs of one of each."""


@dataclass(frozen=True, kw_only=True)
class SampleShape:
    """The size of one sample as the network sees it."""

    num_frames: int
    """Frames of the clip; 1 for an image."""
    frame_size: int
    """Rows and columns of pixels."""
    text_length: int
    """Word pieces, [CLS], [SEP] and padding included."""
    num_masked_words: int = 3
    """Word pieces that are masked."""
    number_bytes: int = 2
    """Bytes of a number that autograd holds where nothing asks for float32: 2 under autocast, 4 without."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of the network: its weights, and its cost for one sample, the complete and the masked one together."""

    part: Part
    num_weights: int
    """Parameters."""
    flops: int = 0
    """Operations of the forward pass."""
    gradient_flops: int = 0
    """Operations of the backward pass: a product of the same size for the weights and, but for pixels, the input."""
    held_bytes: int = 0
    """Held for the backward pass."""
    input_bytes: int = 0
    """What is held in place of that where the block is computed again in the backward pass; 0 where it never is."""
    bias_bytes: int = 0
    """Gradient of the position bias before it is summed over the windows that share it: there while the block's
    backward pass runs."""

    @property
    def is_repeatable(self) -> bool:
        """Whether activation checkpointing computes the block again."""
        return self.input_bytes > 0


def _block(part: Part, *, num_weights: int, flops: int = 0, **more: int) -> Block:
    """A block whose backward pass costs twice its forward pass."""
    return Block(part=part, num_weights=num_weights, flops=flops, gradient_flops=2 * flops, **more)


def blocks_of(model: ModelConfig, sample: SampleShape) -> tuple[Block, ...]:
    """All blocks, in the order in which a sample goes through them.

    Args:
        model: The network.
        sample: What it is given.

    Raises:
        ConfigError: its encoders are not Clover's own.
    """
    grid = model.own_video.output_grid(sample.num_frames, sample.frame_size, sample.frame_size)
    return (
        *_video_blocks(model.own_video, sample),
        *_text_blocks(model.own_text, sample),
        *_fusion_blocks(model.fusion, prod(grid), sample, gives_video=model.fused_pairing == "first_release"),
        *_head_blocks(model, sample),
    )


def training_flops(model: ModelConfig, sample: SampleShape, wanted: Collection[str]) -> int:
    """Operations, forward and backward, of the encoder passes and heads that some outputs of pre-training need.

    Args:
        model: The network.
        sample: What it is given.
        wanted: Names of fields of `Embeddings`, and ``word_scores``.
    """
    passes = {part: len(kinds) / _NUM_PASSES for part, kinds in needed_inputs(wanted).items()}
    names = set(wanted)
    heads = iter(
        (
            len(names & {"video", "masked_video"}) / _NUM_PASSES,
            float("fused_for_video" in names),
            len(names & {"text", "masked_text"}) / _NUM_PASSES,
            float("fused_for_text" in names),
            float("word_scores" in names),
        )
    )
    total = 0.0
    for place, block in enumerate(blocks_of(model, sample)):
        # patches are embedded once, whatever goes through the encoder
        share = next(heads) if block.part == "heads" else passes[block.part] if place else min(1.0, 2 * passes["video"])
        total += share * (block.flops + block.gradient_flops)
    return round(total)


def _linear(num_tokens: int, input_width: int, output_width: int) -> int:
    """Operations of a linear layer."""
    return 2 * num_tokens * input_width * output_width


def _linear_weights(input_width: int, output_width: int) -> int:
    return input_width * output_width + output_width


def _up_to_multiple(extent: int, divisor: int) -> int:
    return -(-extent // divisor) * divisor


def _video_blocks(config: VideoEncoderConfig, sample: SampleShape) -> Iterator[Block]:
    """Patch embedding, stages of window attention, mergings, and the last norm."""
    clip = (sample.num_frames, sample.frame_size, sample.frame_size)
    t, h, w = (-(-extent // patch) for extent, patch in zip(clip, config.patch_size, strict=True))
    patch_width, width = 3 * prod(config.patch_size), config.width
    # embedded once; only the masked copy differs
    yield Block(
        part="video",
        num_weights=_linear_weights(patch_width, width) + 2 * width + width,
        flops=_linear(t * h * w, patch_width, width),
        gradient_flops=_linear(t * h * w, patch_width, width),
        held_bytes=t * h * w * (sample.number_bytes * patch_width + WIDE_BYTES * width),
    )
    for stage, (depth, num_heads) in enumerate(zip(config.depths, config.num_heads, strict=True)):
        if stage:
            h, w = _up_to_multiple(h, 2) // 2, _up_to_multiple(w, 2) // 2
            yield _merging(t * h * w, width, sample)
            width *= 2
        for block in range(depth):
            yield _swin_block(config, (t, h, w), width, num_heads, sample, is_shifted=block % 2 == 1)
    yield _block("video", num_weights=2 * width, held_bytes=_NUM_PASSES * t * h * w * WIDE_BYTES * width)


def _merging(num_merged: int, width: int, sample: SampleShape) -> Block:
    return _block(
        "video",
        num_weights=2 * 4 * width + 4 * width * 2 * width,
        flops=_NUM_PASSES * _linear(num_merged, 4 * width, 2 * width),
        held_bytes=_NUM_PASSES * num_merged * 4 * width * (WIDE_BYTES + sample.number_bytes),
    )


def _swin_block(
    config: VideoEncoderConfig,
    grid: tuple[int, int, int],
    width: int,
    num_heads: int,
    sample: SampleShape,
    *,
    is_shifted: bool,
) -> Block:
    """Attention works on the map padded to whole windows, the feed-forward part on the map itself."""
    window = [min(extent, reach) for extent, reach in zip(grid, config.window, strict=True)]
    num_tokens, length = prod(grid), prod(window)
    num_padded = prod(_up_to_multiple(extent, reach) for extent, reach in zip(grid, window, strict=True))
    is_cut = is_shifted and any(extent > reach for extent, reach in zip(grid, config.window, strict=True))
    hidden = int(width * config.feed_forward_ratio)
    attention = (
        _linear(num_padded, width, 3 * width) + 4 * num_padded * length * width + _linear(num_padded, width, width)
    )
    feed_forward = _linear(num_tokens, width, hidden) + _linear(num_tokens, hidden, width)
    # input, query, key, value and output of the attention; several masks make several calls, whose outputs are joined
    held = sample.number_bytes * num_padded * width * (5 + is_cut)
    held += num_tokens * (sample.number_bytes * (width + 2 * hidden) + 2 * WIDE_BYTES * width)
    num_distances = prod(2 * reach - 1 for reach in config.window)
    return _block(
        "video",
        num_weights=_layer_weights(width, hidden) + num_distances * num_heads,
        flops=_NUM_PASSES * (attention + feed_forward),
        held_bytes=_NUM_PASSES * held,
        input_bytes=_NUM_PASSES * num_tokens * WIDE_BYTES * width,
        bias_bytes=_NUM_PASSES * num_padded * length * num_heads * sample.number_bytes,
    )


def _layer_weights(width: int, hidden: int) -> int:
    """Attention, feed-forward and two norms: the same in both kinds of transformer."""
    attention = _linear_weights(width, 3 * width) + _linear_weights(width, width)
    return attention + _linear_weights(width, hidden) + _linear_weights(hidden, width) + 2 * 2 * width


def _layers(
    part: Part, config: TransformerConfig, length: int, sample: SampleShape, *, num_last: int | None = None
) -> Iterator[Block]:
    """BERT's layers on one sequence, of which the last may work at the last places only."""
    width, hidden = config.width, config.feed_forward_width
    dropped = 2 * width if config.dropout else 0  # a byte for every number that dropout looked at
    for layer in range(1, config.num_layers + 1):
        given = length if num_last is None or layer < config.num_layers else num_last
        flops = (
            _linear(length, width, 3 * width)
            + 4 * given * length * width
            + _linear(given, width, width)
            + _linear(given, width, hidden)
            + _linear(given, hidden, width)
        )
        held = sample.number_bytes * (4 * length * width + given * (2 * width + 2 * hidden))
        held += given * (2 * WIDE_BYTES * width + dropped)
        yield _block(
            part,
            num_weights=_layer_weights(width, hidden),
            flops=_NUM_PASSES * flops,
            held_bytes=_NUM_PASSES * held,
            input_bytes=_NUM_PASSES * length * WIDE_BYTES * width,
        )


def _text_blocks(config: TextEncoderConfig, sample: SampleShape) -> Iterator[Block]:
    width = config.transformer.width
    yield _block(
        "text",
        num_weights=(config.vocabulary_size + config.max_length + 2) * width + 2 * width,
        held_bytes=_NUM_PASSES * sample.text_length * WIDE_BYTES * width,
    )
    yield from _layers("text", config.transformer, sample.text_length, sample)


def _fusion_blocks(
    config: FusionConfig, num_video_tokens: int, sample: SampleShape, *, gives_video: bool
) -> Iterator[Block]:
    """Where nobody looks at the video's places, the last joint layer works at the others only."""
    width = config.transformer.width
    is_joint = config.kind == "concatenated"
    num_positions = config.num_spatial_positions + config.num_temporal_positions
    num_vectors = num_positions + 2 + config.has_own_cls + 2 * is_joint  # a norm, and two types of tokens
    held = num_video_tokens * (sample.number_bytes * config.video_width + WIDE_BYTES * width)
    if not is_joint:  # all layers look at the same video
        held += num_video_tokens * WIDE_BYTES * width
    yield _block(
        "fusion",
        num_weights=_linear_weights(config.video_width, width) + num_vectors * width,
        flops=_NUM_PASSES * _linear(num_video_tokens, config.video_width, width),
        held_bytes=_NUM_PASSES * held,
    )
    num_last = config.has_own_cls + sample.text_length
    if is_joint:
        length = num_video_tokens + num_last
        yield from _layers("fusion", config.transformer, length, sample, num_last=None if gives_video else num_last)
    else:
        for _ in range(config.transformer.num_layers):
            yield _cross_layer(config, num_last, num_video_tokens, sample)


def _cross_layer(config: FusionConfig, length: int, num_seen: int, sample: SampleShape) -> Block:
    """A layer of text that looks at video tokens; see `clover.modeling.cross_layers`."""
    width, hidden = config.transformer.width, config.transformer.feed_forward_width
    is_gated = config.kind == "gated"
    attention = _linear(length, width, 4 * width) + 4 * length**2 * width
    cross = _linear(length, width, 2 * width) + _linear(num_seen, width, 2 * width) + 4 * length * num_seen * width
    # inputs of the products, queries, keys, values and what is mixed; a gate holds what it lets through
    held = sample.number_bytes * length * ((8 + 3 * is_gated) * width + 2 * hidden)
    held += sample.number_bytes * 2 * num_seen * width
    if sample.number_bytes < WIDE_BYTES:  # a copy of the video for each layer
        held += sample.number_bytes * num_seen * width
    dropped = 3 * width if config.transformer.dropout else 0
    held += length * (3 * WIDE_BYTES * width + dropped)
    more_weights = _linear_weights(width, 4 * width) + 2 * width + 3 * is_gated
    return _block(
        "fusion",
        num_weights=_layer_weights(width, hidden) + more_weights,
        flops=_NUM_PASSES * (attention + cross + _linear(length, width, 2 * hidden)),
        held_bytes=_NUM_PASSES * held,
        input_bytes=_NUM_PASSES * length * WIDE_BYTES * width,
    )


def _head_blocks(model: ModelConfig, sample: SampleShape) -> Iterator[Block]:
    """Projections to the shared space, and the scores of the masked words."""
    hidden, out = model.projection_width, model.embedding_width
    text_width, vocabulary = model.text.width, model.text.vocabulary_size
    for input_width, num_inputs in ((model.video.output_width, _NUM_PASSES), (text_width, 1)):
        yield _block(
            "heads",
            num_weights=_linear_weights(input_width, hidden) + _linear_weights(hidden, out) + 2 * (hidden + out),
            flops=num_inputs * (_linear(1, input_width, hidden) + _linear(1, hidden, out)),
            held_bytes=num_inputs * (sample.number_bytes * (input_width + 2 * hidden) + WIDE_BYTES * (hidden + out)),
        )
    for num_inputs in (_NUM_PASSES, 1):
        yield _block(
            "heads",
            num_weights=_linear_weights(text_width, out) + _linear_weights(out, out),
            flops=num_inputs * (_linear(1, text_width, out) + _linear(1, out, out)),
            held_bytes=num_inputs * sample.number_bytes * (text_width + 2 * out),
        )
    # scores are held in float32, as they are and as logarithms of probabilities
    yield _block(
        "heads",
        num_weights=_linear_weights(text_width, text_width) + 2 * text_width + _linear_weights(text_width, vocabulary),
        flops=_linear(sample.num_masked_words, text_width, text_width + vocabulary),
        held_bytes=sample.num_masked_words
        * (3 * sample.number_bytes * text_width + WIDE_BYTES * (text_width + 2 * vocabulary)),
    )
