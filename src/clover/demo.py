"""The main job from nothing: corpus, pre-training, retrieval, questions, search, report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from clover.data.shapes.corpus import ShapesConfig, read_pairs, read_questions, write_corpus
from clover.data.video import read_frames
from clover.errors import LibraryError
from clover.evaluation.figures import question_figures, retrieval_figures
from clover.evaluation.open_answer import QuestionResult, evaluate_questions
from clover.evaluation.retrieval import RetrievalResult, evaluate_retrieval, one_text_per_video
from clover.experiment.configs import PretrainingExperiment, QuestionExperiment
from clover.experiment.finetuning import finetune_questions
from clover.experiment.pretraining import Pretraining
from clover.files import check_writable, write_text
from clover.pipeline import Clover
from clover.recipes.finetune import shapes_questions
from clover.recipes.pretrain import shapes
from clover.report.page import DemoReport, FoundMoment, ShownQuestion, ShownSearch, write_report
from clover.report.pictures import film_strip, loss_curves, read_log
from clover.search.engine import open_library, search
from clover.search.index import Index
from clover.search.indexing import index_videos
from clover.search.windows import WindowConfig
from clover.training.logbook import progress
from clover.types import OpenEnded, Pair

Say = Callable[[str], None]
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How much the demo does."""

    num_videos: int = 5000
    """Videos of the generated corpus; a tenth of them are held out for testing."""
    seed: int = 0
    """Seed of everything random."""
    scale: float = 1.0
    """Multiplies the number of training steps."""


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What came out."""

    retrieval: RetrievalResult
    questions: QuestionResult
    seconds: dict[str, float]


class Stopwatch:
    """Wall time of the named parts of a run."""

    def __init__(self, say: Say) -> None:
        self.seconds: dict[str, float] = {}
        self._say = say

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Announce a part and measure it."""
        self._say(f"\n{len(self.seconds) + 1}. {name}")
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start


def scaled(experiment: PretrainingExperiment, factor: float) -> PretrainingExperiment:
    """A recipe with all its stages longer or shorter."""
    stages = {
        name: replace(stage, num_steps=max(1, round(stage.num_steps * factor)))
        for name in ("video_warm_start", "text_warm_start", "training")
        if (stage := getattr(experiment, name)).num_steps
    }
    return replace(experiment, **stages)


def run_demo(folder: Path, config: DemoConfig, *, say: Say = print, quiet: bool = False) -> DemoResult:
    """Do everything, and leave in the folder: corpus/, checkpoint/, library/, report.html, metrics.json, logs.

    Raises:
        CloverError: a folder that cannot be written, or holds something else.
    """
    check_writable(folder)
    _refuse_other_things(folder)
    corpus = folder / "corpus"
    watch = Stopwatch(say)
    with watch.part("writing the corpus"), progress("writing videos", quiet=quiet) as report:
        write_corpus(corpus, ShapesConfig(num_videos=config.num_videos, seed=config.seed), progress=report)
    with watch.part("pre-training"):
        experiment = scaled(replace(shapes(), seed=config.seed), config.scale)
        experiment = replace(experiment, data=replace(experiment.data, corpus=str(corpus)))
        pretrained = Pretraining(experiment, folder / "pretraining", quiet=quiet).run()
    test_pairs = one_text_per_video(read_pairs(corpus, "test"))
    with (
        watch.part("zero-shot retrieval on held-out combinations"),
        progress("evaluating", quiet=quiet) as report,
    ):
        retrieval = evaluate_retrieval(pretrained, test_pairs, progress=report)
    with watch.part("fine-tuning on questions"):
        recipe = _questions_recipe(corpus, config)
        tuned = finetune_questions(pretrained, recipe, folder / "finetuning", quiet=quiet).clover
    test_questions = read_questions(corpus, "test")
    with watch.part("answering held-out questions"), progress("evaluating", quiet=quiet) as report:
        questions = evaluate_questions(tuned, test_questions, read_questions(corpus, "train"), progress=report)
    with watch.part("indexing and searching"):
        tuned.save_pretrained(folder / "checkpoint")
        library = _index(folder, tuned, [pair.video for pair in test_pairs], quiet)
        searches = [_show_search(library, tuned, pair, say) for pair in _spread(test_pairs, 4)]
        asked = [_show_question(tuned, row, say) for row in _spread(test_questions, 6)]
    page = DemoReport(
        seconds=watch.seconds,
        facts=_facts(config),
        retrieval=retrieval,
        questions=questions,
        curves=_curves(folder),
        searches=searches,
        asked=asked,
    )
    write_report(folder / "report.html", page)
    metrics = {
        "seconds": round(sum(watch.seconds.values()), 1),
        "zero_shot_retrieval": retrieval_figures(retrieval),
        "question_answering": question_figures(questions),
    }
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    return DemoResult(retrieval=retrieval, questions=questions, seconds=watch.seconds)


def _refuse_other_things(folder: Path) -> None:
    """Find out before any work that nothing of the user's stands where the demo's results will.

    Raises:
        LibraryError: there is a folder named library that is none, or a checkpoint that is none.
    """
    for name, mark in (("library", "library.json"), ("checkpoint", "config.json")):
        path = folder / name
        if path.exists() and not (path / mark).is_file() and (not path.is_dir() or any(path.iterdir())):
            raise LibraryError(f"{path} is in the way: the demo writes its own {name} there; give another --out")


def _questions_recipe(corpus: Path, config: DemoConfig) -> QuestionExperiment:
    recipe = shapes_questions()
    return replace(
        recipe,
        data=replace(recipe.data, corpus=str(corpus)),
        training=replace(recipe.training, num_steps=max(1, round(recipe.training.num_steps * config.scale))),
        seed=config.seed,
    )


def _facts(config: DemoConfig) -> dict[str, str]:
    return {
        "corpus": f"{config.num_videos} generated videos",
        "device": f"CPU, {torch.get_num_threads()} threads",
        "seed": f"seed {config.seed}",
    }


def _spread(items: Sequence[ItemT], count: int) -> list[ItemT]:
    """A few items, evenly spread over a list: not the best ones."""
    return [items[place] for place in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _index(folder: Path, clover: Clover, videos: list[Path], quiet: bool) -> Index:
    windows = WindowConfig()
    path = folder / "library"
    if (path / "library.json").is_file():  # of an earlier demo: `run_demo` refuses anything else
        shutil.rmtree(path)
    library = open_library(path, clover, windows, checkpoint=str((folder / "checkpoint").resolve()))
    with progress("indexing", quiet=quiet) as report:
        index_videos(library, clover, videos, windows, progress=report)
    return library


def _show_search(library: Index, clover: Clover, pair: Pair, say: Say) -> ShownSearch:
    spans = search(library, clover, pair.text, len(library))
    right = str(pair.video.resolve())
    order = list(dict.fromkeys(span.video for span in spans))
    say(f"   search: {pair.text}")
    results = []
    for span in spans[:4]:
        name = "/".join(Path(span.video).parts[-2:])
        mark = "  <- the video this was written for" if span.video == right else ""
        say(f"     {span.score:.3f}  {span.start_seconds:4.1f} to {span.end_seconds:4.1f} s  {name}{mark}")
        frames = read_frames(span.video, 8, start_seconds=span.start_seconds, end_seconds=span.end_seconds)
        results.append(
            FoundMoment(
                score=span.score,
                start_seconds=span.start_seconds,
                end_seconds=span.end_seconds,
                name=name,
                strip=film_strip(frames.images),
                is_right=span.video == right,
            )
        )
    return ShownSearch(query=pair.text, rank=order.index(right) + 1, results=results)


def _show_question(clover: Clover, row: OpenEnded, say: Say) -> ShownQuestion:
    answers = [(answer.text, answer.probability) for answer in clover.answer(row.video, row.question, num_answers=3)]
    shown = ", ".join(f"{text} {100 * probability:.0f} %" for text, probability in answers)
    say(f"   {row.question}  {shown}  (right: {row.answer})")
    strip = film_strip(read_frames(row.video, 8).images)
    return ShownQuestion(question=row.question, right=row.answer, answers=answers, strip=strip)


def _curves(folder: Path) -> dict[str, str]:
    pretraining = read_log(folder / "pretraining" / "pretraining" / "log.jsonl")
    finetuning = read_log(folder / "finetuning" / "log.jsonl")
    names = ["video_alignment", "text_alignment", "text_ranking", "video_ranking", "masked_words", "total"]
    return {
        "Pre-training": loss_curves(pretraining, names),
        "Fine-tuning on questions": loss_curves(finetuning, ["answers"]),
    }
