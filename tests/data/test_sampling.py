import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.data.sampling import sample_indices
from clover.errors import ConfigError, MediaError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "data_rules.json").read_text())["sample_frames"]


def cases(mode):
    for setting, by_total in GOLDEN[mode].items():
        rule = json.loads(setting)
        for total, expected in by_total.items():
            yield rule["num_clips"], rule["clip_len"], rule["frame_interval"], int(total), expected


def test_the_published_test_rule_exactly():
    num_checked = 0
    for num_samples, clip_length, frame_interval, total, expected in cases("test_mode"):
        got = sample_indices(total, num_samples, clip_length=clip_length, frame_interval=frame_interval)
        assert got == expected, (num_samples, clip_length, total)
        num_checked += 1
    assert num_checked == 270


def test_the_published_training_rule_in_range_and_mean():
    num_draws, num_checked = 300, 0
    for num_samples, clip_length, frame_interval, total, expected in cases("train_mode"):
        generator = np.random.default_rng(total)
        draws = np.array(
            [
                sample_indices(
                    total,
                    num_samples,
                    generator=generator,
                    clip_length=clip_length,
                    frame_interval=frame_interval,
                )
                for _ in range(num_draws)
            ]
        )
        if "value" in expected:
            assert (draws == expected["value"]).all(), (num_samples, total)
        low, high = np.array(expected["min"]), np.array(expected["max"])
        assert (draws >= low).all() and (draws <= high).all(), (num_samples, total)
        deviation = np.sqrt(((high - low + 1.0) ** 2 - 1) / 12)  # of a uniform draw; the golden mean has noise too
        assert (np.abs(draws.mean(0) - expected["mean"]) <= 6 * deviation / np.sqrt(num_draws) + 1e-9).all()
        if expected["always_sorted"]:
            assert (np.diff(draws) >= 0).all()
        if expected["strictly_increasing"]:
            assert (np.diff(draws) > 0).all()
        num_checked += 1
    assert num_checked == sum(len(by_total) for by_total in GOLDEN["train_mode"].values())


def test_every_frame_of_a_segment_is_drawn():
    generator = np.random.default_rng(0)
    drawn = {tuple(sample_indices(10, 3, generator=generator)) for _ in range(1000)}
    assert drawn == {(a, 3 + b, 6 + c) for a in range(3) for b in range(3) for c in range(3)}


def test_training_bursts():
    generator = np.random.default_rng(0)
    for total, start_range in ((40, 3), (24, 13)):  # a segment each; starts anywhere, sorted
        for _ in range(50):
            bursts = np.array(sample_indices(total, 9, generator=generator, clip_length=4, frame_interval=3)).reshape(
                9, 4
            )
            assert ((np.diff(bursts, axis=1) % total) == 3).all()
            starts = bursts[:, 0]
            assert (np.diff(starts) >= 0).all()
            within = starts - np.arange(9) * 3 if total == 40 else starts
            assert within.min() >= 0 and within.max() < start_range


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 3000),
    num_samples=st.integers(1, 40),
    clip_length=st.integers(1, 5),
    frame_interval=st.integers(1, 4),
    seed=st.none() | st.integers(0, 2**31),
)
def test_indices_are_frames_of_the_video(total, num_samples, clip_length, frame_interval, seed):
    def draw():
        generator = None if seed is None else np.random.default_rng(seed)
        return sample_indices(
            total, num_samples, generator=generator, clip_length=clip_length, frame_interval=frame_interval
        )

    indices = draw()
    assert len(indices) == num_samples * clip_length
    assert all(type(index) is int and 0 <= index < total for index in indices)
    assert indices == draw()


def test_counts_below_one_are_refused():
    with pytest.raises(MediaError, match="0 frames"):
        sample_indices(0, 8)
    with pytest.raises(ConfigError, match="num_samples is 0"):
        sample_indices(10, 0)
    with pytest.raises(ConfigError, match="frame_interval"):
        sample_indices(10, 2, frame_interval=0)
