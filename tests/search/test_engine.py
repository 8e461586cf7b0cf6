"""Videos to moments and back: windows, what changed, what is damaged, overlaps."""

import errno
import os
from dataclasses import replace
from itertools import pairwise

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
from clover.search.engine import SearchConfig, gone_videos, open_library, prune, search
from clover.search.indexing import index_videos
from clover.search.windows import WindowConfig


@pytest.fixture(scope="module")
def clover():
    tokenizer = Tokenizer.train(["a red ball moves left"], 100)
    model = tiny(vocabulary_size=tokenizer.vocabulary_size)
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=16)
    return Clover(new_model(model, seed=0), tokenizer, CloverConfig(model=model, inputs=inputs))


@pytest.fixture
def video(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (80, 48, 64, 3), dtype=np.uint8)
    return write_video(tmp_path / "clip.mp4", images)


def library(clover, folder, windows):
    return open_library(folder, clover, windows)


def test_unchanged_videos_are_left_alone_and_changed_ones_replaced(clover, video, tmp_path):
    windows = WindowConfig(length_seconds=4.0, stride_seconds=2.0)
    index = library(clover, tmp_path / "l", windows)
    first = index_videos(index, clover, [video, video], windows)
    assert (len(first.added), len(first.unchanged), first.num_moments) == (1, 1, 4)
    again = index_videos(open_library(tmp_path / "l", clover), clover, [video], windows)
    assert (again.added, again.num_moments) == ([], 4)
    write_video(video, np.zeros((16, 48, 64, 3), dtype=np.uint8))
    changed = index_videos(open_library(tmp_path / "l", clover), clover, [video], windows)
    assert (len(changed.added), changed.num_moments) == (1, 1)


def test_another_cut_is_refused(clover, video, tmp_path):
    windows = WindowConfig()
    index = library(clover, tmp_path / "l", windows)
    index_videos(index, clover, [video], windows)
    with pytest.raises(LibraryError, match=r"windows of 4\.0 s every 2\.0 s"):
        index_videos(index, clover, [video], replace(windows, length_seconds=8.0))


def test_what_is_missing_of_a_video_is_said(clover, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (80, 48, 64, 3), dtype=np.uint8)
    whole = write_video(tmp_path / "whole.mkv", images, keyframe_interval=8)
    torn = tmp_path / "torn.mkv"
    content = whole.read_bytes()
    torn.write_bytes(content[: int(0.6 * len(content))])
    index = library(clover, tmp_path / "l", WindowConfig())
    done = index_videos(index, clover, [whole, torn], WindowConfig())
    assert len(done.added) == 2
    assert list(done.damaged) == [str(torn)]
    assert "torn.mkv" in done.damaged[str(torn)]


def test_nothing_is_found_behind_the_place_where_a_file_breaks_off(clover, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (80, 48, 64, 3), dtype=np.uint8)
    whole = write_video(tmp_path / "whole.mkv", images, keyframe_interval=8)
    torn = tmp_path / "torn.mkv"
    content = whole.read_bytes()
    torn.write_bytes(content[: len(content) // 3])
    windows = WindowConfig(length_seconds=2.0, stride_seconds=1.0)
    index = library(clover, tmp_path / "l", windows)
    index_videos(index, clover, [torn], windows)
    assert index.moments
    assert max(moment.start_seconds for moment in index.moments) < 3.5


def test_a_pipe_is_no_video_and_nobody_waits_for_it(clover, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    index = library(clover, tmp_path / "l", WindowConfig())
    done = index_videos(index, clover, [tmp_path / "pipe.mp4"], WindowConfig())
    assert "is not a regular file" in done.skipped[str(tmp_path / "pipe.mp4")]


def test_two_at_once_are_refused_and_a_change_meanwhile_too(clover, video, tmp_path):
    index = library(clover, tmp_path / "l", WindowConfig())
    index_videos(index, clover, [video], WindowConfig())
    first, second = open_library(tmp_path / "l", clover), open_library(tmp_path / "l", clover)
    with first.locked(), pytest.raises(LibraryError, match="is being extended by another command"):
        index_videos(second, clover, [video], WindowConfig())
    other = write_video(tmp_path / "other.mp4", np.zeros((16, 48, 64, 3), dtype=np.uint8))
    index_videos(first, clover, [other], WindowConfig())
    with pytest.raises(LibraryError, match="changed by another command meanwhile"):
        index_videos(second, clover, [other], WindowConfig())
    assert len(open_library(tmp_path / "l", clover).videos()) == 2


def test_what_is_gone_can_be_taken_out(clover, video, tmp_path):
    other = write_video(tmp_path / "other.mp4", np.zeros((16, 48, 64, 3), dtype=np.uint8))
    index = library(clover, tmp_path / "l", WindowConfig())
    index_videos(index, clover, [video, other], WindowConfig())
    other.unlink()
    assert gone_videos(index) == [str(other.resolve())]
    assert prune(index) == [str(other.resolve())]
    assert open_library(tmp_path / "l", clover).videos() == [str(video.resolve())]


def test_what_nobody_may_look_at_is_not_gone(clover, video, tmp_path, monkeypatch):
    index = library(clover, tmp_path / "l", WindowConfig())
    index_videos(index, clover, [video], WindowConfig())

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.stat", refuse)
        assert gone_videos(index) == []


def test_strict_stops_and_keeps_what_was_done(clover, video, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"junk")
    index = library(clover, tmp_path / "l", WindowConfig())
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        index_videos(index, clover, [video, broken], WindowConfig(), strict=True)
    assert len(open_library(tmp_path / "l", clover)) == 4


def test_found_spans_do_not_overlap(clover, video, tmp_path):
    windows = WindowConfig(length_seconds=2.0, stride_seconds=0.5)
    index = library(clover, tmp_path / "l", windows)
    index_videos(index, clover, [video], windows)
    found = search(index, clover, "a red ball", 10, SearchConfig(merge_drop=0.0))
    spans = sorted((span.start_seconds, span.end_seconds) for span in found)
    assert len(spans) > 1
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert [span.score for span in found] == sorted((span.score for span in found), reverse=True)
    (whole,) = search(index, clover, "a red ball", 10, SearchConfig(merge_drop=2.0))
    assert (whole.start_seconds, whole.end_seconds) == (0.0, 10.0)
    (best,) = search(index, clover, "a red ball", 10, SearchConfig(merge_drop=0.0, by_video=True))
    assert best == found[0]
