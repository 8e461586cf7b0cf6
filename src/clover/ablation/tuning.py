"""Fine-tuning on questions and on choices of the experiment's corpus: one recipe for all systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clover.ablation.measures import sentence_choices
from clover.ablation.settings import TuningConfig
from clover.config import to_plain
from clover.data.annotations.vocabulary import answer_vocabulary
from clover.data.collators import ClipReader
from clover.data.shapes.corpus import read_questions
from clover.errors import CheckpointError
from clover.experiment.configs import RunConfig, StageConfig
from clover.experiment.finetuning import Finetuning
from clover.experiment.pieces import states_folder
from clover.experiment.tasks import AnswerTask, ChoiceTask, Task
from clover.pipeline import Clover
from clover.training.checkpoint import forget_states, saved_states
from clover.training.compute import ComputeConfig
from clover.training.optimizer import OptimizerConfig

_NUM_ANSWERS = 1500


def tune_answers(
    clover: Clover,
    corpus: Path,
    config: TuningConfig,
    folder: Path,
    *,
    read: ClipReader,
    seed: int,
    compute: ComputeConfig,
) -> Clover:
    """Fine-tune on the open questions of the training split; goes on where an interrupted run stopped.

    Raises:
        DataError: the questions do not fill a batch.
    """
    questions = read_questions(corpus, "train")
    task = AnswerTask(answers=answer_vocabulary(questions, _NUM_ANSWERS))
    return _tune(clover, task, task.usable(questions), config, folder, read, _run_config(seed, compute))


def tune_choices(
    clover: Clover,
    corpus: Path,
    config: TuningConfig,
    folder: Path,
    *,
    read: ClipReader,
    seed: int,
    compute: ComputeConfig,
) -> Clover:
    """Fine-tune on the choices between sentences; goes on where an interrupted run stopped.

    Each sentence is shown alone: a small model learns that many times faster than from all of them in one text.

    Raises:
        DataError: the choices do not fill a batch.
    """
    rows = sentence_choices(corpus, "train")
    alone = clover.with_inputs(replace(clover.config.inputs, lists_options=False))
    return _tune(alone, ChoiceTask(dropout=0.1), rows, config, folder, read, _run_config(seed, compute))


def _run_config(seed: int, compute: ComputeConfig) -> RunConfig:
    return RunConfig(seed=seed, compute=compute, save_every=100)


def _tune(
    clover: Clover,
    task: Task,
    rows: Sequence[Any],
    config: TuningConfig,
    folder: Path,
    read: ClipReader,
    run_config: RunConfig,
) -> Clover:
    optimizer = OptimizerConfig(
        learning_rate=config.learning_rate, weight_decay=0.01, gradient_norm=15.0, warmup_share=0.1, final_factor=0.0
    )
    run = Finetuning(
        task=task,
        stage=StageConfig(num_steps=config.num_steps, batch_size=config.batch_size, optimizer=optimizer),
        read_clip=read,
        skipped={},
        strict=True,
        max_text_length=clover.config.inputs.max_text_length,
        folder=folder,
        settings={"tuning": to_plain(config), "seed": run_config.seed},
        trained_on="clover-shapes",
        run_config=run_config,
        freeze=config.freeze,
        quiet=True,
    )
    states = states_folder(folder)
    try:
        tuned = run.run(clover, rows, resume=bool(saved_states(states)))
    except CheckpointError:  # states of other settings, or broken ones
        tuned = run.run(clover, rows)
    forget_states(states)
    return tuned
