from fractions import Fraction

import numpy as np
import pytest
from made_media import numbered_frames, read_numbers

from clover.data.video import probe, read_frames, write_video
from clover.errors import MediaError


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".avi", ".ts"])
def test_what_is_written_is_read_back(tmp_path, ending):
    images = numbered_frames(20)
    path = write_video(tmp_path / f"clip{ending}", images, rate=10)
    info, frames = probe(path), read_frames(path, 20)
    assert (info.num_frames, info.width, info.height) == (20, 128, 48)
    assert info.rate == pytest.approx(10) and info.duration_seconds == pytest.approx(2)
    assert read_numbers(frames.images) == list(range(20))
    assert np.abs(frames.images.astype(int) - images).mean() < 4
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (2, 90), (33, 64)])
def test_odd_sizes_are_kept(tmp_path, size):
    images = np.full((3, *size, 3), 120, np.uint8)
    frames = read_frames(write_video(tmp_path / "a.mp4", images, rate=Fraction(30000, 1001)), 3)
    assert frames.images.shape == images.shape
    assert np.abs(frames.images.astype(int) - 120).max() <= 4
    assert frames.seconds[1] == pytest.approx(1001 / 30000, abs=1e-4)


def test_the_same_images_give_the_same_bytes(tmp_path):
    images = numbered_frames(12)
    first = write_video(tmp_path / "a.mp4", images, keyframe_interval=4).read_bytes()
    assert write_video(tmp_path / "b.mp4", images, keyframe_interval=4).read_bytes() == first


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(3))
    before = path.read_bytes()
    with pytest.raises(MediaError, match="uint8"):
        write_video(path, np.zeros((3, 8, 8, 3), np.float32))
    with pytest.raises(MediaError, match="rate of 0"):
        write_video(path, numbered_frames(3), rate=0)
    with pytest.raises(MediaError, match=r"use one of \.mp4"):
        write_video(tmp_path / "a.xyz", numbered_frames(3))
    with pytest.raises(MediaError, match="folder does not exist"):
        write_video(tmp_path / "no" / "a.mp4", numbered_frames(3))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]
