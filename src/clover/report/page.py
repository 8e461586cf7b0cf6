"""The demo's report."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from clover.evaluation.open_answer import QuestionResult
from clover.evaluation.retrieval import RetrievalResult
from clover.files import write_text


@dataclass(frozen=True, kw_only=True)
class FoundMoment:
    """One search result to show."""

    score: float
    start_seconds: float
    end_seconds: float
    name: str
    strip: str
    """Film strip as a `data:` address."""
    is_right: bool
    """Whether it is the video that the sentence was written for."""


@dataclass(frozen=True, kw_only=True)
class ShownSearch:
    """One sentence and what it found."""

    query: str
    rank: int
    """Rank of the video that the sentence was written for, among all videos of the library."""
    results: list[FoundMoment]


@dataclass(frozen=True, kw_only=True)
class ShownQuestion:
    """One question and the model's best answers."""

    question: str
    right: str
    answers: list[tuple[str, float]]
    strip: str


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Everything on the page."""

    seconds: dict[str, float]
    """Wall time of each part, in seconds."""
    facts: dict[str, str]
    """What ran where, in words."""
    retrieval: RetrievalResult
    questions: QuestionResult
    curves: dict[str, str]
    """Plots by title, as `data:` addresses."""
    searches: list[ShownSearch]
    asked: list[ShownQuestion]


def write_report(path: Path, report: DemoReport) -> None:
    """Write the page, whole or not at all.

    Raises:
        WriteError: the place cannot be written.
    """
    write_text(path, render("page.html", report=report))


def render(name: str, **values: object) -> str:
    """Fill a template of this package; the style sheet comes with it."""
    here = files("clover.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(here.joinpath(name).read_text(encoding="utf-8"))
    return template.render(style=here.joinpath("style.css").read_text(encoding="utf-8"), **values)
