"""What happens to libraries: full disks, folders that may not be read, moves, and joining and asking on a server."""

import io
import json
import os
import resource
import shutil
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from made_libraries import WIDTH, create, draw, moment

from clover.checkpoints import CloverConfig, InputConfig
from clover.cli import main
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video_writer import write_video
from clover.files import WriteError
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.search.index import SearchOptions, open_index

QUESTION = "what color is the ball?"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model that answers questions, never trained."""
    tokenizer = Tokenizer.train(["a red ball moves left", QUESTION], 100)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), heads=HeadConfig(num_answers=3))
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=24)
    config = CloverConfig(model=model, inputs=inputs, answers=("red", "blue", "yes"))
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    Clover(new_model(model, seed=0), tokenizer, config).save_pretrained(folder)
    return folder


@pytest.fixture
def films(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(4):
        folder = tmp_path / "films" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        write_video(folder / f"{number}.mp4", generator.integers(0, 255, (16, 32, 32, 3), dtype=np.uint8))
    return tmp_path / "films"


def run(*arguments):
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        status = main([str(argument) for argument in arguments])
    return status, output.getvalue(), errors.getvalue()


@contextmanager
def room_for(num_bytes):
    """No file may become larger: writing fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("num_bytes", [0, 100, 1_000, 40_000])
@pytest.mark.parametrize("action", ["save", "compact", "migrate"])
def test_a_full_disk_leaves_the_state_before_and_the_same_object_saves_later(tmp_path, action, num_bytes):
    folder = tmp_path / "library"
    index = create(folder, options=SearchOptions(exact_up_to=2_500, target_recall=0.5))
    vectors = draw(5_000)
    index.add([moment(start=float(number)) for number in range(2_000)], vectors[:2_000])
    index.save()
    before = open_index(folder).moments
    added = [moment("/films/b.mp4", float(number)) for number in range(3_000)]
    index.add(added, vectors[2_000:])
    index.remove("/films/none.mp4")

    def change():
        if action == "migrate":
            successor = index.migration(width=WIDTH, fingerprint="model-b", details={})
            successor.add(before + added, vectors)
            successor.save()
            index.adopt(successor)
        else:
            getattr(index, action)()

    with room_for(num_bytes), pytest.raises(WriteError, match=r"cannot write .*; choose a writable place with"):
        change()
    there = open_index(folder)
    assert (there.moments, there.fingerprint) == (before, "model-a")
    assert there.verify().problems == []
    change()
    there = open_index(folder)
    assert there.moments == before + added
    assert there.verify().problems == []
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]


@pytest.mark.parametrize("num_bytes", [100, 1_000])
def test_a_first_save_without_room_is_no_hindrance_to_the_next(tmp_path, num_bytes):
    for room in (num_bytes, None):
        index = create(tmp_path / "library")
        index.add([moment(start=float(number)) for number in range(100)], draw(100))
        if room is None:
            index.save()
        else:
            with room_for(room), pytest.raises(WriteError):
                index.save()
    assert len(open_index(tmp_path / "library")) == 100
    assert len(list((tmp_path / "library").iterdir())) == 4  # three files and the header


def test_a_folder_that_may_not_be_read_stops_when_strict(checkpoint, films, tmp_path, monkeypatch):
    scandir = os.scandir

    def guarded(path="."):
        if str(path) == str(films / "1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    status, _, errors = run("index", films, "--checkpoint", checkpoint, "--out", tmp_path / "library", "--strict")
    assert (status, errors.count("\n")) == (2, 1)
    assert f"{films / '1'}: cannot be read (Permission denied); check its permissions" in errors
    assert not (tmp_path / "library").exists()


def test_a_library_that_was_moved_is_as_it_was(checkpoint, films, tmp_path):
    assert run("index", films, "--checkpoint", checkpoint, "--out", tmp_path / "library")[0] == 0
    found = run("search", tmp_path / "library", "a red ball", "--json")
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(tmp_path / "library", tmp_path / "elsewhere" / "mine")
    assert run("search", moved, "a red ball", "--json") == found
    assert "is whole" in run("library", "verify", moved)[1]
    write_video(films / "new.mp4", np.zeros((16, 32, 32, 3), dtype=np.uint8))
    status, output, _ = run("index", films, "--checkpoint", checkpoint, "--out", moved)
    assert status == 0
    assert "1 added" in output
    assert "4 unchanged" in output


def test_parts_are_joined_searched_and_asked_in_any_place(place, checkpoint, films, tmp_path):
    parts = []
    for number in range(2):
        part = tmp_path / f"part-{number}"
        assert run("index", films / str(number), "--checkpoint", checkpoint, "--out", part)[0] == 0
        parts.append(part)
    whole = tmp_path / "whole"
    assert run("index", films, "--checkpoint", checkpoint, "--out", whole)[0] == 0
    for again in range(2):
        status, output, errors = run("join", *parts, "--out", place)
        assert (status, output, errors) == (0, f"4 moments of 4 videos in {place}\n", ""), again
    for command in (("search", "a red ball"), ("ask", QUESTION), ("ask", QUESTION, "--choices", "red", "blue")):
        expected, found = (json.loads(run(command[0], where, *command[1:], "--json")[1]) for where in (whole, place))
        assert same(found, expected), (found, expected)
    assert run("library", "verify", place)[0] == 0


def same(found, expected):
    """Equal but for the rounding of numbers."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == (pytest.approx(expected, abs=1e-3) if isinstance(expected, float) else expected)
