"""Three sizes of the same network: for tests, for a laptop, and the paper's; and the same around other encoders."""

from __future__ import annotations

from dataclasses import replace

from clover.modeling.borrowed_text import BorrowedTextConfig
from clover.modeling.borrowed_video import BorrowedVideoConfig
from clover.modeling.fusion import FusionConfig
from clover.modeling.layers import TransformerConfig
from clover.modeling.model import ModelConfig
from clover.modeling.text_encoder import TextEncoderConfig
from clover.modeling.video_swin import VideoEncoderConfig


def tiny(*, vocabulary_size: int) -> ModelConfig:
    """For tests: 8 frames of 32 pixels, 4 x 2 x 2 video tokens, some 64,000 weights and 65 for every word piece."""
    layers = TransformerConfig(width=32, num_layers=1, num_heads=2, feed_forward_width=64, dropout=0.0)
    return ModelConfig(
        video=VideoEncoderConfig(
            patch_size=(2, 8, 8),
            width=16,
            depths=(1, 1),
            num_heads=(1, 2),
            window=(4, 4, 4),
            stochastic_depth=0.0,
            clipped_window_bias="exact",
        ),
        text=TextEncoderConfig(vocabulary_size=vocabulary_size, max_length=192, transformer=layers),
        fusion=FusionConfig(video_width=32, num_spatial_positions=4, num_temporal_positions=4, transformer=layers),
        embedding_width=32,
        projection_width=64,
        fused_dropout=0.0,
    )


def small(*, vocabulary_size: int) -> ModelConfig:
    """For a laptop: 8 frames of 64 pixels, 1 x 8 x 8 video tokens, pre-trains in minutes on two CPU cores.

    Coarse patches and one wide stage learn fastest from nothing at this cost (decision 0005).
    """
    layers = TransformerConfig(width=128, num_layers=2, num_heads=4, feed_forward_width=512, dropout=0.0)
    return ModelConfig(
        video=VideoEncoderConfig(
            patch_size=(8, 8, 8),
            width=128,
            depths=(3,),
            num_heads=(8,),
            window=(1, 8, 8),
            stochastic_depth=0.0,
            clipped_window_bias="exact",
            initial_position_bias="local",
        ),
        text=TextEncoderConfig(vocabulary_size=vocabulary_size, max_length=192, transformer=layers),
        fusion=FusionConfig(video_width=128, num_spatial_positions=64, num_temporal_positions=1, transformer=layers),
        embedding_width=128,
        projection_width=256,
        fused_dropout=0.0,
        initial_weights="fan_in",
    )


def base() -> ModelConfig:
    """The paper's Clover-Base: Video Swin-B, BERT-base, three fusion layers, 8 frames of 224 pixels."""
    return ModelConfig()


def around(
    model: ModelConfig, *, video: BorrowedVideoConfig | None = None, text: BorrowedTextConfig | None = None
) -> ModelConfig:
    """The same network around encoders of others: fusion and projections take their widths and their grid of tokens.

    Args:
        model: What is changed; heads of the fusion encoder keep their width where it divides the new one.
        video: In place of its video encoder.
        text: In place of its text encoder.
    """
    old_width, width = model.text.width, text.width if text else model.text.width
    layers = model.fusion.transformer
    head_width = layers.width // layers.num_heads
    num_heads = width // head_width if width % head_width == 0 else max(1, width // 64 if width % 64 == 0 else 1)
    fusion = replace(
        model.fusion,
        transformer=replace(
            layers,
            width=width,
            num_heads=num_heads,
            feed_forward_width=layers.feed_forward_width * width // layers.width,
        ),
    )
    if video:
        times, rows, columns = video.grid
        fusion = replace(
            fusion,
            video_width=video.output_width,
            num_spatial_positions=rows * columns,
            num_temporal_positions=times,
        )
    follows = model.embedding_width == old_width
    embedding_width = width if follows else model.embedding_width
    return replace(
        model,
        video=video or model.video,
        text=text or model.text,
        fusion=fusion,
        embedding_width=embedding_width,
        projection_width=model.projection_width * embedding_width // model.embedding_width,
    )
