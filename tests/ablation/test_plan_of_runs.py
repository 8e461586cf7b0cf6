"""Which runs there are, in which order, and what differs between them."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.ablation.folders import AblationFolder
from clover.ablation.jobs import Job, jobs_of, sweep_jobs
from clover.ablation.runner import Part, run_jobs
from clover.ablation.settings import AblationConfig, keep, quick, stored
from clover.config import flat, to_plain
from clover.errors import ConfigError, DataError
from clover.recipes.ablation import SWEEPS, SYSTEMS, compute_factor, step_flops
from clover.training.compute import ComputeConfig


def differing(first, second):
    ours, theirs = flat(to_plain(first)), flat(to_plain(second))
    return {name for name in ours if ours[name] != theirs[name]}


def test_every_system_differs_from_the_one_before_in_one_field():
    expected = {
        "ind-a": {"objective.masked_word_weight"},
        "ind-f": {"objective.alignment"},
        "tma": {"objective.alignment"},
        "tma-sm": {"text_masking.rule"},
        "clover": {"objective.ranking_weight"},
        "clover-32": {"objective.published_num_processes"},
    }
    found = {
        name: differing(system.recipe(), SYSTEMS[system.derives_from].recipe())
        for name, system in SYSTEMS.items()
        if system.derives_from and not system.is_footnote
    }
    assert found == expected
    variants = {
        name: differing(system.recipe(), SYSTEMS[system.derives_from].recipe())
        for name, system in SYSTEMS.items()
        if system.is_variant
    }
    assert variants == {"tma-sm-adjectives": {"text_masking.mask_adjectives"}}


def test_every_sweep_changes_one_field_of_clover():
    clover = SYSTEMS["clover"].recipe()
    for sweep in SWEEPS.values():
        changes = [differing(change(clover), clover) for change in sweep.values.values()]
        assert all(changes)
        assert len(set.union(*changes)) == 1


def test_sweeps_name_clovers_own_values():
    clover = SYSTEMS["clover"].recipe()
    objective = clover.objective
    own = {
        "temperature": objective.temperature,
        "margin": objective.ranking_margin,
        "gamma": objective.focal_gamma,
        "text-ratio": clover.text_masking.num_words(1000) / 1000,
        "video-ratio": clover.video_masking.ratio,
        "towards-anchor": objective.towards_anchor_weight,
        "world-size": objective.published_num_processes,
        "ranking-ramp": "yes" if any(clover.ranking_ramp) else "no",
    }
    told = {name: value if isinstance(value, str) else f"{value:.4g}" for name, value in own.items()}
    assert {name: sweep.own for name, sweep in SWEEPS.items()} == told


def experiment(job, config=None):
    return job.experiment(AblationFolder(Path("out")), config or AblationConfig(), ComputeConfig())


def test_same_compute_is_more_steps_and_nothing_else():
    config, whole = AblationConfig(num_steps=1000), step_flops(SYSTEMS["clover"].recipe())
    for name in ("ind-a", "ind-f", "comb"):
        short, long = (experiment(Job(system=each, seed=2), config) for each in (name, f"{name}-compute"))
        assert differing(long, short) == {"training.num_steps"}
        spent = long.training.num_steps * step_flops(SYSTEMS[name].recipe())
        assert spent == pytest.approx(1000 * whole, rel=1e-3)
    assert compute_factor(SYSTEMS["clover"]) == 1.0


def test_all_runs_share_what_they_should():
    runs = [experiment(job) for job in jobs_of(list(SYSTEMS), 1) if not SYSTEMS[job.system].has_compute_of]
    for name in ("data.corpus", "seed", "training", "model", "inputs"):
        plain = [flat(to_plain(run)) for run in runs]
        assert len({str([value for key, value in each.items() if key.startswith(name)]) for each in plain}) == 1
    assert {run.init or run.data.tokenizer for run in runs} == {"out/warm/checkpoint"}
    assert [run.init == "" for run in runs].count(True) == 2  # from nothing, with the same words


@given(st.integers(1, 6), st.integers(1, 4))
def test_parts_are_all_runs_once(num_machines, num_seeds):
    jobs = jobs_of(list(SYSTEMS), num_seeds)
    parts = [Part.read(f"{number}/{num_machines}").of(jobs) for number in range(1, num_machines + 1)]
    assert sorted(map(str, jobs)) == sorted(str(job) for part in parts for job in part)
    assert len(set(jobs)) == len(jobs) == num_seeds * len(SYSTEMS)
    loads = [sum(job.cost for job in part) for part in parts]
    assert max(loads) - min(loads) <= max(job.cost for job in jobs)
    folders = {job.folder(AblationFolder(Path("out"))) for job in (*jobs, *sweep_jobs(list(SWEEPS)))}
    assert len(folders) == len(jobs) + len(sweep_jobs(list(SWEEPS)))


def test_seeds_go_together_and_footnotes_come_last():
    names = [(job.seed, job.system) for job in jobs_of(["comb-fresh", "comb", "clover"], 2)]
    assert names == [(0, "comb"), (0, "clover"), (1, "comb"), (1, "clover"), (0, "comb-fresh"), (1, "comb-fresh")]


@pytest.mark.parametrize("text", ["3/2", "0/2", "2", "a/b", "1/0", "", "²/3", "1/2/3", " 1/3", "1/" + "9" * 5000])
def test_a_part_that_is_none(text):
    with pytest.raises(ConfigError, match="such as 1/3") as caught:
        Part.read(text)
    assert len(str(caught.value)) < 150


def searched(part, jobs):
    """The share of a part as it was found at first: the least of all loads is looked for, run by run."""
    loads, mine = [0.0] * part.count, set()
    for job in sorted(jobs, key=lambda job: -job.cost):
        place = loads.index(min(loads))
        loads[place] += job.cost
        if place == part.number - 1:
            mine.add(job)
    return [job for job in jobs if job in mine]


@dataclass(frozen=True, kw_only=True)
class Costly(Job):
    """A run that says what it costs."""

    cost: float = 1.0


COSTS = st.lists(st.sampled_from([0.7, 1.1, 1.5]) | st.floats(0.5, 3.0), max_size=40)


@given(st.integers(1, 50), COSTS)
def test_a_part_is_the_same_as_ever(num_machines, costs):
    """Machines of an older version may be at work on the other parts."""
    jobs = [Costly(system="clover", seed=seed, cost=cost) for seed, cost in enumerate(costs)]
    for number in {1, (num_machines + 1) // 2, num_machines}:
        part = Part(number, num_machines)
        assert part.of(jobs) == searched(part, jobs)


def test_of_more_machines_than_runs_the_last_ones_get_none_at_once(tmp_path):
    jobs = jobs_of(list(SYSTEMS), 1)
    longest = max(jobs, key=lambda job: job.cost)
    assert Part.read("1/999999999999999999").of(jobs) == [longest]
    last = Part.read("999999999999999999/999999999999999999").of(jobs)
    assert last == []
    said = []
    run_jobs(last, AblationFolder(tmp_path), AblationConfig(), ComputeConfig(), num_processes=1, say=said.append)
    assert said == ["no runs for this machine: there are more machines than runs (--part)"]


def test_settings_are_kept_and_another_ablation_is_refused(tmp_path):
    assert stored(tmp_path) is None
    keep(tmp_path, quick())
    assert stored(tmp_path) == quick()
    keep(tmp_path, quick())
    with pytest.raises(ConfigError, match="batch_size: 32 there, 8 here"):
        keep(tmp_path, replace(quick(), batch_size=8))
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(DataError, match="not readable"):
        stored(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(ConfigError, match=r"holds other things \(letter.txt\)"):
        keep(tmp_path / "other", quick())


def test_corpora_that_share_videos_are_refused():
    config = AblationConfig()
    with pytest.raises(ConfigError, match="share videos"):
        replace(config, warm_corpus=replace(config.warm_corpus, first_video=100))
    with pytest.raises(ConfigError, match="other pairs would be held out"):
        replace(config, warm_corpus=replace(config.warm_corpus, seed=99))
