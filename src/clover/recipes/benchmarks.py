"""A benchmark's row of the table as a fine-tuning experiment: as published, or for a small model."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from clover.checkpoints import InputConfig
from clover.data.transforms import TransformConfig
from clover.evaluation.benchmarks import Benchmark
from clover.experiment.configs import BenchmarkExperiment
from clover.modeling.text_encoder import TextEncoderConfig
from clover.modeling.video_swin import VideoEncoderConfig
from clover.pipeline import Clover
from clover.training.optimizer import OptimizerConfig

FittingRecipe = Literal["published", "small", "borrowed"]


def published_inputs(row: Benchmark) -> InputConfig:
    """What the published run reads of a test video and text."""
    shown = row.inputs
    is_burst = shown.num_views > 1
    return InputConfig(
        num_frames=shown.test_frames,
        num_views=shown.num_views,
        burst_length=4 if is_burst else 1,
        burst_interval=3 if is_burst else 1,
        frames=TransformConfig(
            training_fit=shown.training_fit,
            test_fit=shown.test_fit,
            flip_probability=shown.flip_probability,
        ),
        max_text_length=shown.test_text_length,
    )


def published(row: Benchmark) -> BenchmarkExperiment:
    """The published run. The rate holds at its batch size and is scaled in proportion to yours."""
    recipe = row.recipe
    return BenchmarkExperiment(
        inputs=published_inputs(row),
        training_frames=row.inputs.training_frames,
        training_text_length=row.inputs.training_text_length,
        num_epochs=float(recipe.num_epochs),
        batch_size=recipe.batch_size,
        reference_batch_size=recipe.batch_size,
        optimizer=OptimizerConfig(
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            gradient_norm=recipe.gradient_norm,
            warmup_share=recipe.warmup_epochs / recipe.num_epochs,
            warmup_start=recipe.warmup_start,
            final_factor=0.0,
            stepping=recipe.stepping,
            head_rate_factor=recipe.head_rate_factor,
            decays_position_bias=recipe.decays_position_bias,
        ),
        dropout=recipe.dropout,
        num_answers=row.num_answers or 1,
    )


def _own_inputs(row: Benchmark, clover: Clover) -> InputConfig:
    """Frames as the model takes them, texts as long as the benchmark's, if the model has positions for them."""
    longest = clover.config.model.text.max_length
    return replace(clover.config.inputs, max_text_length=min(longest, max(32, row.inputs.test_text_length)))


def small(row: Benchmark, clover: Clover) -> BenchmarkExperiment:
    """For a model like the demo's: its own frames and size, a rate for narrow networks, minutes on two CPU cores."""
    inputs = replace(_own_inputs(row, clover), lists_options=False)
    return replace(
        published(row),
        inputs=inputs,
        training_frames=inputs.num_frames,
        training_text_length=inputs.max_text_length,
        num_kept_frames=2 * inputs.num_frames if inputs.frames.training_fit == "square" else 0,
        num_epochs=12.0,
        batch_size=32,
        reference_batch_size=32,
        optimizer=OptimizerConfig(
            learning_rate=1e-3 if row.family == "answer" else 5e-4,
            weight_decay=0.01,
            gradient_norm=15.0,
            warmup_share=0.1,
            final_factor=0.0,
        ),
        dropout=0.1,
        # answers are read off the fusion of what the encoders know already; choices come in a form they never saw
        freeze=("video_encoder", "text_encoder") if row.family == "answer" else (),
    )


def borrowed(row: Benchmark, clover: Clover) -> BenchmarkExperiment:
    """For a model around encoders of others: the published run, with the frames and the size that the model takes."""
    inputs = _own_inputs(row, clover)
    return replace(
        published(row),
        inputs=inputs,
        training_frames=inputs.num_frames,
        training_text_length=inputs.max_text_length,
    )


def kind_of_recipe(clover: Clover) -> FittingRecipe:
    """The recipe that fits: published for a network of that size, borrowed around encoders of others, else small."""
    if has_published_size(clover):
        return "published"
    model = clover.config.model
    is_own = isinstance(model.video, VideoEncoderConfig) and isinstance(model.text, TextEncoderConfig)
    return "small" if is_own else "borrowed"


def recipe_for(row: Benchmark, clover: Clover, kind: FittingRecipe | None = None) -> BenchmarkExperiment:
    """A kind of recipe for a network; without one, the one that fits."""
    kind = kind or kind_of_recipe(clover)
    if kind == "published":
        return published(row)
    return small(row, clover) if kind == "small" else borrowed(row, clover)


def has_published_size(clover: Clover) -> bool:
    """Whether the video encoder is Video Swin-Base, whatever its dropout and its rule for clipped windows."""
    ours, theirs = clover.config.model.video, VideoEncoderConfig()
    if not isinstance(ours, VideoEncoderConfig):
        return False
    return (ours.patch_size, ours.width, ours.depths, ours.window) == (
        theirs.patch_size,
        theirs.width,
        theirs.depths,
        theirs.window,
    )


def zero_shot_inputs(row: Benchmark, clover: Clover) -> InputConfig:
    """What a checkpoint that was not fine-tuned on a benchmark reads in its test."""
    inputs = recipe_for(row, clover).inputs
    length = row.inputs.zero_shot_text_length
    return replace(inputs, max_text_length=length) if length and has_published_size(clover) else inputs
