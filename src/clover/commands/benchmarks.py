"""clover benchmarks, and finetune and evaluate for one of the eleven."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tyro
from rich.console import Console
from rich.table import Table

from clover.allocator import keep_freed_memory
from clover.commands.options import parse
from clover.commands.train import Resume, begin, report_skipped, with_value_of_resume
from clover.data.annotations.media import MissingMedia
from clover.data.annotations.problems import counted
from clover.distributed import together
from clover.errors import ConfigError
from clover.evaluation.benchmark_data import BenchmarkData
from clover.evaluation.benchmarks import BENCHMARKS, Benchmark, benchmark
from clover.evaluation.protocol import BenchmarkResult, evaluate_benchmark
from clover.experiment.benchmarks import BenchmarkRun, finetune_benchmark
from clover.experiment.configs import BenchmarkExperiment
from clover.files import write_text
from clover.pipeline import Clover
from clover.publishing.records import run_beside, run_of
from clover.recipes.benchmarks import FittingRecipe, kind_of_recipe, published, recipe_for, zero_shot_inputs
from clover.training.devices import choose_device
from clover.training.logbook import progress

Recipe = Literal["auto", "published", "small", "borrowed"]


def benchmarks(arguments: Sequence[str]) -> None:
    """Run `clover benchmarks [NAME]`."""
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: clover benchmarks [NAME]    the eleven benchmarks, or all about one")
        return
    if arguments:
        print(json.dumps(_described(benchmark(arguments[0])), indent=2))
        return
    print(f"{'name':17} {'family':10} {'splits':24} {'frames':8} published")
    for row in BENCHMARKS.values():
        splits = ", ".join(name for name in (row.splits.train, row.splits.validation, row.splits.test) if name)
        views = f"{row.inputs.num_views}x" if row.inputs.num_views > 1 else ""
        frames = f"{row.inputs.training_frames}, {views}{row.inputs.test_frames}"
        names = "R@1/5/10, median rank" if row.family == "retrieval" else row.metric
        figures = " / ".join(f"{value:g}" for value in row.published.values())
        print(f"{row.name:17} {row.family:10} {splits:24} {frames:8} {names} {figures}")
        print(f"{'':17} {row.files}")
    print("frames: in training, in the test; published: Clover, fine-tuned (arXiv 2207.07885, Tables 1 and 2)")


def _described(row: Benchmark) -> dict[str, Any]:
    plain = asdict(row)
    for name in ("read", "read_training"):
        plain.pop(name)
    return plain | {"metric": row.metric}


@dataclass(frozen=True, kw_only=True)
class FinetuneBenchmarkOptions:
    """Fine-tune on a benchmark; what is left in OUT: checkpoint/, run.json, logs, state."""

    experiment: Annotated[BenchmarkExperiment, tyro.conf.arg(name="")] = field(default_factory=BenchmarkExperiment)
    """Every setting of the run."""
    checkpoint: str = ""
    """Pre-trained checkpoint folder."""
    recipe: Recipe = "auto"
    """Settings that the other options start from: the published ones, those for a small model, those for encoders of
    transformers (as published, with the frames that they take), or the ones that fit."""
    out: str = "run-benchmark"
    """Folder of the run."""
    resume: Resume = "no"
    """Go on where an interrupted run with the same settings stopped; auto does so if there is one to go on with."""
    overwrite: bool = False
    """Start over in a folder that holds a run already."""


def finetune_on(name: str, arguments: Sequence[str]) -> None:
    """Run `clover finetune BENCHMARK`."""
    row = benchmark(name)
    checkpoint, recipe = _given(arguments, "--checkpoint"), _given(arguments, "--recipe") or "auto"
    clover = Clover.from_pretrained(checkpoint) if checkpoint else None
    if recipe == "auto":
        recipe = "published" if clover is None else kind_of_recipe(clover)
    experiment = published(row) if clover is None else recipe_for(row, clover, cast(FittingRecipe, recipe))
    options = parse(
        FinetuneBenchmarkOptions,
        with_value_of_resume(arguments),
        command=f"finetune {name}",
        default=FinetuneBenchmarkOptions(experiment=experiment),
    )
    if clover is None:
        raise ConfigError("no checkpoint given; name the pre-trained folder with --checkpoint")
    BenchmarkData.given(row, options.experiment.annotations, options.experiment.videos)  # known before any work
    keep_freed_memory()
    with together() as processes:
        out = Path(options.out)
        resume = begin(out, resume=options.resume, overwrite=options.overwrite)
        if processes.is_first:
            print(f"recipe: {recipe}")
            for stale in out.glob("result*.json"):  # of the checkpoint that is now replaced
                stale.unlink()
        quiet = not processes.is_first
        done = finetune_benchmark(clover, row, options.experiment, out, recipe=recipe, resume=resume, quiet=quiet)
        if processes.is_first:
            _tell(done, out)


def _tell(done: BenchmarkRun, out: Path) -> None:
    print(f"trained on {counted(done.num_rows, 'row')} of {counted(done.num_videos, 'video')}")
    for line in done.remarks:
        print(f"note: {line}")
    report_skipped(done.finetuned.skipped)
    if done.finetuned.num_left_out:
        print(f"left out {counted(done.finetuned.num_left_out, 'row')} whose answer is outside the vocabulary")
    print(f"checkpoint: {out / 'checkpoint'}")


def _given(arguments: Sequence[str], option: str) -> str:
    """The value of an option that decides the other options' defaults, before they are parsed."""
    for place, word in enumerate(arguments):
        if word == option and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return ""


@dataclass(frozen=True, kw_only=True)
class EvaluateBenchmarkOptions:
    """Evaluate a checkpoint on a benchmark's test split; the result is printed and written to RUN/result.json."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint folder."""
    annotations: str = ""
    """Folder of the publisher's annotation files."""
    videos: str = ""
    """Folder of the videos, at any depth below it."""
    zero_shot: bool = False
    """The checkpoint was not fine-tuned on this benchmark: read videos and texts as its recipe does."""
    missing: MissingMedia = "error"
    """Rows whose video is missing or unreadable: refuse, leave out, or count as wrong."""
    by_fusion: bool = False
    """MSRVTT-MC: choose by the fusion encoder in place of the published way."""
    device: str = "auto"
    """auto (a GPU where there is one, else the processor), cpu, cuda, or a GPU by number as in cuda:1."""
    baselines: bool = False
    """Also measure with shuffled frames and with the middle frame alone."""
    predictions: str = ""
    """File that gets a JSON line per row: what was said, what is right."""
    out: str = ""
    """File of the result; empty writes result.json beside a fine-tuned checkpoint."""
    json: bool = False
    """Print the result as one JSON object."""


def evaluate_on(name: str, arguments: Sequence[str]) -> None:
    """Run `clover evaluate BENCHMARK`."""
    row = benchmark(name)
    options = parse(EvaluateBenchmarkOptions, arguments, command=f"evaluate {name}")
    data = BenchmarkData.given(row, options.annotations, options.videos, options.missing)
    clover = Clover.from_pretrained(options.checkpoint, device=choose_device(options.device))
    folder = (clover.source or Path(options.checkpoint)).absolute()
    run = run_of(folder, clover.fingerprint)
    if options.zero_shot:
        clover = clover.with_inputs(zero_shot_inputs(row, clover))
    with progress("evaluating", quiet=options.json) as report:
        result, predictions = evaluate_benchmark(
            clover,
            data,
            is_zero_shot=options.zero_shot,
            by_fusion=options.by_fusion,
            with_baselines=options.baselines,
            run=run,
            doubtful_run={} if run else run_beside(folder),
            progress=report,
        )
    plain = asdict(result)
    target = options.out or (str(folder.parent / _result_name(options)) if run.get("benchmark") == name else "")
    if target:
        write_text(Path(target), json.dumps(plain, indent=2) + "\n")
    if options.predictions:
        write_text(Path(options.predictions), "".join(json.dumps(line) + "\n" for line in predictions))
    if options.json:
        print(json.dumps(plain))
        return
    _show(row, result)
    for path in (target, options.predictions):
        if path:
            print(f"wrote {path}")


def _result_name(options: EvaluateBenchmarkOptions) -> str:
    """A result of another policy or way of choosing does not take the place of the main one."""
    words = [options.missing] * (options.missing != "error") + ["by-fusion"] * options.by_fusion
    return "-".join(["result", *words]) + ".json"


def _show(row: Benchmark, result: BenchmarkResult) -> None:
    low, high = result.interval
    title = f"{row.title}, {result.split}{', zero-shot' if result.is_zero_shot else ''}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("ours", justify="right")
    table.add_column("published", justify="right")
    for name, value in result.figures.items():
        mark = f" ({low:.1f} to {high:.1f})" if name == result.metric else ""
        shown = f"{value:g}" if name.endswith("rank") else f"{value:.1f} %{mark}"
        published_value = result.published.get(name)
        table.add_row(name.replace("_", " "), shown, "" if published_value is None else f"{published_value:g}")
    table.add_row("chance", f"{result.chance:.1f} %", "")
    for name in ("shuffled_frames", "single_frame"):
        baseline = getattr(result, name)
        if baseline is not None:
            table.add_row(f"{result.metric.replace('_', ' ')}, {name.replace('_', ' ')}", f"{baseline:.1f} %", "")
    Console().print(table)
    if result.shuffled_loss is not None:
        low, high = result.shuffled_loss
        print(f"shuffling the frames costs {low:.1f} to {high:.1f} points (95 % interval)")
    print(result.protocol)
    print(f"checkpoint chosen on: {result.selected_on}")
    if not result.is_complete:
        print("INCOMPLETE: not every row of the split was evaluated")
    for line in result.remarks:
        print(f"note: {line}")
