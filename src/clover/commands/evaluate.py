"""clover evaluate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from clover.commands.options import check_is_name, parse
from clover.commands.train import report_skipped
from clover.data.shapes.corpus import read_pairs, read_questions
from clover.errors import ConfigError
from clover.evaluation.benchmarks import BENCHMARKS
from clover.evaluation.figures import (
    baselines_table,
    question_figures,
    question_table,
    retrieval_figures,
    retrieval_table,
)
from clover.evaluation.open_answer import evaluate_questions
from clover.evaluation.retrieval import evaluate_retrieval, one_text_per_video
from clover.pipeline import Clover
from clover.training.devices import choose_device
from clover.training.logbook import progress


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Evaluate a checkpoint on a split of a corpus."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint folder."""
    corpus: str
    """Folder of the corpus."""
    split: str = "test"
    """train, validation or test."""
    all_captions: bool = False
    """Retrieval: every caption is a query, not only the first of each video."""
    baselines: bool = False
    """Questions: also measure with shuffled frames and with the middle frame alone, by kind of question."""
    device: str = "auto"
    """auto (a GPU where there is one, else the processor), cpu, cuda, or a GPU by number as in cuda:1."""
    strict: bool = False
    """Stop at a video that cannot be read instead of leaving it out."""
    json: bool = False
    """Print one JSON object instead of a table."""


def evaluate(arguments: Sequence[str]) -> None:
    """Run `clover evaluate retrieval|questions CHECKPOINT --corpus DIR`, or that of a benchmark."""
    tasks = ("retrieval", "questions")
    if arguments and arguments[0] in BENCHMARKS:
        from clover.commands.benchmarks import evaluate_on

        evaluate_on(arguments[0], arguments[1:])
        return
    if arguments and arguments[0] not in ("-h", "--help"):
        check_is_name(arguments[0], "task", "clover evaluate TASK CHECKPOINT", (*tasks, *BENCHMARKS))
    if not arguments or arguments[0] not in (*tasks, "-h", "--help"):
        raise ConfigError(
            f"unknown task {arguments[0] if arguments else ''!r}; choose one of {', '.join((*tasks, *BENCHMARKS))}"
        )
    if arguments[0] not in tasks:
        print("usage: clover evaluate {retrieval,questions} CHECKPOINT --corpus DIR [OPTIONS]")
        print("       clover evaluate BENCHMARK CHECKPOINT --annotations DIR --videos DIR [OPTIONS]\n")
        print("BENCHMARK is one of:")
        for row in BENCHMARKS.values():
            print(f"  {row.name:24} {row.title}")
        return
    task = arguments[0]
    options = parse(EvaluateOptions, arguments[1:], command=f"evaluate {task}")
    if options.baselines and task == "retrieval":
        raise ConfigError("--baselines is for questions; for retrieval evaluate a benchmark, such as msrvtt-retrieval")
    clover = Clover.from_pretrained(options.checkpoint, device=choose_device(options.device))
    folder = Path(options.corpus)
    with progress("evaluating", quiet=options.json) as report:
        if task == "retrieval":
            pairs = read_pairs(folder, options.split)
            chosen = pairs if options.all_captions else one_text_per_video(pairs)
            retrieval = evaluate_retrieval(clover, chosen, strict=options.strict, progress=report)
        else:
            questions = read_questions(folder, options.split)
            training = read_questions(folder, "train")
            answers = evaluate_questions(
                clover,
                questions,
                training,
                with_baselines=options.baselines,
                strict=options.strict,
                progress=report,
            )
    if task == "retrieval":
        plain = retrieval_figures(retrieval)
        table, skipped = retrieval_table(retrieval), retrieval.skipped
    else:
        plain = question_figures(answers)
        table, skipped = question_table(answers), answers.skipped
    if options.json:
        print(json.dumps(plain | {"skipped": skipped}))
        return
    Console().print(table)
    if task == "questions" and answers.baselines:
        Console().print(baselines_table(answers))
    report_skipped(skipped)
