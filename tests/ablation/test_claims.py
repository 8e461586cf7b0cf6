"""From files of runs to verdicts: figures made by hand, so that it is known what must come out."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from clover.ablation.claims import CLAIMS, compare, judge
from clover.ablation.folders import AblationFolder
from clover.ablation.results import measure, read_results, similarities
from clover.ablation.settings import AblationConfig, keep
from clover.ablation.summary import summarise
from clover.ablation.tables import (
    chance_of_sweeps,
    similarity_table,
    sweep_points,
    sweep_tables,
    system_table,
    time_table,
)
from clover.config import to_plain
from clover.errors import DataError
from clover.recipes.ablation import SYSTEMS

NUM_VIDEOS, GROUP = 80, 4


def made_run(folder, system, seed, generator, *, skill=0.3, swept=("", ""), start="warm"):
    """A run whose queries are right with a probability; scores have the right video ahead by it."""
    folder.mkdir(parents=True)
    groups = np.arange(NUM_VIDEOS) // GROUP
    right = generator.random(NUM_VIDEOS) < skill
    ranks = np.where(right, 1.0, generator.integers(2, NUM_VIDEOS, NUM_VIDEOS))
    scores = 0.1 * generator.standard_normal((NUM_VIDEOS, NUM_VIDEOS)) + skill * np.eye(NUM_VIDEOS)
    retrieval = {f"recall_at_{k}": 100 * float((ranks <= k).mean()) for k in (1, 5, 10)}
    retrieval |= {"median_rank": float(np.median(ranks)), "num_queries": NUM_VIDEOS}
    zero_shot = {"captions": retrieval, "paragraphs": retrieval, "probes": {"accuracy": 60.0, "color": 70.0}}
    arrays = {"probes_right": right, "probes_group": groups}
    for name in ("captions", "paragraphs"):
        arrays |= {f"{name}_rank": ranks, f"{name}_group": groups, f"{name}_scores": scores.astype(np.float16)}
    answers = {"accuracy": 100 * float(right.mean()), "num_queries": NUM_VIDEOS}
    files = {"zero_shot": (zero_shot, arrays)}
    files |= {name: (answers, {"right": right, "group": groups}) for name in ("open", "choice")}
    for name, (figures, queries) in files.items():
        (folder / f"{name}.json").write_text(json.dumps(figures))
        np.savez(folder / f"{name}.npz", **queries)
    (folder / "pretraining").mkdir()
    (folder / "pretraining" / "run.json").write_text(json.dumps({"starting_checkpoint": start}))
    machine = {"cpu": {"name": "of a sweep" if swept[0] else "of a system"}, "gpus": [], "num_threads": 1}
    about = {"system": system, "seed": seed, "swept": swept, "seconds": {"pretraining": 60.0}, "device": "cpu"}
    about["environment"] = machine | {"libraries": {"torch": "2"}}
    (folder / "done.json").write_text(json.dumps(about))


@pytest.fixture
def ablation(tmp_path):
    """Clover far ahead, COMB and +TMA alike, IND-F without answers of its own."""
    keep(tmp_path, AblationConfig())
    generator = np.random.default_rng(0)
    skills = {"comb": 0.3, "tma": 0.3, "tma-sm": 0.32, "clover": 0.8, "ind-a": 0.05}
    for system, skill in skills.items():
        for seed in range(4):
            made_run(tmp_path / "runs" / system / f"seed-{seed}", system, seed, generator, skill=skill)
    made_run(tmp_path / "sweeps/gamma/0/seed-0", "clover", 0, generator, skill=0.5, swept=("gamma", "0"))
    return AblationFolder(tmp_path)


def test_verdicts(ablation):
    verdicts = {
        (each.claim.better, each.claim.worse, each.claim.what.evaluation): each
        for each in judge(read_results(ablation))
    }
    assert verdicts["clover", "comb", "captions"].verdict == "holds"
    assert verdicts["clover", "ind-a", "paragraphs"].verdict == "holds"
    assert verdicts["ind-a", "comb", "captions"].verdict == "does not hold"
    assert verdicts["tma", "comb", "open"].verdict == "cannot be told"
    assert verdicts["ind-f", "comb", "open"].verdict == "not measured"
    plain = verdicts["clover", "comb", "captions"].plain()
    assert plain["published"] == 3.6
    assert plain["mean"] == pytest.approx(np.mean(plain["by_seed"]), abs=1e-3)
    assert plain["interval"][0] < plain["mean"] < plain["interval"][1]


def test_the_papers_figures_are_those_of_its_tables():
    published = {(claim.better, claim.worse, claim.what.evaluation): claim.published for claim in CLAIMS}
    assert published["tma", "comb", "captions"] == 2.9
    assert published["clover", "tma-sm", "open"] == 0.3
    assert published["ind-a", "comb", "paragraphs"] == 0.3
    assert published["tma", "comb", "similarity"] == 0.05
    assert len(CLAIMS) == 4 * 4 + 2 + 8


def test_rows_have_every_figure_once(ablation):
    rows = [row for run in read_results(ablation).runs.values() for row in run.rows()]
    keys = [(row["system"], row["seed"], row["evaluation"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys) == 20 * (4 + 4 + 2 + 1 + 1 + 2)
    assert set(rows[0]) == {"system", "seed", "evaluation", "metric", "value"}
    json.dumps(rows, allow_nan=False)


def test_only_shared_seeds_are_compared(ablation):
    made_run(ablation.runs / "comb" / "seed-9", "comb", 9, np.random.default_rng(1))
    results = read_results(ablation)
    assert len(compare(results, "clover", "comb", measure("open", "accuracy")).by_seed) == 4
    assert compare(results, "clover", "ind-f", measure("open", "accuracy")) is None
    assert system_table(results, ["comb"]).rows[0][1] == "5"


def test_similarities_and_the_table_of_them(ablation):
    scores = np.array([[0.9, 0.1, 0.3], [0.0, 0.5, 0.1], [0.2, 0.2, 0.2]], np.float16)
    found = similarities({"captions_scores": scores})
    assert found["positive"] == pytest.approx([0.9, 0.5, 0.2], abs=1e-3)
    assert found["margin"] == pytest.approx([0.7, 0.45, 0.0], abs=1e-3)
    row = similarity_table(read_results(ablation), ["comb"]).rows[0]
    assert row[0] == SYSTEMS["comb"].title
    assert float(row[3].split()[0]) > float(row[1].split()[0])  # the closest pairs are closer than all


def test_sweeps_stand_beside_clovers_own(ablation):
    points = sweep_points(read_results(ablation))
    assert [value for value, _ in points["gamma"]] == ["0", "2"]
    assert set(points) == {"gamma"}
    results = read_results(ablation)
    (table,) = sweep_tables(results)
    assert [row[0] for row in table.rows] == ["0", "2 (Clover)"]
    values = [results.runs["clover", seed].figures["open"]["accuracy"] for seed in range(4)]
    told = chance_of_sweeps(results)
    assert f"open {3.182 * 2**0.5 * stdev(values):.1f}" in told  # Student's t of three degrees, from a printed table
    assert "over 4 seeds" in told and "Of the 5 differences" in told
    alone = replace(results, runs={("clover", 0): results.runs["clover", 0]})
    assert "not known" in chance_of_sweeps(alone)


def test_hours_and_machines_count_the_sweeps(ablation):
    with pytest.raises(DataError):  # the report shows videos of a corpus, which is not there
        summarise(ablation)
    found = json.loads((ablation.path / "ablation.json").read_text())
    assert found["machine"]["processors"] == ["of a sweep", "of a system"]
    assert found["machine"]["seconds"] == 21 * 60
    assert found["warm_encoders"] == "warm"
    rows = {row[0]: row[1:] for row in time_table(read_results(ablation)).rows}
    assert rows["Clover, one setting changed"] == ["1.0", "0.0", "0.0", "0.0", "1.0"]


def test_runs_of_other_settings_are_refused(ablation):
    done = ablation.runs / "comb" / "seed-0" / "done.json"
    about = json.loads(done.read_text())
    done.write_text(json.dumps(about | {"settings": to_plain(AblationConfig())}))
    assert len(read_results(ablation).runs) == 20
    before = {name: value for name, value in to_plain(AblationConfig()).items() if name != "warm_seed"}
    done.write_text(json.dumps(about | {"settings": before}))  # an earlier version, which lacked that setting
    assert len(read_results(ablation).runs) == 20
    done.write_text(json.dumps(about | {"settings": to_plain(AblationConfig(num_steps=800))}))
    with pytest.raises(DataError, match="comb/seed-0 was done with other settings"):
        read_results(ablation)


def test_other_queries_do_not_compare(ablation):
    path = ablation.runs / "comb" / "seed-0" / "open.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{name: values[::-1] for name, values in arrays.items()})
    with pytest.raises(DataError, match="evaluated on different queries"):
        compare(read_results(ablation), "comb", "clover", measure("open", "accuracy"))


def test_a_sweep_from_other_warm_encoders_is_refused(ablation):
    folder = ablation.sweeps / "gamma" / "4" / "seed-0"
    made_run(folder, "clover", 0, np.random.default_rng(1), swept=("gamma", "4"), start="others")
    with pytest.raises(DataError, match="different warm encoders"):
        read_results(ablation)


def test_what_does_not_compare_is_refused(ablation):
    with pytest.raises(DataError, match="holds no run that is whole"):
        read_results(AblationFolder(ablation.path / "sweeps"))
    with pytest.raises(DataError, match="is not a folder"):
        read_results(AblationFolder(Path("nowhere")))
    made_run(ablation.runs / "ind-f" / "seed-0", "ind-f", 0, np.random.default_rng(1), start="others")
    with pytest.raises(DataError, match="different warm encoders"):
        read_results(ablation)


@pytest.mark.parametrize("name", ["zero_shot.npz", "open.json", "done.json"])
def test_a_broken_file_is_named(ablation, name):
    (ablation.runs / "comb" / "seed-0" / name).write_bytes(b"{")
    with pytest.raises(DataError, match=name):
        results = read_results(ablation)
        judge(results)
        list(results.runs["comb", 0].rows())


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def emptied(path):
    path.write_bytes(b"")


def without_groups(path):
    arrays = dict(np.load(path))
    del arrays["group"]
    np.savez(path, **arrays)


@pytest.mark.parametrize("harm", [cut, emptied, without_groups])
def test_broken_queries_are_named(ablation, harm):
    harm(ablation.runs / "comb" / "seed-0" / "open.npz")
    with pytest.raises(DataError, match=r"comb/seed-0/open\.npz .*run the ablation again"):
        judge(read_results(ablation))


def test_a_run_that_says_too_little_is_named(ablation):
    done = ablation.runs / "comb" / "seed-0" / "done.json"
    about = json.loads(done.read_text())
    del about["device"]
    done.write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"done\.json .*device"):
        read_results(ablation)
