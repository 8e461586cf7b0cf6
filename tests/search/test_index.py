"""The index on disk: exact, one transaction a save, and picky about what it opens."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.errors import CloverError, LibraryError
from clover.search.index import ExactIndex, Moment


def moment(video="a.mp4", start=0.0):
    return Moment(video=video, start_seconds=start, end_seconds=start + 4, signature="1-2")


def filled(folder, count=20, width=6, seed=0):
    index = ExactIndex.create(folder, width=width, fingerprint="model-a", details={"checkpoint": "c"})
    vectors = np.random.default_rng(seed).normal(size=(count, width))
    index.add([moment(f"{number % 4}.mp4", float(number)) for number in range(count)], vectors)
    return index, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 9999))
def test_nearest_is_brute_force(tmp_path_factory, count, k, seed):
    index, vectors = filled(tmp_path_factory.mktemp("library") / "l", count, seed=seed)
    queries = np.random.default_rng(seed + 1).normal(size=(2, 6))
    for query, hits in zip(queries, index.nearest(queries, k), strict=True):
        scores = vectors @ query / np.linalg.norm(query)
        order = np.argsort(-scores)[:k]
        assert [hit.moment.start_seconds for hit in hits] == order.tolist()
        assert [hit.score for hit in hits] == pytest.approx(scores[order], abs=1e-5)


def test_round_trip_removal_and_ties(tmp_path):
    index, _ = filled(tmp_path / "l")
    index.save()
    again = ExactIndex.open(tmp_path / "l", fingerprint="model-a")
    assert again.moments == index.moments
    assert again.details == {"checkpoint": "c"}
    assert again.nearest(np.ones(6), 5) == index.nearest(np.ones(6), 5)
    assert again.remove("1.mp4") == 5
    assert again.remove("1.mp4") == 0
    again.add([moment("x"), moment("y")], np.ones((2, 6)))
    again.save()
    final = ExactIndex.open(tmp_path / "l")
    assert final.videos() == ["0.mp4", "2.mp4", "3.mp4", "x", "y"]
    assert [hit.moment.video for hit in final.nearest(np.ones(6), 2)[0]] == ["x", "y"]
    assert len(list((tmp_path / "l").iterdir())) == 3


def test_an_empty_library_answers_nothing(tmp_path):
    index = ExactIndex.create(tmp_path / "l", width=3, fingerprint="f", details={})
    index.save()
    assert ExactIndex.open(tmp_path / "l").nearest(np.ones(3), 4) == [[]]


def test_another_model_is_refused_by_name(tmp_path):
    filled(tmp_path / "l")[0].save()
    with pytest.raises(LibraryError, match=r"made by model model-a, and this is model model-b"):
        ExactIndex.open(tmp_path / "l", fingerprint="model-b")


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda folder: (folder / "library.json").unlink(), "no library.json"),
        (lambda folder: (folder / "library.json").write_text("{"), "not readable"),
        (lambda folder: (folder / "library.json").write_text("[]"), "does not describe"),
        (lambda folder: _change(folder, version=2), "of version 2"),
        (lambda folder: _change(folder, width="six"), "lacks width"),
        (lambda folder: next(folder.glob("vectors-*")).write_bytes(b"\x93NUMPY"), "incomplete"),
        (lambda folder: next(folder.glob("vectors-*")).unlink(), "incomplete"),
        (lambda folder: next(folder.glob("moments-*")).write_text("{}\n"), "damaged"),
        (lambda folder: _change(folder, num_moments=3), "damaged"),
    ],
)
def test_broken_libraries_are_named(tmp_path, breakage, message):
    filled(tmp_path / "l")[0].save()
    breakage(tmp_path / "l")
    with pytest.raises(LibraryError, match=message):
        ExactIndex.open(tmp_path / "l")


def _change(folder, **changes):
    path = folder / "library.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_pickles_are_never_loaded(tmp_path):
    filled(tmp_path / "l")[0].save()
    np.save(next((tmp_path / "l").glob("vectors-*")), np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(LibraryError, match="incomplete"):
        ExactIndex.open(tmp_path / "l")


def test_wrong_vectors_are_refused(tmp_path):
    index, _ = filled(tmp_path / "l")
    with pytest.raises(LibraryError, match="need vectors of shape"):
        index.add([moment()], np.ones((1, 5)))
    with pytest.raises(LibraryError, match="not finite"):
        index.add([moment()], np.full((1, 6), np.nan))
    with pytest.raises(LibraryError, match="queries have width 4"):
        index.nearest(np.ones(4), 1)


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(LibraryError, match="not empty and not a library"):
        ExactIndex.create(tmp_path, width=3, fingerprint="f", details={})


def test_a_place_that_cannot_be_written_leaves_the_old_state(tmp_path):
    index, _ = filled(tmp_path / "l")
    index.save()
    before = ExactIndex.open(tmp_path / "l").moments
    index.add([moment("new")], np.ones((1, 6)))
    (tmp_path / "l" / "vectors-000002.npy").mkdir()
    with pytest.raises(CloverError, match="cannot write"):
        index.save()
    assert ExactIndex.open(tmp_path / "l").moments == before


WRITER = """
import sys, numpy as np
from pathlib import Path
from clover.search.index import ExactIndex, Moment
index = ExactIndex.open(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    number = len(index)
    moments = [Moment(video=str(number + i), start_seconds=0.0, end_seconds=1.0, signature="") for i in range(50)]
    index.add(moments, np.ones((50, 6)) * (1 + number))
    index.save()
"""


def test_a_kill_at_any_instant_leaves_a_whole_state(tmp_path):
    filled(tmp_path / "l", count=50)[0].save()
    generator = np.random.default_rng(0)
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "l")], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(float(generator.uniform(0.0, 0.06)))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert len(ExactIndex.open(tmp_path / "l")) % 50 == 0
