"""One benchmark, one checkpoint, one result that says how it was come by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clover.config import to_plain
from clover.data.annotations.media import media_stem
from clover.data.annotations.problems import counted
from clover.errors import ConfigError
from clover.evaluation.benchmark_data import BenchmarkData, Split, count_remark
from clover.evaluation.benchmarks import Benchmark
from clover.evaluation.measured import Measured, Progress, measure
from clover.evaluation.open_answer import mean_interval
from clover.evaluation.predictions import Predictions, predict_answers, predict_choices
from clover.evaluation.retrieval import evaluate_retrieval
from clover.evaluation.views import ClipView, read_clip
from clover.pipeline import Clover
from clover.publishing.history import fine_tunings

_BASELINES: tuple[ClipView, ...] = ("shuffled_frames", "single_frame")


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Everything in a result file."""

    benchmark: str
    metric: str
    value: float
    interval: tuple[float, float]
    chance: float
    protocol: str
    split: str
    num_queries: int
    num_gallery: int
    num_frames: int
    """Frames shown of every video, all views together."""
    is_complete: bool
    """Every row of the split was evaluated; if not, the value does not compare with published ones."""
    figures: dict[str, float]
    shuffled_frames: float | None
    """The metric with the frames of every video in a random order; None where it was not asked for."""
    shuffled_loss: tuple[float, float] | None
    """95 % bootstrap interval of what shuffling costs, video by video; above 0, the order of the frames matters."""
    single_frame: float | None
    """The metric with the middle frame alone."""
    published: dict[str, float]
    """The paper's figures under the published protocol."""
    is_zero_shot: bool
    selected_on: str
    """How the checkpoint was chosen: last, validation, test, or unknown."""
    training: dict[str, Any]
    """What fine-tuning noted: recipe, training split, rows, steps."""
    fingerprint: str
    """Of the checkpoint, with these inputs."""
    inputs: dict[str, Any]
    """What was read of videos and texts, as `config.json` has it."""
    checksums: dict[str, str]
    """SHA-256 of the annotation files."""
    remarks: list[str] = field(default_factory=list)


def evaluate_benchmark(
    clover: Clover,
    data: BenchmarkData,
    *,
    is_zero_shot: bool = False,
    by_fusion: bool = False,
    with_baselines: bool = False,
    run: Mapping[str, Any] | None = None,
    doubtful_run: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[BenchmarkResult, list[dict[str, Any]]]:
    """Evaluate the test split.

    Args:
        clover: The model; what it reads of a video is its own config's.
        data: The benchmark's files.
        is_zero_shot: Noted in the result.
        by_fusion: Choose by the fusion encoder also where the published protocol chooses by retrieval (MSRVTT-MC).
        with_baselines: Also measure with shuffled frames and with a single one.
        run: What fine-tuning noted about the checkpoint (run.json); None if nothing is known of it.
        doubtful_run: What a run.json beside it notes that is of other weights or settings; it serves for warnings.
        progress: Called with (videos done, videos), of all passes over them together.

    Returns:
        The result, and what the model said to every row.

    Raises:
        ConfigError: the checkpoint lacks the head that the benchmark needs, or what was fine-tuned on it is called
            zero-shot.
        DataError: files or media are missing that must not be.
        MediaError: a video cannot be read and the policy is "error".
    """
    row = data.benchmark
    _check_head(clover, row, by_fusion)
    run, doubtful_run = run or {}, doubtful_run or {}
    is_own, tuned_on = run.get("benchmark") == row.name, fine_tunings(clover.history)
    if is_zero_shot and (is_own or row.name in tuned_on):
        raise ConfigError(f"this checkpoint was fine-tuned on {row.title}: its result is not zero-shot")
    split = data.split("test")
    frequent = _most_frequent_answer(data) if row.family == "answer" else None
    views = _shown(clover, data, split, _BASELINES if with_baselines else (), by_fusion, frequent, progress)
    seen = views["whole"]
    inputs = clover.config.inputs
    selected_on = run["select_on"] if is_own else "unknown"
    result = BenchmarkResult(
        benchmark=row.name,
        metric=row.metric,
        value=seen.figures[row.metric],
        interval=seen.interval,
        chance=seen.chance,
        protocol=_protocol(clover, row, seen, by_fusion, frequent),
        split=split.name,
        num_queries=seen.num_queries,
        num_gallery=seen.num_gallery,
        num_frames=inputs.num_frames * inputs.num_views,
        is_complete=split.is_complete and not seen.unreadable,
        figures=seen.figures,
        shuffled_frames=views["shuffled_frames"].figures[row.metric] if with_baselines else None,
        shuffled_loss=_paired_loss(seen, views["shuffled_frames"]) if with_baselines else None,
        single_frame=views["single_frame"].figures[row.metric] if with_baselines else None,
        published=row.published_zero_shot if is_zero_shot else row.published,
        is_zero_shot=is_zero_shot,
        selected_on=selected_on,
        training={name: run[name] for name in ("recipe", "train_split", "num_rows", "num_steps") if name in run},
        fingerprint=clover.fingerprint,
        inputs=to_plain(inputs),
        checksums=data.checksums,
        remarks=[
            *_remarks(row, split, seen, selected_on),
            *_past(row, run, tuned_on, is_zero_shot),
            *_doubts(doubtful_run),
            *_seen_before(seen, run or doubtful_run),
        ],
    )
    return result, seen.predictions


def _shown(
    clover: Clover,
    data: BenchmarkData,
    split: Split,
    baselines: tuple[ClipView, ...],
    by_fusion: bool,
    frequent: str | None,
    progress: Progress | None,
) -> dict[ClipView, Measured]:
    """What is measured with whole videos, and with those shown in other ways."""
    views: tuple[ClipView, ...] = ("whole", *baselines)
    found = {}
    for place, view in enumerate(views):

        def told(done: int, total: int, place: int = place) -> None:
            if progress is not None:
                progress(place * total + done, len(views) * total)

        read = read_clip(clover, view)
        found[view] = measure(clover, data, split, read, by_fusion=by_fusion, frequent=frequent, progress=told)
    return found


def _remarks(row: Benchmark, split: Split, seen: Measured, selected_on: str) -> list[str]:
    """What a reader of the number should know of its data."""
    remarks = [*split.remarks, *([row.caution] if row.caution else [])]
    different_size = count_remark(split, seen.num_queries)
    if different_size is not None:
        remarks.append(different_size)
    if seen.unreadable:
        remarks.append(
            f"{len(seen.unreadable):,} videos cannot be read (first: {next(iter(seen.unreadable.values()))})"
        )
    if selected_on == "test":
        remarks.append("the checkpoint was chosen on this very test split")
    return remarks


def _past(row: Benchmark, run: Mapping[str, Any], tuned_on: set[str], is_zero_shot: bool) -> list[str]:
    """What a reader should know of the checkpoint's training."""
    known = {run["benchmark"]} if "benchmark" in run else tuned_on
    if row.name in known:
        return []
    if known:
        return [f"the checkpoint was fine-tuned on {', '.join(sorted(known))}"]
    if is_zero_shot:
        return []
    return [
        "the checkpoint is not known to be fine-tuned on this benchmark, as the published figures are; if it is "
        "not, evaluate it with --zero-shot"
    ]


def _doubts(run: Mapping[str, Any]) -> list[str]:
    """What a record that is not of this very checkpoint may say of it nevertheless."""
    if not run:
        return []
    on = f" of fine-tuning on {run['benchmark']}" if run.get("benchmark") else ""
    return [
        f"run.json beside the checkpoint tells{on} of other weights or settings (config.json was changed since, or a "
        "run is not done): how the checkpoint was chosen is not known"
    ]


def _seen_before(seen: Measured, run: Mapping[str, Any]) -> list[str]:
    """Whether test videos were trained on."""
    videos = {line["video"] for line in seen.predictions if line["video"]}
    shared = {media_stem(Path(name).name) for name in videos} & set(run.get("training_videos", ()))
    if not shared:
        return []
    return [
        f"SEEN IN TRAINING: {len(shared):,} of these {len(videos):,} test videos were training videos of this "
        "checkpoint; the number is not comparable with any other"
    ]


def _paired_loss(seen: Measured, other: Measured) -> tuple[float, float] | None:
    """Interval of the difference, both over the same queries."""
    if len(seen.hits) != len(other.hits):
        return None
    return mean_interval(seen.hits.astype(np.float64) - other.hits, seen.groups)


def quick_score(clover: Clover, row: Benchmark, records: Sequence[Any], *, by_fusion: bool = False) -> float:
    """The benchmark's metric on some rows, for choosing a checkpoint; for retrieval R@1 + R@5 + R@10 - median rank."""
    read = read_clip(clover)
    if row.family == "retrieval":
        return evaluate_retrieval(clover, records).text_to_video.recall_at_all
    if row.family == "choice":
        by_retrieval = row.chooses_by_retrieval and not by_fusion
        found: Predictions[Any, Any] = predict_choices(clover, records, read, by_retrieval=by_retrieval)
    else:
        found = predict_answers(clover, records, read)
    return 100 * float(found.of_readable().is_right.mean())


def _check_head(clover: Clover, row: Benchmark, by_fusion: bool) -> None:
    heads = clover.config.model.heads
    needs_choices = row.family == "choice" and (by_fusion or not row.chooses_by_retrieval)
    if needs_choices and not heads.has_choices:
        raise ConfigError(f"this checkpoint has no multiple-choice head; clover finetune {row.name} makes one")
    if row.family == "answer" and (not heads.num_answers or heads.answers_at_mask != row.answers_at_mask):
        raise ConfigError(f"this checkpoint has no answer head for {row.title}; clover finetune {row.name} makes one")


def _most_frequent_answer(data: BenchmarkData) -> str:
    return Counter(data.training_answers()).most_common(1)[0][0]


def _protocol(clover: Clover, row: Benchmark, seen: Measured, by_fusion: bool, frequent: str | None) -> str:
    """One line that says what the number means."""
    inputs = clover.config.inputs
    frames = f"{inputs.num_frames * inputs.num_views} frames"
    if row.family == "retrieval":
        sizes = f"{counted(seen.num_queries, 'text')} x {counted(seen.num_gallery, 'video')}"
        return f"{sizes}, {frames}, ties count against the model"
    if row.family == "choice":
        how = "by cosine of the two encoders" if row.chooses_by_retrieval and not by_fusion else "by fusion"
        if how == "by fusion" and not inputs.lists_options:
            how += ", each option shown alone (published: all in every text)"
        asked = counted(seen.num_queries, "question")
        return f"one of {seen.num_gallery} options {how}, {asked}, {frames}, first of equals"
    return (
        f"exact match over all {counted(seen.num_queries, 'row')}, {counted(seen.num_gallery, 'answer')}, "
        f"outside them wrong, {frames}; chance is the most frequent training answer ({frequent})"
    )
