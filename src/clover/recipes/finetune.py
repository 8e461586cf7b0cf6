"""Fine-tuning recipes."""

from __future__ import annotations

from collections.abc import Callable

from clover.experiment.configs import DataConfig, QuestionExperiment, StageConfig
from clover.training.optimizer import OptimizerConfig


def shapes_questions() -> QuestionExperiment:
    """Open-ended questions on the generated corpus, two minutes on two CPU cores."""
    optimizer = OptimizerConfig(
        learning_rate=1e-3,
        weight_decay=0.01,
        gradient_norm=15.0,
        warmup_share=0.1,
        final_factor=0.0,
        head_rate_factor=1.0,
    )
    return QuestionExperiment(
        data=DataConfig(num_kept_frames=16),
        freeze=("video_encoder", "text_encoder"),
        training=StageConfig(num_steps=500, batch_size=64, optimizer=optimizer),
    )


RECIPES: dict[str, Callable[[], QuestionExperiment]] = {"shapes-questions": shapes_questions}
