"""clover runs diff and clover runs list, on folders as runs leave them."""

import json
import os
import time

import pytest

from clover.cli import main
from clover.training.logbook import Logbook
from clover.training.records import RunRecord

SETTINGS = {"seed": 0, "training": {"batch_size": 8, "optimizer": {"learning_rate": 1e-3}}, "ramp": [0.0, 1.0]}


def run_with(folder, *, settings=SETTINGS, loss=1.0, num_steps=6, data=1, finish=True, resume=False, stages=None):
    """A run whose loss is one number; from step 4 on where it goes on."""
    first_step = 4 if resume else 0
    record = RunRecord(
        folder,
        title="pre-training",
        settings=settings,
        stages=stages or {"warm_start": 2, "pretraining": 6},
        data=lambda: {"files": {"train.jsonl": f"{data}"}},
    )
    record.begin(resume=resume)
    for stage, total in (("warm_start", 2), ("pretraining", 6)):
        start = min(first_step, total)
        record.enter(folder / stage, start)
        with Logbook(folder / stage, total_steps=total, batch_size=8, first_step=start, quiet=True) as logbook:
            for step in range(start, min(num_steps, total)):
                logbook.write(step, {"words": loss, "total": 2 * loss}, learning_rate=0.1, waiting_seconds=0.0)
            logbook.note(num_steps=min(num_steps, total), recall_at_10=50 * loss)
    if finish:
        record.finish(lambda: "0a1b")
    return folder


def changed(**training):
    return SETTINGS | {"training": SETTINGS["training"] | training}


def call(capsys, *arguments):
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def diff(capsys, first, second):
    status, output, _ = call(capsys, "runs", "diff", first, second, "--json")
    return status, json.loads(output)


def test_two_runs_of_one_making_are_the_same(tmp_path, capsys):
    first, second = run_with(tmp_path / "a"), run_with(tmp_path / "b")
    status, found = diff(capsys, first, second)
    assert status == 0
    assert found["is_same"]
    assert found["settings"] == found["code"] == found["environment"] == found["data"] == {}
    assert found["results"]["pretraining.total"] == {"first": 2.0, "second": 2.0}
    assert found["results"]["pretraining.recall_at_10"] == {"first": 50.0, "second": 50.0}
    assert set(found["speed"]["pretraining.samples_per_second"]) == {"first", "second"}
    status, output, _ = call(capsys, "runs", "diff", first, second)
    assert status == 0
    assert output.splitlines()[-1] == "the same in both: settings, code, environment, data"


def test_settings_data_and_losses_that_differ_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    other = changed(batch_size=16, micro_batch_size=4)
    first, second = run_with(tmp_path / "a"), run_with(tmp_path / "b", settings=other, loss=0.5, data=2)
    status, found = diff(capsys, first, second)
    assert status == 1
    assert found["settings"] == {
        "training.batch_size": {"first": 8, "second": 16},
        "training.micro_batch_size": {"second": 4},
    }
    assert found["data"] == {"files.train.jsonl": {"first": "1", "second": "2"}}
    assert found["results"]["warm_start.words"] == {"first": 1.0, "second": 0.5}
    status, output, _ = call(capsys, "runs", "diff", first, second)
    assert status == 1
    (row,) = [line for line in output.splitlines() if "micro_batch_size" in line]
    assert [cell.strip() for cell in row.split("│")] == ["training.micro_batch_size", "-", "4"]
    assert output.splitlines()[-1] == "the same in both: code, environment"


def test_a_difference_in_late_digits_is_shown(tmp_path, capsys):
    first, second = run_with(tmp_path / "a"), run_with(tmp_path / "b", loss=1.0 + 1e-9)
    status, output, _ = call(capsys, "runs", "diff", first, second)
    assert status == 1
    assert "1.000000001" in output


def test_code_that_changed_between_two_sessions(tmp_path, capsys, monkeypatch):
    versions = {"version": "1", "commit": "ab1"}
    monkeypatch.setattr("clover.training.records.code_version", lambda: dict(versions))
    first = run_with(tmp_path / "a")
    second = run_with(tmp_path / "b", num_steps=5, finish=False)
    versions["commit"] = "fe2"
    run_with(second, resume=True)
    status, found = diff(capsys, first, second)
    assert status == 1
    assert found["code"] == {"commit": {"first": "ab1", "second": "ab1 then fe2"}}
    assert found["results"]["pretraining.steps"] == {"first": 6, "second": 6}


def test_results_of_evaluations_are_compared(tmp_path, capsys):
    first, second = run_with(tmp_path / "a"), run_with(tmp_path / "b")
    for folder, accuracy in ((first, 30.0), (second, 31.5)):
        (folder / "result.json").write_text(json.dumps({"figures": {"accuracy": accuracy}, "metric": "accuracy"}))
    status, found = diff(capsys, first, second)
    assert status == 1
    assert found["results"]["result.accuracy"] == {"first": 30.0, "second": 31.5}


def test_a_loss_that_is_no_number_and_a_line_cut_short(tmp_path, capsys):
    first, second = run_with(tmp_path / "a"), run_with(tmp_path / "b", loss=float("nan"))
    with (second / "pretraining" / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "wor')
    status, found = diff(capsys, first, second)
    assert status == 1
    assert found["results"]["pretraining.total"] == {"first": 2.0, "second": "nan"}
    assert found["results"]["pretraining.steps"] == {"first": 6, "second": 6}
    assert diff(capsys, second, second)[1]["is_same"]


@pytest.fixture
def many(tmp_path):
    run_with(tmp_path / "x" / "done")
    run_with(tmp_path / "x" / "stopped", num_steps=3, finish=False)
    moment = time.time() - 7200
    for path in (tmp_path / "x" / "stopped").rglob("*"):
        os.utime(path, (moment, moment))
    (tmp_path / "x" / ".hidden").mkdir()
    (tmp_path / "x" / ".hidden" / "run.json").write_text("not looked at")
    return tmp_path / "x"


def test_the_runs_of_a_folder(many, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, output, _ = call(capsys, "runs", "list", many, "--json")
    assert status == 0
    rows = [json.loads(line) for line in output.splitlines()]
    assert [(row["folder"], row["state"], row["num_steps"], row["total_steps"]) for row in rows] == [
        (str(many / "done"), "finished", 8, 8),
        (str(many / "stopped"), "unfinished", 5, 8),
    ]
    assert [row["loss"] for row in rows] == [2.0, 2.0]
    _, output, _ = call(capsys, "runs", "list", many)
    lines = output.splitlines()
    assert "8 of 8" in lines[2] and lines[2].rstrip().endswith("finished")
    assert "5 of 8" in lines[3] and "unfinished, last sign 2 h ago" in lines[3]


def test_one_run_is_a_folder_of_runs_too(many, capsys):
    status, output, _ = call(capsys, "runs", "list", many / "done")
    assert status == 0
    assert "finished" in output


def test_records_of_the_first_version_are_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run_with(tmp_path / "new", settings={"batch_size": 4}, stages={".": 6})
    old = {"benchmark": "msrvtt-qa", "num_steps": 7, "experiment": {"batch_size": 5}, "select_on": "last"}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text(json.dumps(old))
    status, found = diff(capsys, tmp_path / "old", tmp_path / "new")
    assert status == 1
    assert found["settings"]["batch_size"] == {"first": 5, "second": 4}
    _, output, _ = call(capsys, "runs", "list", tmp_path / "old")
    assert "msrvtt-qa" in output and "0 of 7" in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it has no run.json; give what --out named"),
        ("{", "run.json is not a readable record of a run"),
        ("[1]", "it lacks the field 'experiment'"),
        ('{"experiment": 3}', "its 'experiment' is no object"),
        ('{"experiment": {}, "sessions": [3]}', "its 'sessions' is no list of objects"),
        ('{"experiment": {}, "stages": ["a"]}', "its 'stages' is no object of numbers"),
    ],
)
def test_what_is_no_run_is_said_in_one_line(tmp_path, capsys, content, message):
    run_with(tmp_path / "a")
    (tmp_path / "b").mkdir()
    if content is not None:
        (tmp_path / "b" / "run.json").write_text(content)
    status, _, errors = call(capsys, "runs", "diff", tmp_path / "a", tmp_path / "b")
    assert status == 2
    assert message in errors
    assert errors.count("\n") == 1


def test_folders_without_runs_and_unknown_commands(tmp_path, capsys):
    for arguments, message in (
        (("list", tmp_path), "holds no run"),
        (("list", tmp_path / "nowhere"), "is not a folder"),
        (("compare",), "unknown runs command 'compare'"),
        ((), "unknown runs command ''"),
    ):
        status, _, errors = call(capsys, "runs", *arguments)
        assert status == 2
        assert message in errors
