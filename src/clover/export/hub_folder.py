"""The folder that `clover export --to hub` leaves: a checkpoint with a model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from clover.checkpoints import CHECKPOINT_FILES
from clover.data.shapes.corpus import read_pairs, read_questions
from clover.errors import ConfigError
from clover.evaluation.open_answer import evaluate_questions
from clover.evaluation.retrieval import RetrievalResult, evaluate_retrieval, one_text_per_video
from clover.files import check_replaceable, write_folder
from clover.pipeline import Clover
from clover.publishing.card import check_license
from clover.publishing.records import Measurement

_FILES = {*CHECKPOINT_FILES, "README.md"}

Progress = Callable[[int, int], None]


def export_hub(
    clover: Clover,
    out: Path,
    *,
    corpus: Path | None = None,
    license_name: str = "",
    progress: Progress | None = None,
) -> list[str]:
    """Write config.json, model.safetensors, tokenizer.json and README.md, the model card, whole or not at all.

    The card of a folder that has one is kept as it is, unless a corpus or a licence is given.

    Args:
        clover: The checkpoint; the records beside the folder it was loaded from are what the card is made of.
        out: Folder; an earlier export for the Hub is replaced, and nothing else.
        corpus: Generated corpus on whose test split it is measured now; None: what the records hold is all.
        license_name: Of the weights, as the Hub abbreviates it; empty: unknown.
        progress: Of that measurement; called with (videos done, videos).

    Returns:
        Lines that say what the card knows.

    Raises:
        ConfigError: the licence is not of the Hub's form.
        DataError: the corpus is missing or broken.
        WriteError: the place cannot be written, or holds other things, which would be lost.
    """
    check_license(license_name)
    check_replaceable(out, _FILES, verb="export")
    kept = clover.kept_card
    if kept is not None and corpus is None and not license_name:
        _write(clover, out, kept)
        return [f"the card is that of {clover.source}, as it is (README.md); --corpus or --license makes a new one"]
    records = clover.records
    if corpus is not None:
        records = replace(records, measurements=(*records.measurements, *measured(clover, corpus, progress)))
    _write(clover, out, clover.card(records, name=out.absolute().name, license_name=license_name).encode())
    run = "the run's record" if records.run else "no record of the run (its data and recipe are unknown)"
    instead = f"; that of {clover.source} is not used" if kept is not None else ""
    return [f"the card is made of {run} and {len(records.measurements)} measured figures{instead}"]


def _write(clover: Clover, out: Path, card: bytes) -> None:
    def fill(aside: Path) -> None:
        clover.save_pretrained(aside)
        (aside / "README.md").write_bytes(card)

    write_folder(out, fill)


def measured(clover: Clover, corpus: Path, progress: Progress | None = None) -> list[Measurement]:
    """Retrieval on the test split of a generated corpus and, where the checkpoint answers, its questions.

    Raises:
        DataError: the corpus is missing or broken.
    """
    retrieval = evaluate_retrieval(clover, one_text_per_video(read_pairs(corpus, "test")), progress=progress)
    found = _retrieval(retrieval)
    if not clover.config.answers or clover.config.model.heads.answers_at_mask:
        return found
    try:
        questions = read_questions(corpus, "test")
        answers = evaluate_questions(clover, questions, read_questions(corpus, "train"), progress=progress)
    except ConfigError:
        return found
    protocol = f"exact match over {answers.num_questions:,} questions; chance is the most frequent training answer"
    blind = f"the same model with the video blanked: {answers.question_only:.1f} %"
    return [
        *found,
        Measurement(
            task="answer",
            dataset="clover-shapes",
            split="test",
            metric="accuracy",
            value=answers.accuracy,
            interval=answers.interval,
            chance=answers.most_frequent_answer,
            protocol=protocol,
            remarks=(blind, *_left_out(answers.skipped)),
        ),
    ]


def _retrieval(result: RetrievalResult) -> list[Measurement]:
    metrics = result.text_to_video
    sizes = f"{metrics.num_queries:,} texts x {metrics.num_gallery:,} videos"
    return [
        Measurement(
            task="retrieval",
            dataset="clover-shapes",
            split="test",
            metric=name,
            value=getattr(metrics, name),
            interval=metrics.intervals[name],
            chance=getattr(metrics, f"chance_{name}", None),
            protocol=f"text to video, {sizes}, the first text of each video, ties count against the model",
            remarks=_left_out(result.skipped),
        )
        for name in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")
    ]


def _left_out(skipped: Mapping[str, str]) -> tuple[str, ...]:
    return (f"{len(skipped):,} videos could not be read and were left out",) if skipped else ()
