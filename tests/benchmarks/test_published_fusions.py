"""The figures of decision 0014 are those of its file, and its winner is judged by the file's own verdicts."""

import json
from pathlib import Path
from statistics import mean, stdev

import pytest

ROOT = Path(__file__).parents[2]
FOUND = json.loads((ROOT / "benchmarks" / "results" / "fusions_2026-11-22.json").read_text())
PAGE = (ROOT / "docs" / "decisions" / "0014-fusions.md").read_text(encoding="utf-8")
KINDS = {"concatenated": "concatenated", "cross-attention": "cross_attention", "gated": "gated"}
FIGURES = [
    *("recall_at_1", "recall_at_5", "recall_at_10"),
    *("reranked_recall_at_1", "fused_recall_at_1", "question_accuracy"),
]


def rows():
    lines = PAGE.partition("## Fusion")[2].partition("## Students")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {first: rest for first, *rest in cells if first}


def minus(value):
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")


@pytest.mark.parametrize("kind", KINDS)
def test_means_over_seeds(kind):
    by_seed = FOUND["kinds"][KINDS[kind]]["by_seed"]
    assert rows()[kind] == [f"{mean(by_seed[name]):.1f} ± {stdev(by_seed[name]):.1f}" for name in FIGURES]
    assert all(len(by_seed[name]) == 5 for name in FIGURES)


@pytest.mark.parametrize("kind", ["cross-attention", "gated"])
def test_differences_from_the_papers(kind):
    found = [FOUND["less_the_paper"][KINDS[kind]][name] for name in FIGURES]
    told = [f"{minus(each['mean'])} ({minus(each['interval'][0])} to {minus(each['interval'][1])})" for each in found]
    assert rows()[f"{kind}, less the paper's"] == told


def test_the_winner_and_what_fusing_again_adds():
    verdicts = {
        kind: {name for name in FIGURES if found[name]["verdict"] == "holds"}
        for kind, found in FOUND["less_the_paper"].items()
    }
    assert verdicts["cross_attention"] == set(FIGURES) - {"fused_recall_at_1"}
    assert verdicts["gated"] == set(FIGURES) - {"fused_recall_at_1", "question_accuracy"}
    assert {each["verdict"] for each in FOUND["reranked_less_embeddings"].values()} == {"cannot be told"}
