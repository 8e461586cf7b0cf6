"""Fine-tuning on one of the eleven benchmarks, from the publisher's files to a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clover.data.annotations.checks import check_no_video_is_shared, hold_out_videos
from clover.data.annotations.media import media_stem
from clover.data.annotations.problems import Problems, counted
from clover.data.annotations.vocabulary import answer_vocabulary, read_vocabulary
from clover.errors import DataError
from clover.evaluation.benchmark_data import BenchmarkData, Split, media_of
from clover.evaluation.benchmarks import Benchmark
from clover.evaluation.protocol import quick_score
from clover.experiment.configs import BenchmarkExperiment, DataConfig, StageConfig, deciding, wherever
from clover.experiment.finetuning import Finetuned, Finetuning, Selection, stage_of_epochs
from clover.experiment.pieces import ClipReader, clip_reader
from clover.experiment.tasks import AnswerTask, ChoiceTask, RetrievalTask, Task
from clover.pipeline import Clover
from clover.training.compute import Compute
from clover.training.records import RunRecord, data_fingerprint
from clover.types import MultiChoice

_NUM_WRONG = 4
_HELD_OUT = 0.1


@dataclass(frozen=True, kw_only=True)
class BenchmarkRun:
    """What fine-tuning on a benchmark left."""

    finetuned: Finetuned
    remarks: tuple[str, ...]
    """Where the training data are not as published."""
    num_rows: int
    """Rows trained on, with a video that can be read."""
    num_videos: int


def finetune_benchmark(
    clover: Clover,
    row: Benchmark,
    experiment: BenchmarkExperiment,
    folder: Path,
    *,
    recipe: str = "",
    resume: bool = False,
    quiet: bool = False,
) -> BenchmarkRun:
    """Train on the benchmark's training split, and keep the checkpoint that the experiment chooses.

    Args:
        clover: The pre-trained model.
        row: The benchmark.
        experiment: Recipe and folders.
        folder: Of the run; its run.json also tells an evaluation what it must know of the checkpoint.
        recipe: Name of what the experiment started from, for run.json.
        resume: Go on where an interrupted run stopped.
        quiet: Show nothing.

    Raises:
        DataError: annotation files or media are missing or empty, or training and test share videos.
        ConfigError: the experiment asks for a split that the benchmark does not have, or a device that is not there.
    """
    Compute(experiment.compute)  # known before any work
    data = BenchmarkData.given(row, experiment.annotations, experiment.videos, experiment.missing)
    training = _training_split(data, experiment)
    videos = media_of(training.rows)
    reader, skipped = _clip_reader(experiment, videos, folder, quiet=quiet)
    readable = [record for record in training.rows if str(record.video) not in skipped]
    stage = _stage(experiment, len(readable), _left_out(training, len(readable), skipped))
    record = RunRecord(
        folder,
        title=f"fine-tuning on {row.name}",
        settings=experiment,
        stages={".": stage.num_steps},
        data=partial(data_fingerprint, data.checksums, videos, Path(experiment.videos)),
        starting_checkpoint=clover.fingerprint,
    )
    record.begin(resume=resume)
    run = Finetuning(
        task=training.task,
        stage=stage,
        read_clip=reader,
        skipped=skipped,
        strict=experiment.strict,
        max_text_length=experiment.training_text_length,
        folder=folder,
        settings=_settings(experiment, training, len(readable), data.checksums),
        trained_on=row.name,
        record=record,
        freeze=experiment.freeze,
        lora=experiment.lora,
        selection=_selection(data, experiment, training.held_out, every=max(1, len(readable) // stage.batch_size)),
        run_config=experiment,
        quiet=quiet,
    )
    tuned = run.run(clover.with_inputs(experiment.inputs), readable, resume=resume)
    record.finish(
        lambda: tuned.fingerprint,
        benchmark=row.name,
        recipe=recipe,
        select_on=experiment.select_on,
        train_split=training.split.name,
        num_rows=len(readable),
        num_steps=stage.num_steps,
        training_videos=sorted({media_stem(video.name) for video in videos}),
    )
    return BenchmarkRun(
        finetuned=Finetuned(clover=tuned, skipped=skipped, num_left_out=training.num_left_out),
        remarks=training.split.remarks,
        num_rows=len(readable),
        num_videos=len(media_of(readable)),
    )


def _clip_reader(
    experiment: BenchmarkExperiment, videos: Sequence[Path], folder: Path, *, quiet: bool
) -> tuple[ClipReader, dict[str, str]]:
    """One clip of a video, as it is trained on, whatever an evaluation reads."""
    inputs = replace(
        experiment.inputs, num_frames=experiment.training_frames, num_views=1, burst_length=1, burst_interval=1
    )
    data = DataConfig(num_kept_frames=experiment.num_kept_frames, strict=experiment.strict)
    return clip_reader(data, inputs, videos, cache=folder / ".cache", quiet=quiet)


def _settings(
    experiment: BenchmarkExperiment, training: _Training, num_rows: int, checksums: dict[str, str]
) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was interrupted."""
    return {
        "experiment": wherever(deciding(experiment)),
        "num_rows": num_rows,
        "answers": list(training.task.answers) if isinstance(training.task, AnswerTask) else [],
        "checksums": checksums,
    }


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What is trained on."""

    split: Split
    task: Task
    rows: list[Any]
    """Ready for the task."""
    held_out: list[Any]
    """Rows of the training videos that the checkpoint is chosen on."""
    num_left_out: int
    """Rows that the task cannot use."""


def _training_split(data: BenchmarkData, experiment: BenchmarkExperiment) -> _Training:
    split = data.split("train", experiment.train_split, strict=experiment.strict)
    try:
        test = data.read("test")[0]
    except DataError as error:
        raise DataError(f"{error} (training reads the test file too, to refuse videos that are in both)") from error
    check_no_video_is_shared(split.records, test)
    records: list[Any] = list(split.records)
    held_out: list[Any] = []
    if experiment.select_on == "held_out":
        records, held_out = hold_out_videos(records, _HELD_OUT, seed=experiment.seed)
    task = task_of(data.benchmark, experiment, records)
    rows = task.usable(training_rows(data.benchmark, experiment, records))
    if not rows:
        raise DataError(f"no row of {split.name} can be trained on: none of their answers is in the vocabulary")
    return _Training(split=split, task=task, rows=rows, held_out=held_out, num_left_out=len(records) - len(rows))


def training_rows(row: Benchmark, experiment: BenchmarkExperiment, records: Sequence[Any]) -> list[Any]:
    """Rows in the form that the run trains on: for MSRVTT-MC by fusion, captions among those of other videos."""
    if not (row.chooses_by_retrieval and experiment.by_fusion):
        return list(records)
    _check_others(row, records)
    generator = np.random.default_rng([experiment.seed, 3])
    made = []
    for record in records:
        wrong: list[str] = []
        while len(wrong) < _NUM_WRONG:
            other = records[int(generator.integers(len(records)))]
            if other.video_id != record.video_id and other.text not in (record.text, *wrong):
                wrong.append(other.text)
        label = int(generator.integers(_NUM_WRONG + 1))
        options = (*wrong[:label], record.text, *wrong[label:])
        made.append(MultiChoice(video=record.video, question="", options=options, label=label, index=record.index))
    return made


def _check_others(row: Benchmark, records: Sequence[Any]) -> None:
    """Whether every caption finds enough others, of other videos, to be chosen among."""
    videos_of: dict[str, set[str]] = {}
    for record in records:
        videos_of.setdefault(record.text, set()).add(record.video_id)
    num_own = Counter(next(iter(videos)) for videos in videos_of.values() if len(videos) == 1)
    for record in records:
        is_elsewhere = len(videos_of[record.text]) > 1
        num_others = len(videos_of) - num_own[record.video_id] - is_elsewhere
        if num_others < _NUM_WRONG:
            raise DataError(
                f"{row.title} by fusion chooses among {_NUM_WRONG + 1} captions, and beside that of {record.video_id}, "
                f"{record.text!r}, other videos have {num_others} different ones; give more training rows"
            )


def task_of(row: Benchmark, experiment: BenchmarkExperiment, records: Sequence[Any]) -> Task:
    """What a benchmark trains for."""
    if row.family == "retrieval" or (row.chooses_by_retrieval and not experiment.by_fusion):
        return RetrievalTask()
    if row.family == "choice":
        return ChoiceTask(dropout=experiment.dropout)
    if experiment.vocabulary:
        answers = read_vocabulary(Path(experiment.vocabulary), Problems())
    else:
        answers = answer_vocabulary(records, experiment.num_answers)
    return AnswerTask(answers=answers, dropout=experiment.dropout, at_mask=row.answers_at_mask)


def _left_out(training: _Training, num_readable: int, skipped: dict[str, str]) -> str:
    """What must be known where more rows were expected; empty where all are used."""
    lines = [*training.split.remarks]
    if training.held_out:
        lines.append(f"{counted(len(training.held_out), 'row')} held out for choosing the checkpoint")
    if training.num_left_out:
        lines.append(f"{counted(training.num_left_out, 'row')} whose answer is outside the vocabulary")
    if skipped:
        num_lost = len(training.rows) - num_readable
        first = next(iter(skipped.values()))
        lines.append(f"{counted(num_lost, 'row')} of videos that cannot be read (first: {first})")
    return f" ({'; '.join(lines)})" if lines else ""


def _stage(experiment: BenchmarkExperiment, num_rows: int, left_out: str) -> StageConfig:
    """The run's length in steps, and its rate by the linear rule."""
    scale = experiment.batch_size / experiment.reference_batch_size
    optimizer = replace(experiment.optimizer, learning_rate=experiment.optimizer.learning_rate * scale)
    stage = StageConfig(
        batch_size=experiment.batch_size, micro_batch_size=experiment.micro_batch_size, optimizer=optimizer
    )
    return stage_of_epochs(stage, experiment.num_epochs, num_rows, max_steps=experiment.max_steps, left_out=left_out)


def _selection(
    data: BenchmarkData, experiment: BenchmarkExperiment, held_out: list[Any], *, every: int
) -> Selection | None:
    """How the checkpoint is chosen, once every so many steps."""
    row, role = data.benchmark, experiment.select_on
    if role == "last":
        return None
    records = held_out if role == "held_out" else list(data.split(role).records)
    if role == "held_out" and row.chooses_by_retrieval:
        records = training_rows(row, replace(experiment, by_fusion=True), records)
    if role != "test" and len(records) > experiment.num_selected:
        drawn = np.random.default_rng([experiment.seed, 4]).permutation(len(records))[: experiment.num_selected]
        records = [records[place] for place in sorted(drawn)]
    return Selection(every=every, score=lambda tuned: quick_score(tuned, row, records, by_fusion=experiment.by_fusion))
