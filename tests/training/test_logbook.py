"""The log file, and what a person sees where there is no terminal."""

import json

import pytest

from clover.training.logbook import Logbook, progress


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def write(folder, steps, *, first_step=0, **options):
    with Logbook(folder, total_steps=6, batch_size=4, first_step=first_step, **options) as logbook:
        for step in steps:
            logbook.write(step, {"words": 1.0 / (step + 1)}, learning_rate=0.1, waiting_seconds=0.0)


def test_one_line_a_step(tmp_path):
    write(tmp_path, range(6), quiet=True)
    assert [row["step"] for row in rows(tmp_path)] == list(range(6))
    assert rows(tmp_path)[1]["words"] == 0.5
    assert rows(tmp_path)[0]["learning_rate"] == 0.1


def test_resuming_drops_the_steps_that_are_done_again(tmp_path):
    write(tmp_path, range(5), quiet=True)
    write(tmp_path, range(3, 6), first_step=3, quiet=True)
    assert [row["step"] for row in rows(tmp_path)] == list(range(6))


def test_a_new_run_starts_a_new_log(tmp_path):
    write(tmp_path, range(5), quiet=True)
    write(tmp_path, range(2), quiet=True)
    assert [row["step"] for row in rows(tmp_path)] == [0, 1]


def test_plain_lines_without_a_terminal(tmp_path, capsys):
    write(tmp_path, range(6), title="pre-training")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "pre-training: 6 steps of 4"
    assert lines[-1].startswith("pre-training: step 6/6  words ")
    assert "samples/s" in lines[-1]
    assert "waiting for data" in lines[-1]


def test_notes_are_kept(tmp_path):
    with Logbook(tmp_path, total_steps=1, batch_size=1, quiet=True) as logbook:
        logbook.note(recall_at_10=50.0)
    assert rows(tmp_path) == [{"recall_at_10": 50.0}]
    with pytest.raises(ValueError, match="not open"):
        Logbook(tmp_path, total_steps=1, batch_size=1).note(a=1)


def test_progress_says_when_it_is_done(capsys):
    with progress("indexing") as report:
        report(1, 3)
        report(3, 3)
    assert capsys.readouterr().err == "indexing: 3/3\n"
    with progress("indexing", quiet=True) as report:
        report(3, 3)
    assert capsys.readouterr().err == ""
