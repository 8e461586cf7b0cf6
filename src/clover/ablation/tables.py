"""Tables of an ablation's report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

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
from clover.evaluation.statistics import Difference
from clover.recipes.ablation import SWEEPS, SYSTEMS
from clover.report.ablation import Table

_NOT_PUBLISHED = "†"
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
    return " to ".join(f"{end:+.{digits}f}" for end in ends)


def system_table(results: Results, names: Sequence[str]) -> Table:
    """Tables 3 and 5 by our runs."""
    recalls = [f"{short} {what}" for short in ("paragraphs", "captions") for what in ("R@1", "R@5", "R@10", "MedR")]
    rows = []
    for name in names:
        runs, system = runs_of(results, name), SYSTEMS[name]
        cells = [system.title, str(len(runs))]
        for evaluation in ("paragraphs", "captions"):
            mark = "" if system.aligns else _NOT_PUBLISHED
            cells += [spread(figures_of(runs, evaluation, f"recall_at_{k}")) + mark for k in (1, 5, 10)]
            cells.append(f"{mean(figures_of(runs, evaluation, 'median_rank')):.1f}{mark}")
        mark = "" if system.fuses else _NOT_PUBLISHED
        cells += [spread(figures_of(runs, evaluation, "accuracy")) + mark for evaluation in ("choice", "open")]
        rows.append(cells)
    note = (
        "Mean and standard deviation over seeds; percent. Retrieval is zero-shot, answers are fine-tuned. "
        f"{_NOT_PUBLISHED} not in the paper: the embeddings (IND-F) or the fusion encoder (IND-A) were not pre-trained."
    )
    return Table(headings=["", "seeds", *recalls, "choice", "open"], rows=rows, note=note)


def published_table() -> Table:
    """Tables 3 and 5 of the paper."""
    rows = [
        [
            SYSTEMS[name].title,
            *(f"{PUBLISHED[name][each]:.1f}" if each in PUBLISHED[name] else "-" for each in EVALUATIONS),
        ]
        for name in SYSTEMS
        if name in PUBLISHED
    ]
    headings = ["the paper", *(f"{title}, {_metric_title(name)}" for name, title in EVALUATIONS.items())]
    return Table(
        headings=headings, rows=rows, note="DiDeMo, MSR-VTT, LSMDC-MC and TGIF-Frame; one seed, a million videos."
    )


def claims_table(judged: Sequence[Judged]) -> Table:
    """Every claim with its verdict."""
    rows = []
    for each in judged:
        claim, found = each.claim, each.found
        digits = 3 if claim.what.evaluation == "similarity" else 1
        title = EVALUATIONS.get(claim.what.evaluation, f"{claim.what.evaluation}, {claim.what.metric}")
        said = "-" if claim.published is None else f"{claim.published:+.{2 if digits == 3 else 1}f}"
        ours = ["-", "-", "-"]
        if found:
            ours = [
                f"{found.mean:+.{digits}f}",
                interval(found.interval, digits),
                interval(found.seed_interval, digits),
            ]
        names = f"{SYSTEMS[claim.better].title} > {SYSTEMS[claim.worse].title}"
        rows.append([claim.table, names, title, said, *ours, each.verdict])
    headings = ["", "claim", "in", "paper", "ours", "95 %, seeds and queries", "95 %, seeds alone", ""]
    note = (
        "R@1 or accuracy, in points. A claim holds, or does not, where both intervals lie on one side of 0. Of this "
        "many claims about one in twenty single intervals would miss 0 by chance."
    )
    return Table(headings=headings, rows=rows, note=note)


def effects_table(effects: Sequence[Effect]) -> Table:
    """Differences of systems in every measure."""
    rows = []
    for each in effects:
        found, digits = each.found, 3 if each.what.evaluation == "similarity" else 1
        names = f"{SYSTEMS[each.first].title} - {SYSTEMS[each.second].title}"
        rows.append(
            [names, f"{each.what.evaluation}, {each.what.metric.replace('_', ' ')}", f"{found.mean:+.{digits}f}"]
            + [interval(ends, digits) for ends in (found.interval, found.seed_interval, found.query_interval)]
            + [str(len(found.by_seed)), _told(found)]
        )
    headings = ["", "measure", "difference", "95 %, both", "seeds alone", "queries alone", "seeds", ""]
    return Table(headings=headings, rows=rows)


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
    parts = ("pretraining", "zero_shot", "open", "choice")
    rows = []
    for name in results.systems:
        runs = runs_of(results, name)
        minutes = [[run.seconds.get(part, 0.0) / 60 for run in runs] for part in parts]
        rows.append([SYSTEMS[name].title, *(f"{mean(each):.1f}" for each in minutes), f"{sum(map(sum, minutes)):.0f}"])
    return Table(headings=["minutes of a run", *parts, "all runs"], rows=rows)


def runs_of(results: Results, name: str) -> list[RunResult]:
    """A system's runs, by seed."""
    return [results.runs[name, seed] for seed in results.seeds(name)]


def _metric_title(name: str) -> str:
    return "R@1" if METRIC[name] == "recall_at_1" else "accuracy"
