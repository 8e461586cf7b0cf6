"""Distillation recipes: a student of some size for a teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Literal

from clover.checkpoints import CloverConfig
from clover.experiment.configs import PretrainingExperiment, StageConfig, with_kept_frames
from clover.experiment.distillation import DistillationExperiment
from clover.modeling.model import ModelConfig
from clover.modeling.sizes import small, tiny
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.recipes.pretrain import shapes

StudentSize = Literal["tiny", "small"]

_SIZES: dict[StudentSize, Callable[..., ModelConfig]] = {"tiny": tiny, "small": small}


def student_of(teacher: CloverConfig, size: StudentSize) -> ModelConfig:
    """A network of a size that reads the teacher's clips and gives embeddings of the teacher's width.

    Its fusion is of the teacher's kind; its vocabulary is set by the run.
    """
    model, inputs = _SIZES[size](vocabulary_size=1), teacher.inputs
    t, h, w = model.video.output_grid(inputs.num_frames, inputs.frames.size, inputs.frames.size)
    fusion = replace(
        model.fusion, kind=teacher.model.fusion.kind, num_temporal_positions=t, num_spatial_positions=h * w
    )
    return replace(
        model,
        fusion=fusion,
        embedding_width=teacher.model.embedding_width,
        initial_weights="fan_in",
        fused_pairing=teacher.model.fused_pairing,
        pixels=teacher.model.pixels,
    )


def shapes_student(teacher: CloverConfig, size: StudentSize) -> DistillationExperiment:
    """The recipe ``shapes`` without warm start and without its objective: the teacher stands in for both.

    With masked words, or all of the objective, a tiny student learns less in as many steps
    (`benchmarks/distillation.py`).
    """
    recipe = shapes()
    recipe = replace(
        recipe,
        objective=PretrainingObjectiveConfig(alignment="none", ranking_weight=0.0, masked_word_weight=0.0),
        model=student_of(teacher, size),
        data=with_kept_frames(recipe.data, teacher.inputs.num_frames),
        inputs=teacher.inputs,
        video_warm_start=StageConfig(),
        text_warm_start=StageConfig(),
    )
    return DistillationExperiment(**{each.name: getattr(recipe, each.name) for each in fields(PretrainingExperiment)})
