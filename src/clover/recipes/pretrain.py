"""Pre-training recipes. What differs between two systems is what their functions replace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clover.checkpoints import InputConfig
from clover.data.masking import TextMaskingConfig
from clover.data.transforms import TransformConfig
from clover.experiment.configs import PretrainingDataConfig, PretrainingExperiment, StageConfig
from clover.modeling.sizes import base, small
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.training.compute import ComputeConfig
from clover.training.optimizer import OptimizerConfig


def shapes() -> PretrainingExperiment:
    """Small Clover on the generated corpus, the paper's full objective, minutes on two CPU cores."""
    optimizer = OptimizerConfig(
        learning_rate=1.5e-3, weight_decay=0.02, gradient_norm=15.0, warmup_share=0.08, final_factor=0.02
    )
    return PretrainingExperiment(
        data=PretrainingDataConfig(num_kept_frames=16),
        model=small(vocabulary_size=1),
        inputs=InputConfig(
            num_frames=8,
            frames=TransformConfig(size=64, training_fit="square", test_fit="square", training_short_side=None),
            max_text_length=32,
        ),
        video_warm_start=StageConfig(num_steps=700, batch_size=32, optimizer=replace(optimizer, learning_rate=2e-3)),
        text_warm_start=StageConfig(num_steps=100, batch_size=64, optimizer=replace(optimizer, learning_rate=1e-3)),
        training=StageConfig(num_steps=280, batch_size=64, optimizer=optimizer),
        ranking_ramp=(0.5, 1.0),
    )


def shapes_from_nothing() -> PretrainingExperiment:
    """The same without the warm start of the two encoders."""
    return replace(shapes(), video_warm_start=StageConfig(), text_warm_start=StageConfig())


def shapes_baseline() -> PretrainingExperiment:
    """The paper's Baseline (COMB): InfoNCE and masked words, random words masked, no tri-modal alignment."""
    return replace(
        shapes(),
        objective=PretrainingObjectiveConfig(alignment="pair-wise", ranking_weight=0.0),
        text_masking=TextMaskingConfig(rule="random_words"),
    )


def shapes_without_ranking() -> PretrainingExperiment:
    """The paper's +TMA+SM: everything but the pair-wise ranking."""
    return replace(shapes(), objective=PretrainingObjectiveConfig(ranking_weight=0.0))


def shapes_paper() -> PretrainingExperiment:
    """The paper's text where the published run differs: weight 1 for Eq. 3, only [MASK], no auxiliaries."""
    return replace(
        shapes(),
        objective=PretrainingObjectiveConfig(towards_anchor_weight=1.0),
        text_masking=TextMaskingConfig(rule="paper"),
    )


def webvid_cc3m() -> PretrainingExperiment:
    """Clover-Base as published: WebVid and CC3M (or shards of such) in turn, 40 epochs, batch 1024.

    Method, sections 3 to 5, and the published run. Two steps here, one of videos and one of images, are one iteration
    of the published schedule. Not as published: pixels are RGB, images are resized bilinearly.
    """
    return PretrainingExperiment(
        data=PretrainingDataConfig(num_kept_frames=0, vocabulary_size=30_522),
        model=base(),
        inputs=InputConfig(num_frames=8, frames=TransformConfig(size=224, training_short_side=256), max_text_length=30),
        training=StageConfig(
            num_epochs=40.0,
            batch_size=1024,
            micro_batch_size=32,
            optimizer=OptimizerConfig(
                learning_rate=5e-5,
                weight_decay=0.005,
                betas=(0.9, 0.98),
                epsilon=1e-8,
                gradient_norm=15.0,
                warmup_share=4 / 40,
                warmup_start=1e-3,
                final_factor=1e-3,
            ),
        ),
        num_workers=-1,
        compute=ComputeConfig(precision="bfloat16"),
    )


def base_size() -> PretrainingExperiment:
    """Clover-Base with the paper's optimiser, for a corpus in the generated corpus' layout."""
    return PretrainingExperiment(
        data=PretrainingDataConfig(num_kept_frames=0, vocabulary_size=30_522),
        model=base(),
        training=StageConfig(num_steps=100_000, batch_size=1024, micro_batch_size=32),
        compute=ComputeConfig(precision="bfloat16"),
    )


RECIPES: dict[str, Callable[[], PretrainingExperiment]] = {
    "shapes": shapes,
    "shapes-from-nothing": shapes_from_nothing,
    "shapes-baseline": shapes_baseline,
    "shapes-without-ranking": shapes_without_ranking,
    "shapes-paper": shapes_paper,
    "base-size": base_size,
    "webvid_cc3m": webvid_cc3m,
}
