"""What cannot be read is listed once, as it is found, by one process for all, also over interruptions."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_loop import Batch, batches, toy_run

from clover.distributed import Processes
from clover.errors import CloverError
from clover.training.skipped import SkippedSamples


@dataclass
class Skipping(Batch):
    skipped: tuple[tuple[str, str], ...] = ()


def listed(folder):
    path = folder / "skipped.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def begun(folder, reasons=None, *, resume=False, **more):
    skipped = SkippedSamples(folder, reasons if reasons is not None else {}, **more)
    skipped.begin(resume=resume)
    return skipped


@given(st.lists(st.sets(st.sampled_from("abcdef"), max_size=4), max_size=8), st.integers(0, 8))
def test_every_sample_is_listed_once_with_the_step_that_found_it(tmp_path_factory, steps, interrupted_after):
    folder = tmp_path_factory.mktemp("run")
    skipped = begun(folder, {"z": "is empty"})
    for step, names in enumerate(steps):
        if step == interrupted_after:
            with (folder / "skipped.jsonl").open("a") as file:
                file.write('{"path": "half a li')
            skipped = begun(folder, {"z": "is empty"}, resume=True)
        new = skipped.new_of(Skipping(1.0, (), tuple((name, f"{name} is broken") for name in sorted(names))))
        skipped.add(new, stage="pretraining", step=step)
    first = {name: step for step, names in reversed(list(enumerate(steps))) for name in names}
    before = [{"path": "z", "reason": "is empty", "stage": None, "step": None}]
    later = [
        {"path": name, "reason": f"{name} is broken", "stage": "pretraining", "step": step}
        for name, step in sorted(first.items(), key=lambda item: (item[1], item[0]))
    ]
    assert listed(folder) == before + later
    assert skipped.reasons.keys() == {"z", *first}


def test_the_loop_lists_a_step_before_the_next_begins(tmp_path):
    skipped = begun(tmp_path)
    seen = []
    made = batches([1.0] * 5)
    for step in (1, 3):
        made[step] = Skipping(1.0, made[step].names, ((f"{step}.mp4", "is cut short"), ("same.mp4", "is empty")))
    toy_run(tmp_path, made, during=lambda step: seen.append([row["path"] for row in listed(tmp_path)]), skipped=skipped)
    both = ["1.mp4", "same.mp4"]
    assert seen == [[], [], both, both, [*both, "3.mp4"]]
    assert [row["step"] for row in listed(tmp_path)] == [1, 1, 3]


def test_another_run_begins_with_an_empty_list(tmp_path):
    begun(tmp_path).add({"a": "is broken"}, stage="pretraining", step=0)
    begun(tmp_path)
    assert not (tmp_path / "skipped.jsonl").exists()


def test_the_first_process_writes_what_all_have_found(tmp_path, monkeypatch):
    found = [{"a": "is broken"}, {"a": "is broken", "b": "is empty"}]
    monkeypatch.setattr(Processes, "told", lambda self, value: found)
    monkeypatch.setattr(Processes, "from_first", lambda self, value: value)
    processes = [begun(tmp_path, processes=Processes(rank=rank, count=2)) for rank in (0, 1)]
    for each, new in zip(processes, found, strict=True):
        each.add(new, stage="pretraining", step=3)
        assert each.reasons == {"a": "is broken", "b": "is empty"}
    assert [(row["path"], row["step"]) for row in listed(tmp_path)] == [("a", 3), ("b", 3)]


def test_a_list_that_cannot_be_written_is_named(tmp_path):
    skipped = begun(tmp_path / "run")
    with pytest.raises(CloverError, match=r"cannot write .*skipped.jsonl"):
        skipped.add({"a": "is broken"}, stage="pretraining", step=0)
