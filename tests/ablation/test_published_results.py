"""The figures that are published: whole, judged by their own rule, and those of the page."""

import json
import re
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import pytest

from clover.ablation.claims import METRIC
from clover.recipes.ablation import BATCH_LENGTH, SYSTEMS

ROOT = Path(__file__).parents[2]
FOUND = json.loads((ROOT / "benchmarks" / "results" / "ablation.json").read_text())
VALUES = {(row["system"], row["seed"], row["evaluation"], row["metric"]): row["value"] for row in FOUND["rows"]}
SEVEN = [name for name, system in SYSTEMS.items() if not system.is_footnote]
SEEDS = range(5)
CHANCE = {"choice": 20, "open": 26.5}
"""Of five sentences; of the most frequent answer to a question of each kind."""


def test_every_run_is_there():
    assert len(SEVEN) == 7
    for name, seed, (evaluation, metric) in product(SEVEN, SEEDS, METRIC.items()):
        assert 0 <= VALUES[name, seed, evaluation, metric] <= 100
    assert FOUND["settings"]["evaluated_split"] == "test"
    assert FOUND["machine"]["seconds"] > 3600


def test_compute_is_reckoned_with_rows_as_they_are():
    lengths = json.loads((ROOT / "benchmarks" / "results" / "row_lengths_2026-11-22.json").read_text())
    assert round(lengths["with_padding"]["mean"]) == BATCH_LENGTH


def test_verdicts_follow_from_the_intervals():
    assert len(FOUND["claims"]) == 26
    for claim in FOUND["claims"]:
        assert len(claim["by_seed"]) == len(SEEDS)
        ends = [*claim["interval"], *claim["seed_interval"]]
        verdict = "holds" if min(ends) > 0 else "does not hold" if max(ends) < 0 else "cannot be told"
        assert claim["verdict"] == verdict, claim["claim"]
        if claim["evaluation"] in METRIC:
            better, worse = claim["claim"].split(" > ")
            ours = [
                VALUES[better, seed, claim["evaluation"], claim["metric"]]
                - VALUES[worse, seed, claim["evaluation"], claim["metric"]]
                for seed in SEEDS
            ]
            assert abs(mean(ours) - claim["mean"]) < 0.01


def test_no_system_is_at_chance_or_at_the_ceiling():
    """Decision 0010 chose the difficulty so; without alignment there is nothing to retrieve by."""
    for name in SEVEN:
        for evaluation, metric in METRIC.items():
            value = mean(VALUES[name, seed, evaluation, metric] for seed in SEEDS)
            if SYSTEMS[name].aligns or evaluation in CHANCE:
                assert CHANCE.get(evaluation, 5) < value < 80


TOLD = """
clover comb paragraphs | by 2.3 (0.2 to 4.5
clover comb paragraphs recall_at_5 | R@5, 2.1 (−2.1 to 6.6)
clover comb paragraphs recall_at_10 | R@10, 0.9 (−3.6 to 5.7)
clover comb captions | by 3.5 (1.5 to 5.6
clover ind-a captions | by 4.9 (2.5 to 7.3)
tma comb captions | by 3.4 (1.5 to 5.2)
tma comb choice | and 2.7 (0.0 to 5.5)
tma comb paragraphs | R@1 −0.2 (−2.2 to 2.1)
clover ind-f choice | choices by 25.5 (21.0 to 30.0)
clover ind-f open | open questions by 2.4 (1.3 to 3.5)
clover comb choice | choices 0.9 (−2.9 to 4.6)
clover comb open | open questions 0.0 (−1.3 to 1.3)
clover-32 clover open | by 4.3 (2.2 to 6.7)
clover-32 clover choice | choices −6.1 (−9.3 to −3.2)
clover-32 clover paragraphs | paragraphs −5.7 (−8.1 to −3.3)
clover-32 clover captions | captions −4.1 (−6.7 to −1.8)
ind-a comb open | by 2.1 (1.3 to 3.0)
clover ind-a open | is −2.2 (−3.8 to −0.4)
clover ind-f-compute open | 0.7 (−1.6 to 2.8)
clover comb probes | 1.8 (0.4 to 3.3)
clover tma-sm probes | 1.4 (0.3 to 2.6)
clover ind-a-compute paragraphs | paragraphs −5.5 (−8.6 to −2.1)
clover ind-a-compute captions | captions −3.2 (−5.7 to −0.6)
clover ind-a-compute choice | choices −6.2 (−9.3 to −3.1)
clover ind-a-compute open | open questions −7.0 (−9.0 to −5.0)
clover comb-compute choice | −4.3 (−7.0 to −1.6)
"""
NOT_LEARNED = dict(
    zip(
        ("is there", "how many", "texture", "shape", "repetition", "relative place"),
        (48.6, 48.7, 65.4, 12.5, 24.5, 48.1),
        strict=True,
    )
)
"""Kinds of questions, and how often their most frequent answer is right (a table of the report)."""


def page():
    return (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8").partition("## What came out")[2]


def minus(value):
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")


@pytest.mark.parametrize("line", TOLD.strip().splitlines())
def test_the_page_tells_these_differences(line):
    names, told = line.split(" | ")
    first, second, evaluation, *metric = names.split()
    (effect,) = (
        each
        for each in FOUND["effects"]
        if [each["first"], each["second"], each["evaluation"], each["metric"]]
        == [first, second, evaluation, *(metric or [METRIC.get(evaluation, "accuracy")])]
    )
    low, high = map(minus, effect["interval"])
    assert told.rstrip(")").endswith(f"{minus(effect['mean'])} ({low} to {high}")
    assert told in " ".join(page().split())


@pytest.mark.parametrize("kind", NOT_LEARNED)
def test_no_system_has_learned_these_kinds_of_questions(kind):
    for name in SEVEN:
        found = mean(VALUES[name, seed, "open", f"accuracy: {kind}"] for seed in SEEDS)
        assert found < NOT_LEARNED[kind] + 3


LONG = json.loads((ROOT / "benchmarks" / "results" / "ablation_long.json").read_text())
TOLD_OF_LONG = """
captions recall_at_1 | by 8.0 (5.2 to 10.8
captions recall_at_10 | R@10 5.7, 3.4 to 8.0
choice accuracy | by 6.1 (3.1 to 9.1
paragraphs recall_at_1 | 1.8 (−2.5 to 6.0
"""


@pytest.mark.parametrize("line", TOLD_OF_LONG.strip().splitlines())
def test_the_page_tells_what_longer_runs_change(line):
    names, told = line.split(" | ")
    (effect,) = (each for each in LONG["effects"] if [each["evaluation"], each["metric"]] == names.split())
    assert (effect["first"], effect["second"], len(effect["by_seed"])) == ("clover", "ind-a-compute", 2)
    shown = [float(number.replace("−", "-")) for number in re.findall(r"[−\d.]+", told.removeprefix("R@10"))]
    assert shown == pytest.approx([effect["mean"], *effect["interval"]], abs=0.051)
    assert told in " ".join(page().split())


def test_the_page_shows_the_longer_runs():
    values = {(row["system"], row["seed"], row["evaluation"], row["metric"]): row["value"] for row in LONG["rows"]}
    for system, start in (("ind-a-compute", "| IND-A, 3,457 steps |"), ("clover", "| Clover, 1,200 steps |")):
        (row,) = (line for line in page().splitlines() if line.startswith(start))
        for cell, evaluation in zip(row.split("|")[2:6], ("paragraphs", "captions", "choice", "open"), strict=True):
            figures = [values[system, seed, evaluation, METRIC[evaluation]] for seed in (0, 1)]
            assert cell.strip() == ", ".join(f"{figure:.1f}" for figure in figures)
    assert LONG["settings"] == FOUND["settings"] | {"num_steps": 1200}
    assert LONG["warm_encoders"] == SWEEP["warm_encoders"]


SWEEP = json.loads((ROOT / "benchmarks" / "results" / "ablation_sweep.json").read_text())
OUTSIDE = {
    ("temperature", "0.2", "paragraphs"),
}
"""Settings and values that change a figure by more than another seed does, as the page has it."""


def sweep_figures():
    rows = [("clover", "", row) for row in SWEEP["rows"]]
    rows += [(row["setting"], row["setting_value"], row) for row in SWEEP["sweeps"]]
    return {
        (name, value, row["evaluation"]): row["value"]
        for name, value, row in rows
        if row["metric"] == METRIC.get(row["evaluation"])
    }


def test_the_page_shows_the_sweep():
    figures, shown = sweep_figures(), set()
    for line in page().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name, value = (cells[0].split("`")[1], cells[1]) if line.startswith("| `") else ("clover", "")
        if line.startswith(("| `", "| Clover, this run |")):
            shown.add((name, value))
            expected = [figures[name, value, each] for each in ("paragraphs", "captions", "choice", "open")]
            assert cells[2:] == [f"{figure:.1f}" for figure in expected], (name, value)
    assert shown == {key[:2] for key in figures}
    assert SWEEP["machine"]["processors"] != FOUND["machine"]["processors"]  # so they are not in one table
    assert SWEEP["settings"] == FOUND["settings"]


def test_what_the_sweep_tells():
    figures, beyond, reaches = sweep_figures(), set(), {}
    for evaluation, metric in METRIC.items():  # Student's t of four degrees of freedom, from a printed table
        reaches[evaluation] = 2.776 * 2**0.5 * stdev(VALUES["clover", seed, evaluation, metric] for seed in SEEDS)
    for (name, value, evaluation), figure in figures.items():
        if abs(figure - figures["clover", "", evaluation]) > reaches[evaluation]:
            beyond.add((name, value, evaluation))
    assert beyond == OUTSIDE
    told = re.search(
        r"less than ([\d.]+) points of paragraphs, ([\d.]+) of captions, ([\d.]+) of choices and ([\d.]+) of open",
        page().replace("\n", " "),
    )
    assert list(told.groups()) == [f"{reaches[each]:.1f}" for each in ("paragraphs", "captions", "choice", "open")]
    num_compared = len(figures) - len(METRIC)
    assert f"Of the {num_compared} differences" in page()


def test_the_page_shows_these_figures():
    lines = [line for line in page().splitlines() if line.startswith("|") and " ± " in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    names = [*SEVEN, *(name for name, system in SYSTEMS.items() if system.has_compute_of), "clover"]
    for name, (_, *cells) in zip(names, rows, strict=True):
        for cell, evaluation in zip(cells, ("paragraphs", "captions", "choice", "open"), strict=True):
            values = [VALUES[name, seed, evaluation, METRIC[evaluation]] for seed in SEEDS]
            assert cell == f"{mean(values):.1f} ± {stdev(values):.1f}", (name, evaluation)
    counts = [sum(claim["verdict"] == verdict for claim in FOUND["claims"]) for verdict in ("holds", "does not hold")]
    told = re.search(r"(\d+) hold, (\d+) do not hold, and (\d+) cannot", page())
    assert [int(count) for count in told.groups()] == [*counts, 26 - sum(counts)]
