"""clover index, join, search and ask as commands: what they print, write and refuse."""

import errno
import io
import json
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np
import pytest

from clover.checkpoints import CloverConfig, InputConfig
from clover.cli import main
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video import probe
from clover.data.video_writer import write_video
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint, three videos in a folder, and their library."""
    folder = tmp_path_factory.mktemp("place")
    tokenizer = Tokenizer.train(["a red ball moves left", "what color is the ball?"], 100)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), heads=HeadConfig(num_answers=3))
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=24)
    config = CloverConfig(model=model, inputs=inputs, answers=("red", "blue", "yes"))
    Clover(new_model(model, seed=0), tokenizer, config).save_pretrained(folder / "checkpoint")
    (folder / "videos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        images = generator.integers(0, 255, (40, 32, 48, 3), dtype=np.uint8)
        write_video(folder / "videos" / f"{number}.mp4", images, keyframe_interval=8)
    assert index(folder, "library")[0] == 0
    return folder


def run(*arguments):
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        status = main([str(argument) for argument in arguments])
    return status, output.getvalue(), errors.getvalue()


def index(folder, out, *options):
    return run("index", folder / "videos", "--checkpoint", folder / "checkpoint", "--out", folder / out, *options)


def test_parts_are_made_apart_and_joined(place):
    folders = []
    for number in range(2):
        status, output, _ = index(place, "parted", "--part", f"{number}/2")
        assert status == 0
        assert f"in {place / 'parted'}-part-{number}-of-2" in output
        folder = place / f"parted-part-{number}-of-2"
        folders += [folder] if folder.exists() else []
    status, output, _ = run("join", *folders, "--out", place / "parted")
    assert (status, output) == (0, f"6 moments of 3 videos in {place / 'parted'}\n")
    for library in ("parted", "library"):
        status, output, _ = run("search", place / library, "a red ball", "--json", "-k", "9")
        rows = json.loads(output)["results"]
        assert len({row["video"] for row in rows}) == 3
    assert index(place, "x", "--part", "2/2")[2].startswith("clover: part 2/2 does not exist")


def test_results_say_where_how_well_and_how_surely(place):
    status, output, errors = run("search", place / "library", "a red ball", "--rerank", "2", "--json", "-k", "3")
    assert (status, errors) == (0, "")
    rows = json.loads(output)["results"]
    assert [sorted(row) for row in rows[:2]] == [
        ["confidence", "end_seconds", "reranked", "score", "start_seconds", "video"]
    ] * 2
    assert all(0 <= row["confidence"] < 1 for row in rows)
    status, output, _ = run("search", place / "library", "a red ball")
    assert output.splitlines()[0].split() == ["score", "confidence", "from", "to", "video"]
    assert all(".mp4" in line and " %" in line for line in output.splitlines()[1:])


def test_clips_are_exported(place, tmp_path):
    arguments = ("search", place / "library", "a red ball", "-k", "2", "--merge-drop", "0", "--by-video")
    status, output, errors = run(*arguments, "--export", tmp_path / "copied", "--json")
    assert status == 0
    assert errors == f"2 clips in {tmp_path / 'copied'}: 2 copied, 0 encoded anew\n"
    rows = json.loads(output)["results"]
    _, _, errors = run(*arguments[:3], "-k", "1", "--min-confidence", "0", "--export", tmp_path / "copied")
    assert errors.startswith(f"1 clip in {tmp_path / 'copied'}: 1 copied")
    num_others = len(list((tmp_path / "copied").iterdir())) - 1
    assert f"beside {num_others} other MP4" in errors
    status, _, errors = run(*arguments, "--export", tmp_path / "exact", "--exact")
    assert errors.endswith("0 copied, 2 encoded anew\n")
    for row, path in zip(rows, sorted((tmp_path / "exact").iterdir()), strict=True):
        seconds = row["end_seconds"] - row["start_seconds"]
        assert probe(path).duration_seconds == pytest.approx(seconds, abs=0.01)
        assert probe(tmp_path / "copied" / path.name).duration_seconds >= seconds - 0.01


def test_what_cannot_be_exported_or_re_ranked_is_said_beside_the_json(place, tmp_path):
    library, moved = tmp_path / "library", tmp_path / "videos"
    shutil.copytree(place / "videos", moved)
    assert run("index", moved, "--checkpoint", place / "checkpoint", "--out", library)[0] == 0
    shutil.rmtree(moved)
    search = ("search", library, "a red ball", "--json", "--rerank", "3", "--export", tmp_path / "clips")
    status, output, errors = run(*search)
    assert (status, len(json.loads(output)["results"])) == (0, 3)
    assert "nothing was re-ranked: the files of what was found are gone" in errors
    assert "left out 3 files that cannot be read" in errors


def test_an_unreadable_folder_is_left_out_and_named(place, tmp_path, monkeypatch):
    shutil.copytree(place / "videos", tmp_path / "videos")
    locked = tmp_path / "videos" / "locked"
    locked.mkdir()
    scan = os.scandir

    def refuse(folder):
        if str(folder) == str(locked):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr("os.scandir", refuse)
    arguments = ("index", tmp_path / "videos", "--checkpoint", place / "checkpoint", "--out", tmp_path / "library")
    status, _, errors = run(*arguments, "--strict")
    assert (status, errors) == (2, f"clover: {locked}: cannot be read (Permission denied); check its permissions\n")
    status, output, _ = run(*arguments)
    assert status == 0
    assert output.startswith("3 added")
    assert f"left out 1 folder that cannot be read:\n  {locked}: cannot be read" in output
    status, _, errors = run("index", locked, *arguments[2:])
    assert (status, "Permission denied" in errors) == (2, True)


def test_the_count_is_that_after_taking_out(place, tmp_path):
    shutil.copytree(place / "videos", tmp_path / "videos")
    arguments = ("index", tmp_path / "videos", "--checkpoint", place / "checkpoint", "--out", tmp_path / "library")
    assert run(*arguments)[0] == 0
    (tmp_path / "videos" / "0.mp4").rename(tmp_path / "videos" / "3.mp4")
    output = run(*arguments, "--prune")[1]
    after = json.loads(run("library", "info", tmp_path / "library", "--json")[1])
    assert output.startswith(f"1 added, 2 unchanged; {after['num_moments']} moments in ")
    assert after["num_videos"] == 3


def test_filters(place):
    search = ("search", place / "library", "a red ball", "--json")
    assert index(place, "tagged", "--tags", "home", "2026")[0] == 0
    tagged = ("search", place / "tagged", "a red ball", "--json")
    counts = {
        (*search, "--folder", place / "videos"): 3,
        (*search, "--folder", place / "elsewhere"): 0,
        (*search, "--until", "2001-01-01"): 0,
        (*search, "--since", "2001-01-01"): 3,
        (*search, "--max-seconds", "4"): 0,
        (*tagged, "--tags", "home"): 3,
        (*tagged, "--tags", "home", "abroad"): 0,
    }
    for arguments, count in counts.items():
        status, output, _ = run(*arguments)
        assert status == 0
        assert len({row["video"] for row in json.loads(output)["results"]}) == count, arguments
    assert run(*search[:3], "--tags", "none")[1] == "nothing: no video of the library is as asked for\n"


def test_a_library_is_asked(place, monkeypatch):
    question = "what color is the ball?"
    status, output, errors = run("ask", place / "library", question)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[4].startswith("from 3 moments, by open-ended head")
    assert sum(float(line.split()[0]) for line in lines[:3]) == pytest.approx(100, abs=0.2)
    assert len([line for line in lines if ".mp4" in line]) == 3
    status, output, _ = run("ask", place / "library", question, "--choices", "grey", "green", "--json")
    reply = json.loads(output)
    assert reply["method"].startswith("similarity of embeddings")
    assert {row["answer"] for row in reply["answers"]} == {"grey", "green"}
    assert "num_unseen" not in reply
    monkeypatch.setattr("clover.search.asking._CLIPS", 1)
    status, output, errors = run("ask", place / "library", question, "--ask-seconds", "1e-9", "--json")
    late = json.loads(output)
    assert (status, late["num_unseen"], len(late["evidence"])) == (0, 2, 1)
    assert errors == ("clover: time was up: of the moments found, the last 2 were not looked at (--ask-seconds)\n")
    status, output, _ = run("ask", place / "library", question, "--min-probability", "0.98")
    assert (status, output.splitlines()[0][:14]) == (0, "I don't know: ")


def test_a_video_is_asked_with_and_without_choices(place):
    about = (place / "checkpoint", place / "videos" / "0.mp4", "what color is the ball?")
    plain = json.loads(run("ask", *about, "--json")[1])
    chosen = json.loads(run("ask", *about, "--choices", "red", "blue", "--json")[1])
    whole = {row["answer"]: row["probability"] for row in plain["answers"]}
    share = whole["red"] / (whole["red"] + whole["blue"])
    assert {row["answer"]: row["probability"] for row in chosen["answers"]}["red"] == pytest.approx(share, abs=1e-3)
    assert run("ask", *about, "--min-probability", "0.98")[1].startswith("I don't know: the best answer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "library", "ball", "--since", "yesterday"), "--since 'yesterday' is no day"),
        (("search", "library", "ball", "--min-seconds", "5", "--max-seconds", "1"), "give the smaller bound first"),
        (
            ("search", "library", "ball", "--since", "2026-02-01", "--until", "2026-01-01"),
            "--since 2026-02-01 is after --until 2026-01-01; give the earlier day first",
        ),
        (("search", "library", "ball", "--min-seconds", "nan"), "--min-seconds is nan; use 0 or more"),
        (("ask", "checkpoint", "videos/0.mp4", "what?", "--folder", "videos"), "filters choose among the videos"),
        (("ask", "checkpoint", "videos/0.mp4", "what?", "--checkpoint", "x"), "leave --checkpoint out"),
        (("search", "library", "ball", "--exact"), "name their folder with --export"),
        (("search", "library", "ball", "--min-confidence", "1.5"), "min_confidence is 1.5"),
        (("search", "library", "ball", "--rerank", "-1"), "rerank is -1"),
        (("ask", "library"), "give LIBRARY QUESTION or CHECKPOINT VIDEO QUESTION"),
        (("ask", "library", "what is it?", "--choices", "red"), "at least 2 different ones"),
        (("ask", "library", "  "), "the question is blank"),
        (("ask", "checkpoint", "what is it?"), "checkpoint is not a library"),
        (
            ("index", "videos", "--checkpoint", "checkpoint", "--out", "milvus://localhost:1/l", "--part", "0/2"),
            "give a folder with --out, and then clover join --out milvus://localhost:1/l",
        ),
        (("join", "checkpoint", "--out", "joined"), "checkpoint is not a library"),
        (("join", "--out", "joined"), "nothing to join"),
    ],
)
def test_mistakes_are_one_line(place, monkeypatch, arguments, message):
    monkeypatch.chdir(place)
    status, _, errors = run(*arguments)
    assert status == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert not (place / "joined").exists()


@pytest.mark.parametrize("query", ["сколько стоит", "赤いボール", "🙂", "ball " * 20_000])
def test_other_scripts_and_very_long_queries_are_answered_with_a_note(place, query):
    status, output, errors = run("search", place / "library", query, "--json")
    assert status == 0
    assert json.loads(output)["results"]
    assert errors.count("\n") == 1
    assert "only its first 22 word pieces are read" in errors or "knows none of these words" in errors
