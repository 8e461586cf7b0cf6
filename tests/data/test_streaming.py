"""Many spans in one pass: the same frames as one reading for each."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_media import copy_stream, make_video

from clover.data.shots import colour_histograms, find_cuts
from clover.data.streaming import read_spans
from clover.data.transforms import resize_square
from clover.data.video import OpenVideo, probe, read_frames
from clover.data.video_writer import write_video


def small(images):
    return resize_square(images, 24)


def same(path, spans, num_frames, **bursts):
    with OpenVideo(path) as video:
        probe(video)
        found = list(read_spans(video, spans, num_frames, shrink=small, **bursts))
    assert len(found) == len(spans)
    for (start, end), frames in zip(spans, found, strict=True):
        alone = read_frames(path, num_frames, start_seconds=start, end_seconds=end, **bursts)
        assert np.array_equal(frames.images, small(alone.images))
        assert np.array_equal(frames.seconds, alone.seconds)
        assert (frames.problem is None) == (alone.problem is None)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("media") / "numbered.mp4", 120, rate=30)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spans=st.lists(st.tuples(st.floats(0, 3.9), st.floats(0.05, 3)), min_size=1, max_size=8),
    num_frames=st.integers(1, 9),
    burst=st.sampled_from([(1, 1), (2, 3)]),
)
def test_spans_are_what_single_readings_give(numbered, spans, num_frames, burst):
    ordered = sorted((start, start + length) for start, length in spans)
    same(numbered, ordered, num_frames, burst_length=burst[0], burst_interval=burst[1])


@pytest.mark.parametrize("ending", ["mkv", "avi", "ts"])
def test_other_containers(numbered, tmp_path, ending):
    path = make_video(tmp_path / f"clip.{ending}", 90, rate=30)
    same(path, [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (2.0, 3.0)], 4)


def test_a_cut_that_starts_late(numbered, tmp_path):
    path = copy_stream(numbered, tmp_path / "late.mp4", start_seconds=1.0)
    same(path, [(0.0, 1.0), (0.9, 2.0)], 5)


def test_arrays_and_stills_are_videos_too():
    images = np.random.default_rng(0).integers(0, 255, (16, 32, 48, 3), dtype=np.uint8)
    with OpenVideo(images) as video:
        (first, second) = read_spans(video, [(0.0, 1.0), (1.0, 2.0)], 4, shrink=small)
        assert find_cuts(video) == []
    assert np.array_equal(first.images, small(images[1:8:2]))
    assert np.array_equal(second.images, small(images[9:16:2]))


def test_behind_the_place_where_a_file_breaks_off_the_last_frames_stand_in(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (80, 48, 64, 3), dtype=np.uint8)
    whole = write_video(tmp_path / "whole.mkv", images, keyframe_interval=8)
    torn = tmp_path / "torn.mkv"
    content = whole.read_bytes()
    torn.write_bytes(content[: len(content) // 3])
    with OpenVideo(torn) as video:
        found = list(read_spans(video, [(0.0, 2.0), (4.0, 6.0), (8.0, 10.0)], 4, shrink=small))
    assert all(frames is not None and frames.problem for frames in found)
    assert found[-1].seconds.max() < 5.0


def scene(generator, num_frames):
    """A lit background with noise that a square moves over."""
    colours = generator.integers(0, 255, (3, 3))
    frames = np.tile(np.linspace(colours[0], colours[1], 48)[None, :, None, :], (num_frames, 1, 64, 1))
    for number in range(num_frames):
        place = abs(number % 88 - 44)
        frames[number, 10:30, place : place + 20] = colours[2]
    noisy = frames + generator.normal(0, 6, frames.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def test_hard_cuts_are_found_and_motion_noise_and_fading_light_are_none(tmp_path):
    generator = np.random.default_rng(3)
    lengths = [30, 17, 41, 24, 60]
    images = np.concatenate([scene(generator, length) for length in lengths])
    fading = np.linspace(250, 5, 60).astype(np.uint8)[:, None, None, None] * np.ones((1, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "film.mp4", np.concatenate([images, fading]), rate=8)
    with OpenVideo(path) as video:
        cuts = find_cuts(video)
    assert cuts == pytest.approx(np.cumsum(lengths) / 8, abs=1e-6)


@given(st.integers(0, 254), st.integers(0, 254), st.integers(0, 254))
def test_an_even_surface_that_grows_a_little_lighter_changes_a_little(red, green, blue):
    surface = np.full((24, 32, 3), (red, green, blue), dtype=np.uint8)
    before, after = colour_histograms(surface), colour_histograms(surface + 1)
    assert before.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.abs(before - after).sum(axis=1).max() / 2 < 0.1
