"""The paper's claims on our figures: each holds, does not hold, or cannot be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clover.ablation.results import MEASURES, Measure, Results, measure
from clover.errors import DataError
from clover.evaluation.statistics import Difference, paired_difference

EVALUATIONS = {
    "paragraphs": "paragraphs (DiDeMo)",
    "captions": "captions (MSR-VTT)",
    "choice": "choice of a sentence (LSMDC-MC)",
    "open": "open questions (TGIF-Frame)",
}
"""The four evaluations, and what each plays."""

METRIC = {"paragraphs": "recall_at_1", "captions": "recall_at_1", "choice": "accuracy", "open": "accuracy"}

PUBLISHED: dict[str, dict[str, float]] = {
    "comb": {"paragraphs": 22.6, "captions": 19.8, "choice": 78.8, "open": 68.9},
    "tma": {"paragraphs": 24.7, "captions": 22.7, "choice": 80.0, "open": 69.3},
    "tma-sm": {"paragraphs": 25.3, "captions": 22.5, "choice": 80.5, "open": 69.4},
    "clover": {"paragraphs": 26.4, "captions": 23.4, "choice": 80.7, "open": 69.7},
    "ind-a": {"paragraphs": 22.9, "captions": 20.7},
    "ind-f": {"choice": 79.0, "open": 69.0},
}
"""Tables 3 and 5 of the paper: R@1 zero-shot, accuracy after fine-tuning; percent."""

PUBLISHED_SIMILARITY = {"comb": {"positive": 0.56, "margin": 0.30}, "tma": {"positive": 0.65, "margin": 0.35}}
"""Table 4."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The paper says that a system is better than another."""

    table: str
    better: str
    worse: str
    what: Measure

    @property
    def published(self) -> float | None:
        """By how much, in the paper."""
        if self.what.evaluation == "similarity":
            found = PUBLISHED_SIMILARITY
            return round(found[self.better][self.what.metric] - found[self.worse][self.what.metric], 2)
        ours = [PUBLISHED.get(name, {}).get(self.what.evaluation) for name in (self.better, self.worse)]
        return round(ours[0] - ours[1], 1) if ours[0] is not None and ours[1] is not None else None


_STEPS = (("tma", "comb"), ("tma-sm", "tma"), ("clover", "tma-sm"), ("clover", "comb"))
_RETRIEVAL, _QUESTIONS = ("paragraphs", "captions"), ("choice", "open")


def _claims() -> Iterator[Claim]:
    for better, worse in _STEPS:
        for name in EVALUATIONS:
            yield Claim(table="Table 3", better=better, worse=worse, what=measure(name, METRIC[name]))
    for metric in ("positive", "margin"):
        yield Claim(table="Table 4", better="tma", worse="comb", what=measure("similarity", metric))
    for names, alone in ((_RETRIEVAL, "ind-a"), (_QUESTIONS, "ind-f")):
        for name in names:
            yield Claim(table="Table 5", better=alone, worse="comb", what=measure(name, METRIC[name]))
            yield Claim(table="Table 5", better="clover", worse=alone, what=measure(name, METRIC[name]))


CLAIMS: tuple[Claim, ...] = tuple(_claims())
"""All of them; the naive combination (COMB) loses to the separate systems, and Clover wins over all."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim and what our runs say."""

    claim: Claim
    found: Difference | None
    """None where runs are missing."""

    @property
    def verdict(self) -> str:
        """In words."""
        return self.found.verdict if self.found else "not measured"

    def plain(self) -> dict[str, Any]:
        """For a file; unbounded ends are null."""
        claim = self.claim
        own = {
            "table": claim.table,
            "claim": f"{claim.better} > {claim.worse}",
            "evaluation": claim.what.evaluation,
            "metric": claim.what.metric,
            "published": claim.published,
            "verdict": self.verdict,
        }
        return own | (plain_difference(self.found) if self.found else {})


def plain_difference(found: Difference) -> dict[str, Any]:
    """A difference for a file, rounded."""
    return {name: _rounded(value) for name, value in asdict(found).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return round(value, 4) if abs(value) < float("inf") else None
    return value


def compare(results: Results, first: str, second: str, what: Measure) -> Difference | None:
    """Two systems on the seeds that both have; None where there is none.

    Raises:
        DataError: they were evaluated on different queries.
    """
    seeds = results.seeds(first, second)
    if not seeds:
        return None
    groups = results.groups(first, seeds[0], what)
    if not np.array_equal(groups, results.groups(second, seeds[0], what)):
        raise DataError(f"{first} and {second} were evaluated on different queries; do one of them again")
    ours, theirs = (results.values(name, seeds, what) for name in (first, second))
    return paired_difference(ours, theirs, groups)


def judge(results: Results) -> list[Judged]:
    """All claims."""
    return [Judged(claim=claim, found=compare(results, claim.better, claim.worse, claim.what)) for claim in CLAIMS]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One system against another in one measure."""

    first: str
    second: str
    what: Measure
    found: Difference


def effects(results: Results, pairs: tuple[tuple[str, str], ...]) -> list[Effect]:
    """Every measure of every pair that has runs."""
    return [
        Effect(first=first, second=second, what=what, found=found)
        for first, second in pairs
        for what in MEASURES
        if (found := compare(results, first, second, what)) is not None
    ]
