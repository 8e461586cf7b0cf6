"""Tables of an ablation's report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, median, stdev

import numpy as np

from clover.ablation.claims import (
    EVALUATIONS,
    METRIC,
    PUBLISHED,
    PUBLISHED_SIMILARITY,
    Effect,
    Judged,
)
from clover.ablation.results import Results, RunResult, similarities
from clover.evaluation.open_answer import most_frequent_answers
from clover.evaluation.statistics import Difference, student_quantile
from clover.recipes.ablation import SWEEPS, SYSTEMS
from clover.report.ablation import Table
from clover.types import OpenEnded

_NOT_PUBLISHED = "†"
_RETRIEVAL = ("paragraphs", "captions")
_NUM_CLOSEST = 100


def figures_of(runs: Sequence[RunResult], evaluation: str, metric: str) -> list[float]:
    """One figure of several runs."""
    return [float(run.figures[evaluation][metric]) for run in runs]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return "-"
    shown = f"{mean(values):.{digits}f}"
    return f"{shown} ± {stdev(values):.{digits}f}" if len(values) > 1 else shown


def interval(ends: tuple[float, float], digits: int = 1) -> str:
    """Of a difference."""
    if not all(np.isfinite(ends)):
        return "unbounded"
    return " to ".join(signed(end, digits) for end in ends)


def signed(value: float, digits: int = 1) -> str:
    """A difference; what rounds to nothing has no sign."""
    shown = f"{value:+.{digits}f}"
    return shown if any(digit in "123456789" for digit in shown) else shown[1:]


def system_table(results: Results, names: Sequence[str]) -> Table:
    """Tables 3 and 5 by our runs, each figure beside the paper's."""
    rows = []
    for name in names:
        runs = runs_of(results, name)
        cells = [SYSTEMS[name].title, str(len(runs))]
        for each, metric in METRIC.items():
            cells.append(spread(figures_of(runs, each, metric)) + _mark(name, each))
            published = PUBLISHED.get(name, {})
            cells.append(f"{published[each]:.1f}" if each in published else "-")
        rows.append(cells)
    note = (
        "Mean and standard deviation over seeds; percent. Retrieval is zero-shot, answers are fine-tuned. "
        f"{_NOT_PUBLISHED} not in the paper: the embeddings (IND-F) or the fusion encoder (IND-A) were not "
        "pre-trained. The paper's figures, each right of ours, are of DiDeMo, MSR-VTT, LSMDC-MC and TGIF-Frame; one "
        "seed, millions of videos."
    )
    titles = [heading for each in EVALUATIONS for heading in (f"{each}, {_metric_title(each)}", "paper")]
    return Table(headings=["", "seeds", *titles], rows=rows, note=note)


def ranks_table(results: Results, names: Sequence[str]) -> Table:
    """More of the retrieval than its first place."""
    headings = [f"{short} {what}" for short in _RETRIEVAL for what in ("R@5", "R@10", "MedR")]
    rows = []
    for name in names:
        runs, cells = runs_of(results, name), [SYSTEMS[name].title]
        for each in _RETRIEVAL:
            cells += [spread(figures_of(runs, each, f"recall_at_{k}")) + _mark(name, each) for k in (5, 10)]
            cells.append(f"{mean(figures_of(runs, each, 'median_rank')):.1f}{_mark(name, each)}")
        rows.append(cells)
    return Table(headings=["", *headings], rows=rows)


def _mark(name: str, evaluation: str) -> str:
    """Beside figures that the paper does not have for good reason."""
    has_it = SYSTEMS[name].aligns if evaluation in _RETRIEVAL else SYSTEMS[name].fuses
    return "" if has_it else _NOT_PUBLISHED


def claims_table(judged: Sequence[Judged]) -> Table:
    """Every claim with its verdict."""
    rows = []
    for each in judged:
        claim, found = each.claim, each.found
        digits = 3 if claim.what.evaluation == "similarity" else 1
        title = claim.what.evaluation + ("" if claim.what.evaluation in EVALUATIONS else f", {claim.what.metric}")
        said = "-" if claim.published is None else f"{claim.published:+.{2 if digits == 3 else 1}f}"
        ours = ["-", "-", "-"]
        if found:
            ours = [
                signed(found.mean, digits),
                interval(found.interval, digits),
                interval(found.seed_interval, digits),
            ]
        names = f"{SYSTEMS[claim.better].title} > {SYSTEMS[claim.worse].title}"
        rows.append([claim.table.replace(" ", "\N{NO-BREAK SPACE}"), names, title, said, *ours, each.verdict])
    headings = ["", "claim", "in", "paper", "ours", "95 %, seeds and queries", "95 %, seeds alone", ""]
    note = (
        "R@1 or accuracy, in points. Paragraphs play DiDeMo, captions MSR-VTT, the choice of a sentence LSMDC-MC, open "
        "questions TGIF-Frame. A claim holds, or does not, where both intervals lie on one side of 0. Of this "
        "many claims about one in twenty single intervals would miss 0 by chance. Table 4 is judged on a caption of "
        "every video, not on those that the paper chooses; where the paper's own difference is negative, the claim is "
        "its text's alone."
    )
    return Table(headings=headings, rows=rows, note=note, num_names=3)


def effects_table(effects: Sequence[Effect]) -> Table:
    """Differences of systems in every measure."""
    rows = []
    for each in effects:
        found, digits = each.found, 3 if each.what.evaluation == "similarity" else 1
        names = f"{SYSTEMS[each.first].title} - {SYSTEMS[each.second].title}"
        rows.append(
            [names, f"{each.what.evaluation}, {each.what.metric.replace('_', ' ')}", signed(found.mean, digits)]
            + [interval(ends, digits) for ends in (found.interval, found.seed_interval, found.query_interval)]
            + [str(len(found.by_seed)), _told(found)]
        )
    headings = ["", "measure", "difference", "95 %, both", "seeds alone", "queries alone", "seeds", ""]
    return Table(headings=headings, rows=rows, num_names=2)


def _told(found: Difference) -> str:
    return {"holds": "better", "does not hold": "worse", "cannot be told": ""}[found.verdict]


def similarity_table(results: Results, names: Sequence[str]) -> Table:
    """Table 4: cosines of right pairs, of all captions and as the paper chooses them."""
    rows = []
    for name in names:
        runs = runs_of(results, name)
        found = [similarities(run.queries("zero_shot.json")) for run in runs]
        cells = [SYSTEMS[name].title]
        cells += [spread([float(each[what].mean()) for each in found], 3) for what in ("positive", "margin")]
        chosen = [_closest(results, name, run.seed) for run in runs] if name in ("comb", "tma") else []
        both = [each for each in chosen if each is not None]
        cells += [spread([each[place] for each in both], 3) for place in (0, 1)]
        published = PUBLISHED_SIMILARITY.get(name, {})
        cells += [f"{published[what]:.2f}" if published else "-" for what in ("positive", "margin")]
        rows.append(cells)
    headings = ["", "positive", "margin", "chosen: positive", "chosen: margin", "paper: positive", "paper: margin"]
    note = (
        "Cosine of a caption with its video, and its distance to the mean over all other videos. Chosen: queries that "
        f"COMB and +TMA of one seed both answer first, of which each system's {_NUM_CLOSEST} closest pairs."
    )
    return Table(headings=headings, rows=rows, note=note)


def _closest(results: Results, name: str, seed: int) -> tuple[float, float] | None:
    """Mean cosine and margin of a system's closest pairs, among queries that COMB and +TMA both answer."""
    if ("comb", seed) not in results.runs or ("tma", seed) not in results.runs:
        return None
    scores = {each: results.runs[each, seed].queries("zero_shot.json")["captions_scores"] for each in ("comb", "tma")}
    is_answered = np.all([each.argmax(axis=1) == np.arange(len(each)) for each in scores.values()], axis=0)
    if not is_answered.any():
        return None
    found = similarities({"captions_scores": scores[name]})
    closest = np.argsort(-np.where(is_answered, found["positive"], -np.inf))[: min(_NUM_CLOSEST, is_answered.sum())]
    return float(found["positive"][closest].mean()), float(found["margin"][closest].mean())


def probes_table(results: Results, names: Sequence[str]) -> Table:
    """Accuracy at telling a caption from a changed one, by what was changed."""
    classes = sorted({name for run in results.runs.values() for name in run.figures["probes"]} - {"accuracy"})
    rows = [
        [
            SYSTEMS[name].title,
            *(spread(figures_of(runs_of(results, name), "probes", each)) for each in ("accuracy", *classes)),
        ]
        for name in names
    ]
    return Table(headings=["", "all", *classes], rows=rows, note="Percent; chance is 50.")


def questions_table(
    results: Results, names: Sequence[str], asked: Sequence[OpenEnded], trained: Sequence[OpenEnded]
) -> Table:
    """Accuracy on open questions by what they ask, beside that of the answer that training questions have most often.

    Args:
        results: All runs.
        names: Systems, a column each.
        asked: The questions of the evaluated split.
        trained: Those of the training split.
    """
    guess = most_frequent_answers(trained)
    is_guessed: dict[str, list[bool]] = {}
    for row in asked:
        kind = row.question_type or ""
        is_guessed.setdefault(kind, []).append(row.answer == guess.get(kind))
    rows = []
    for kind, found in sorted(is_guessed.items(), key=lambda each: -len(each[1])):
        of_systems = [[float(run.figures["open"]["by_type"][kind]) for run in runs_of(results, name)] for name in names]
        rows.append([kind, str(len(found)), f"{100 * mean(found):.0f}", *(spread(values, 0) for values in of_systems)])
    note = (
        "Percent; mean and standard deviation over seeds. Most frequent: whoever always gives the answer that training "
        "questions of that kind have most often."
    )
    return Table(
        headings=["", "questions", "most frequent", *(SYSTEMS[name].title for name in names)], rows=rows, note=note
    )


def sweep_tables(results: Results) -> list[Table]:
    """One run for each value, beside Clover's of the same seed."""
    tables = []
    for name, points in sweep_points(results).items():
        headings = [SWEEPS[name].title, *EVALUATIONS.values(), "probes"]
        rows = [
            [label + (" (Clover)" if label == SWEEPS[name].own else ""), *(f"{value:.1f}" for value in found.values())]
            for label, found in points
        ]
        tables.append(Table(headings=headings, rows=rows))
    return tables


def chance_of_sweeps(results: Results) -> str:
    """How far apart two runs are that differ in nothing but their seed.

    Student's quantile, of as many degrees of freedom as the deviation over seeds has, times the root of twice the
    variance.
    """
    by_seed = [_headline(run) for run in runs_of(results, "clover")]
    if len(by_seed) < 2:
        return "How much another seed alone changes is not known here: that takes several seeds of Clover."
    factor = student_quantile(len(by_seed) - 1) * math.sqrt(2)
    reaches = {name: factor * stdev(run[name] for run in by_seed) for name in by_seed[0]}
    told = ", ".join(f"{name} {reach:.1f}" for name, reach in reaches.items())
    num_compared = len(results.sweeps) * len(reaches)
    return (
        f"Two runs that differ in their seed alone are mostly (95 %, by Student's t over {len(by_seed)} seeds) less "
        f"than so many points apart: {told}. Of the {num_compared} differences from Clover in these tables, about "
        f"{num_compared / 20:.0f} are larger by chance."
    )


def sweep_points(results: Results) -> dict[str, list[tuple[str, dict[str, float]]]]:
    """Figures by setting and value, Clover's own among them."""
    found: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for name, sweep in SWEEPS.items():
        runs = {value: run for (setting, value), run in results.sweeps.items() if setting == name}
        if not runs:
            continue
        if ("clover", 0) in results.runs:
            runs[sweep.own] = results.runs["clover", 0]
        found[name] = [(value, _headline(runs[value])) for value in sorted(runs, key=_as_number)]
    return found


def _as_number(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return 0.0, value


def _headline(run: RunResult) -> dict[str, float]:
    figures = {name: float(run.figures[name][METRIC[name]]) for name in EVALUATIONS}
    return figures | {"probes": float(run.figures["probes"]["accuracy"])}


def time_table(results: Results) -> Table:
    """Minutes of a run, by system and part."""
    titles = {"pretraining": "pre-training", "zero_shot": "zero-shot", "open": "open", "choice": "choice"}
    rows = []
    groups = {SYSTEMS[name].title: runs_of(results, name) for name in results.systems}
    if results.sweeps:
        groups["Clover, one setting changed"] = list(results.sweeps.values())
    for title, runs in groups.items():
        parts = _seconds_by_part(runs)
        minutes = [parts.get(part, 0.0) / 60 for part in titles]
        rows.append([title, *(f"{each:.1f}" for each in minutes), f"{sum(minutes):.1f}"])
    return Table(
        headings=["minutes of a run", *titles.values(), "together"],
        rows=rows,
        note="By the clock, the median of the runs, over all sittings; of one that was killed the time is not known.",
    )


def seconds_of(runs: Sequence[RunResult]) -> float:
    """What so many runs take one after another, by the clock; interruptions of a few of them do not count."""
    return sum(_seconds_by_part(runs).values(), 0.0) * len(runs)


def _seconds_by_part(runs: Sequence[RunResult]) -> dict[str, float]:
    parts = sorted({part for run in runs for part in run.seconds})
    return {part: median(run.seconds.get(part, 0.0) for run in runs) for part in parts}


def runs_of(results: Results, name: str) -> list[RunResult]:
    """A system's runs, by seed."""
    return [results.runs[name, seed] for seed in results.seeds(name)]


def _metric_title(name: str) -> str:
    return "R@1" if METRIC[name] == "recall_at_1" else "accuracy"
