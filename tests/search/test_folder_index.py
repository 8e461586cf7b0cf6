"""The index in a folder: one transaction a save, and picky about what it opens."""

import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.errors import CloverError, LibraryError
from clover.search.folder_index import FolderIndex
from clover.search.index import Moment


def moment(video="a.mp4", start=0.0):
    return Moment(video=video, start_seconds=start, end_seconds=start + 4, signature="1-2")


def filled(folder, count=20, width=6, seed=0):
    index = FolderIndex.create(folder, width=width, fingerprint="model-a", details={"checkpoint": "c"})
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
    again = FolderIndex.open(tmp_path / "l", fingerprint="model-a")
    assert again.moments == index.moments
    assert again.details == {"checkpoint": "c"}
    assert again.nearest(np.ones(6), 5) == index.nearest(np.ones(6), 5)
    assert again.remove("1.mp4") == 5
    assert again.remove("1.mp4") == 0
    again.add([moment("x"), moment("y")], np.ones((2, 6)))
    again.save()
    final = FolderIndex.open(tmp_path / "l")
    assert final.videos() == ["0.mp4", "2.mp4", "3.mp4", "x", "y"]
    assert [hit.moment.video for hit in final.nearest(np.ones(6), 2)[0]] == ["x", "y"]
    assert final.verify().problems == []


def test_an_empty_library_answers_nothing(tmp_path):
    index = FolderIndex.create(tmp_path / "l", width=3, fingerprint="f", details={})
    index.save()
    assert FolderIndex.open(tmp_path / "l").nearest(np.ones(3), 4) == [[]]


def test_another_model_is_refused_by_name(tmp_path):
    filled(tmp_path / "l")[0].save()
    with pytest.raises(LibraryError, match=r"made by model model-a, and this is model model-b"):
        FolderIndex.open(tmp_path / "l", fingerprint="model-b")


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda folder: (folder / "library.json").unlink(), "no library.json"),
        (lambda folder: (folder / "library.json").write_text("{"), "not readable"),
        (lambda folder: (folder / "library.json").write_text("[]"), "does not describe"),
        (lambda folder: _change(folder, version=3), "of version 3"),
        (lambda folder: _change(folder, width="six"), "lacks width"),
        (lambda folder: next(folder.glob("vectors-*")).write_bytes(b"\x93NUMPY"), "has 6 bytes instead of"),
        (lambda folder: next(folder.glob("vectors-*")).unlink(), "incomplete"),
        (lambda folder: next(folder.glob("moments-*")).write_text("{}\n"), "damaged"),
        (lambda folder: next(folder.glob("videos-*")).write_bytes(b"?" * 400), "damaged"),
        (lambda folder: _change(folder, generation=7), "library.json is damaged"),
    ],
)
def test_broken_libraries_are_named(tmp_path, breakage, message):
    filled(tmp_path / "l")[0].save()
    breakage(tmp_path / "l")
    with pytest.raises(LibraryError, match=message):
        FolderIndex.open(tmp_path / "l")


def _change(folder, **changes):
    path = folder / "library.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_pickles_are_never_loaded(tmp_path):
    filled(tmp_path / "l")[0].save()
    path = next((tmp_path / "l").glob("vectors-*"))
    size = path.stat().st_size
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    with pytest.raises(LibraryError, match=r"damaged .*Python objects"):
        FolderIndex.open(tmp_path / "l")


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
        FolderIndex.create(tmp_path, width=3, fingerprint="f", details={})


def test_files_of_a_library_without_its_header_are_left_alone(tmp_path):
    index, _ = filled(tmp_path / "l")
    index.save()
    index.remove("0.mp4")
    index.compact()
    (tmp_path / "l" / "library.json").unlink()
    with pytest.raises(LibraryError, match="not empty and not a library"):
        filled(tmp_path / "l")


def test_a_place_that_cannot_be_written_leaves_the_old_state(tmp_path):
    index, _ = filled(tmp_path / "l")
    index.save()
    before = FolderIndex.open(tmp_path / "l").moments
    index.add([moment("new")], np.ones((1, 6)))
    (tmp_path / "l" / "vectors-000002.npy").mkdir()
    with pytest.raises(CloverError, match="cannot write"):
        index.save()
    assert FolderIndex.open(tmp_path / "l").moments == before


def test_a_library_of_version_1_opens_and_is_written_anew(tmp_path):
    """As the first release wrote them."""
    vectors = np.eye(3, 4, dtype=np.float32)
    lines = [{"video": f"{name}.mp4", "start_seconds": 0.0, "end_seconds": 4.0, "signature": "1-2"} for name in "aab"]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (tmp_path / "moments-000006.jsonl").write_bytes(content)
    np.save(tmp_path / "vectors-000006.npy", vectors)
    header = {"format": "clover-library", "version": 1, "fingerprint": "f", "width": 4, "details": {"checkpoint": "c"}}
    header |= {"generation": 6, "num_moments": 3, "checksum": zlib.crc32(content)}
    (tmp_path / "library.json").write_text(json.dumps(header))
    index = FolderIndex.open(tmp_path, fingerprint="f")
    assert index.videos() == ["a.mp4", "b.mp4"]
    assert index.nearest(vectors[2], 1)[0][0].moment.video == "b.mp4"
    assert index.verify().num_unproven == 3
    index.add([moment("c.mp4")], np.ones((1, 4)))
    index.save()
    assert index.verify().num_unproven == 0
    again = FolderIndex.open(tmp_path, fingerprint="f")
    assert again.moments == index.moments
    assert again.details == {"checkpoint": "c"}
    assert not list(tmp_path.glob("*-000006*"))
    (tmp_path / "library.json").write_text(json.dumps(header))
    with pytest.raises(LibraryError, match="incomplete"):
        FolderIndex.open(tmp_path)


def test_many_saves_leave_few_files(tmp_path):
    index = FolderIndex.create(tmp_path / "l", width=6, fingerprint="f", details={})
    generator = np.random.default_rng(0)
    for number in range(100):
        index.add([moment(f"{number}.mp4")], generator.normal(size=(1, 6)))
        index.save()
    assert len(list((tmp_path / "l").glob("vectors-*"))) <= 7
    again = FolderIndex.open(tmp_path / "l")
    assert again.videos() == [f"{number}.mp4" for number in range(100)]
    assert again.verify().num_moments == 100
    again.remove_all([f"{number}.mp4" for number in range(40)])
    assert again.is_due()
    again.compact()
    assert not again.is_due()
    assert len(list((tmp_path / "l").glob("vectors-*"))) == 1
    assert FolderIndex.open(tmp_path / "l").videos() == [f"{number}.mp4" for number in range(40, 100)]


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_verify_finds_any_changed_byte(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("library") / "l"
    filled(folder)[0].save()
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        assert FolderIndex.open(folder).verify().problems
    except LibraryError:
        return  # so bad that it does not even open


def test_what_killed_commands_left_is_swept_away(tmp_path):
    index, _ = filled(tmp_path / "l")
    (tmp_path / "l").mkdir()
    for name in ("vectors-000009.npy", ".vectors-000009.npy.77.part", ".library.json.77.part"):
        (tmp_path / "l" / name).write_bytes(b"half")
    (tmp_path / "l" / "notes.txt").write_text("mine")
    index.save()
    names = {"library.json", "notes.txt", "videos-000001.jsonl", "moments-000001.npy", "vectors-000001.npy"}
    assert {path.name for path in (tmp_path / "l").iterdir()} == names


def test_who_reads_keeps_reading_while_another_saves(tmp_path):
    index, _ = filled(tmp_path / "l")
    index.save()
    reader = FolderIndex.open(tmp_path / "l")
    before = reader.nearest(np.ones(6), 5)
    index.remove("1.mp4")
    index.compact()
    assert reader.nearest(np.ones(6), 5) == before
    assert not reader.is_current()
    with pytest.raises(LibraryError, match="changed by another command meanwhile"):
        reader.save()
    assert FolderIndex.open(tmp_path / "l").is_current()


def test_a_lock_whose_file_is_gone_keeps_nobody_out(tmp_path):
    index, _ = filled(tmp_path / "l")
    index.save()
    other = FolderIndex.open(tmp_path / "l")
    with index.locked():
        with pytest.raises(LibraryError, match="being extended by another command"), other.locked():
            pass
        index.add([moment("x")], np.ones((1, 6)))
        index.save()
    assert not (tmp_path / "l" / ".lock").exists()
    with pytest.raises(LibraryError, match="changed by another command"), other.locked():
        pass
