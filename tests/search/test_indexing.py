"""Indexing that is interrupted, parted, and fed with files that change: what is kept, and in how much memory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video_writer import write_video
from clover.errors import LibraryError, MediaError
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.search.engine import open_library
from clover.search.indexing import embed_windows, in_part, index_videos
from clover.search.joining import join_libraries, part_folder
from clover.search.stopping import StopsBetween
from clover.search.windows import WindowConfig

WINDOWS = WindowConfig(length_seconds=1.0, stride_seconds=0.25)


@pytest.fixture(scope="module")
def clover():
    tokenizer = Tokenizer.train(["a red ball moves left"], 100)
    model = tiny(vocabulary_size=tokenizer.vocabulary_size)
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=16)
    return Clover(new_model(model, seed=0), tokenizer, CloverConfig(model=model, inputs=inputs))


@pytest.fixture
def videos(tmp_path):
    generator = np.random.default_rng(0)
    made = []
    for number, length in enumerate([200, 16, 40]):
        images = generator.integers(0, 255, (length, 32, 32, 3), dtype=np.uint8)
        made.append(write_video(tmp_path / f"{number}.mp4", images))
    return made


def library(clover, folder, windows=WINDOWS):
    return open_library(folder, clover, windows)


def assert_same(index, other):
    """The same moments with vectors that differ by rounding alone: batches were other ones."""
    ordered = sorted(index.moments, key=lambda moment: (moment.video, moment.start_seconds))
    assert ordered == sorted(other.moments, key=lambda moment: (moment.video, moment.start_seconds))
    assert index.vectors_of(ordered) == pytest.approx(other.vectors_of(ordered), abs=1e-5)


def test_windows_embed_as_clips_of_their_own(clover, videos):
    (batch,) = embed_windows(clover, videos[2], WINDOWS)
    assert batch.num_done == batch.num_windows == len(batch.spans)
    for (start, end), vector in zip(batch.spans, batch.vectors, strict=True):
        alone = clover.embed_clips([clover.clip(videos[2], start_seconds=start, end_seconds=end)])[0]
        assert vector == pytest.approx(alone.numpy(), abs=1e-5)


def test_interrupted_in_the_middle_of_a_video_it_goes_on_there(clover, videos, tmp_path):
    whole = library(clover, tmp_path / "whole")
    index_videos(whole, clover, videos, WINDOWS)
    shares = []

    def interrupt(done, total, share):
        shares.append(share)
        if len(shares) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        index_videos(library(clover, tmp_path / "l"), clover, videos, WINDOWS, progress=interrupt)
    half = open_library(tmp_path / "l", clover)
    assert half.details["unfinished"] == {str(videos[0].resolve()): 64}
    assert len(half) == 64
    again = []
    done = index_videos(half, clover, videos, WINDOWS, progress=lambda *row: again.append(row))
    assert (len(done.added), len(done.unchanged)) == (3, 0)
    assert_same(open_library(tmp_path / "l", clover), whole)
    assert open_library(tmp_path / "l", clover).details["unfinished"] == {}
    assert [row[2] for row in again] == sorted(row[2] for row in again)
    assert again[-1] == (3, 3, 1.0)


def test_of_new_videos_nothing_is_taken_out(clover, videos, tmp_path, monkeypatch):
    index, removed = library(clover, tmp_path / "l"), []
    monkeypatch.setattr(index, "remove_all", lambda names: removed.extend(names) or 0)
    index_videos(index, clover, videos, WINDOWS)
    assert removed == []  # each would begin another part of what is not saved yet, and searches look into all parts
    os.utime(videos[1], (1, 1))
    index_videos(index, clover, videos, WINDOWS)
    assert removed == [str(videos[1].resolve())]


def test_a_stop_waits_for_the_end_of_what_must_not_be_half_done():
    reached = []
    with pytest.raises(KeyboardInterrupt), StopsBetween() as stops:
        with stops.held():
            with stops.held():
                os.kill(os.getpid(), signal.SIGTERM)
                reached.append("inner")
            reached.append("outer")
        reached.append("behind")
    assert reached == ["inner", "outer"]


def test_a_file_that_changes_while_it_is_read_is_left_out(clover, videos, tmp_path):
    index = library(clover, tmp_path / "l")

    def change(done, total, share):
        if done == 0:
            os.utime(videos[0], (1, 1))

    done = index_videos(index, clover, videos, WINDOWS, progress=change)
    assert "was changed while it was read" in done.skipped[str(videos[0])]
    assert set(index.videos()) == {str(video.resolve()) for video in videos[1:]}
    assert len(index_videos(index, clover, videos, WINDOWS).added) == 1


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_file_that_vanishes_while_it_is_read_is_left_out(clover, videos, tmp_path, is_strict):
    index = library(clover, tmp_path / "l")

    def vanish(done, total, share):
        videos[0].unlink(missing_ok=True)

    if is_strict:
        with pytest.raises(MediaError, match="No such file"):
            index_videos(index, clover, videos, WINDOWS, progress=vanish, strict=True)
        assert not (tmp_path / "l" / "library.json").exists()
        return
    done = index_videos(index, clover, videos, WINDOWS, progress=vanish)
    assert "No such file" in done.skipped[str(videos[0])]
    assert set(index.videos()) == {str(video.resolve()) for video in videos[1:]}


def test_what_is_known_of_a_file_is_remembered(clover, videos, tmp_path):
    index = library(clover, tmp_path / "l")
    index_videos(index, clover, videos[1:2], WINDOWS, tags=("holiday", "2026"))
    for moment in open_library(tmp_path / "l", clover).moments:
        assert moment.tags == ("holiday", "2026")
        assert moment.modified == pytest.approx(videos[1].stat().st_mtime, abs=1e-3)
        assert moment.video_seconds == pytest.approx(2.0)


def test_parts_are_disjoint_and_joined_they_are_the_whole(clover, videos, tmp_path):
    whole = library(clover, tmp_path / "whole")
    index_videos(whole, clover, videos, WINDOWS)
    parts = []
    for number in range(3):
        mine = [video for video in videos if in_part(video, number, 3)]
        folder = part_folder(tmp_path / "joined", number, 3)
        part = library(clover, folder)
        index_videos(part, clover, mine, WINDOWS)
        if mine:
            parts.append(folder)
    joined = join_libraries(parts, tmp_path / "joined")
    assert_same(joined, whole)
    assert_same(join_libraries(parts, tmp_path / "joined"), whole)
    assert index_videos(open_library(tmp_path / "joined", clover), clover, videos, WINDOWS).added == []


def test_libraries_that_do_not_belong_together_are_not_joined(clover, videos, tmp_path):
    one, other = library(clover, tmp_path / "one"), library(clover, tmp_path / "other", WindowConfig())
    index_videos(one, clover, videos[1:2], WINDOWS)
    index_videos(other, clover, videos[2:], WindowConfig())
    with pytest.raises(LibraryError, match=r"other is cut into windows of 4\.0 s"):
        join_libraries([tmp_path / "one", tmp_path / "other"], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()
    one.details["unfinished"] = {"film.mp4": 3}
    one.save()
    with pytest.raises(LibraryError, match=r"1 videos are half indexed \(first: film\.mp4\)"):
        join_libraries([tmp_path / "one"], tmp_path / "joined")
    with pytest.raises(LibraryError, match="nothing to join"):
        join_libraries([], tmp_path / "joined")


def test_windows_within_shots(clover, tmp_path):
    generator = np.random.default_rng(1)
    scenes = [np.full((length, 32, 32, 3), generator.integers(0, 255, 3), np.uint8) for length in (20, 12, 30)]
    film = write_video(tmp_path / "film.mp4", np.concatenate(scenes))
    windows = WindowConfig(length_seconds=2.0, stride_seconds=1.0, shots=True)
    index = library(clover, tmp_path / "l", windows)
    index_videos(index, clover, [film], windows)
    for moment in index.moments:
        assert not any(moment.start_seconds < cut < moment.end_seconds for cut in (2.5, 4.0))
    with pytest.raises(LibraryError, match="within shots"):
        index_videos(index, clover, [film], WindowConfig(length_seconds=2.0, stride_seconds=1.0))


LONG = """
import resource, sys
from pathlib import Path
from clover.pipeline import Clover
from clover.search.engine import open_library
from clover.search.indexing import index_videos
from clover.search.windows import WindowConfig

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder = Path(sys.argv[1])
clover = Clover.from_pretrained(folder / "model")
windows = WindowConfig(length_seconds=8.0, stride_seconds=4.0)
index = open_library(folder / "library", clover, windows)
index_videos(index, clover, [folder / "short.mp4"], windows)
before = peak()
index_videos(index, clover, [folder / "long.mp4"], windows)
print(len(index), round(peak() - before))
"""


@pytest.mark.slow
def test_a_film_of_two_hours_takes_no_more_memory_than_a_short_one(clover, tmp_path):
    """All decoded frames would be 1.2 GB, all clips of the network 44 MB."""
    clover.save_pretrained(tmp_path / "model")
    generator = np.random.default_rng(0)
    picture = np.kron(generator.integers(0, 255, (9, 16, 3), dtype=np.uint8), np.ones((20, 20, 1), np.uint8))
    write_video(tmp_path / "short.mp4", np.stack([np.roll(picture, i, axis=1) for i in range(240)]), rate=1)
    long = np.broadcast_to(picture, (2 * 3600, *picture.shape))
    write_video(tmp_path / "long.mp4", long, rate=1, keyframe_interval=60)
    done = subprocess.run(
        [sys.executable, "-c", LONG, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    num_moments, growth = map(int, done.stdout.split())
    assert num_moments == 59 + 1799
    assert growth < 40
