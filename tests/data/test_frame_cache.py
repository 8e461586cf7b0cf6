"""Kept frames: what could not be read is tried again, and a strict run stops at it."""

import numpy as np
import pytest

from clover.data.frame_cache import FrameCache
from clover.data.video import read_frames
from clover.data.video_writer import write_video
from clover.errors import DataError, MediaError


@pytest.fixture
def videos(tmp_path):
    generator = np.random.default_rng(0)
    made = []
    for name in ("a", "b"):
        images = generator.integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
        made.append(write_video(tmp_path / f"{name}.mp4", images))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"junk")
    return [made[0], broken, made[1]]


def test_rows_are_the_videos_frames(videos, tmp_path):
    cache = FrameCache.build(tmp_path / "cache", videos, num_kept=4, size=32)
    assert [item.video for item in cache.skipped] == [str(videos[1])]
    for video in (videos[0], videos[2]):
        assert np.array_equal(cache.clip(video, 4, None), read_frames(video, 4).images)
        drawn = cache.clip(video, 2, np.random.default_rng(1))
        kept = cache.clip(video, 4, None)
        assert any(np.array_equal(drawn[0], frame) for frame in kept[:2])
        assert any(np.array_equal(drawn[1], frame) for frame in kept[2:])


def test_a_whole_cache_is_used_again(videos, tmp_path):
    def refuse(done, total):
        raise AssertionError("decoded again")

    whole = [videos[0], videos[2]]
    FrameCache.build(tmp_path / "cache", whole, num_kept=4, size=32)
    FrameCache.build(tmp_path / "cache", whole, num_kept=4, size=32, progress=refuse)


def test_a_strict_run_does_not_take_a_cache_with_gaps(videos, tmp_path):
    FrameCache.build(tmp_path / "cache", videos, num_kept=4, size=32)
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        FrameCache.build(tmp_path / "cache", videos, num_kept=4, size=32, strict=True)


def test_nothing_to_read_is_an_error(videos, tmp_path):
    with pytest.raises(DataError, match="none of 1 videos"):
        FrameCache.build(tmp_path / "cache", videos[1:2], num_kept=4, size=32)
    assert list((tmp_path / "cache").iterdir()) == []
