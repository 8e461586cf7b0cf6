"""What an evaluation shows of a video is what its name says, and views are averaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video import read_frames, sample_indices
from clover.data.video_writer import write_video
from clover.evaluation.open_answer import mean_interval
from clover.evaluation.views import read_clip
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.pipeline import Clover


@pytest.fixture(scope="module")
def clover():
    tokenizer = Tokenizer.train(["a red ball moves left"], 100)
    model = tiny(vocabulary_size=tokenizer.vocabulary_size)
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    return Clover(new_model(model, seed=0), tokenizer, CloverConfig(model=model, inputs=InputConfig(frames=frames)))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    shades = np.repeat(np.linspace(0, 250, 40).astype(np.uint8), 32 * 32 * 3).reshape(40, 32, 32, 3)
    return write_video(tmp_path_factory.mktemp("media") / "ramp.mp4", shades, quality=0)


def shades(clip):
    return clip.reshape(len(clip), -1).mean(axis=1)


def test_shuffled_frames_are_the_same_frames_in_another_order(clover, video):
    whole = read_clip(clover)(video)
    shuffled = read_clip(clover, "shuffled_frames")(video)
    assert np.all(np.diff(shades(whole)) > 0)
    assert not np.all(np.diff(shades(shuffled)) > 0)
    assert np.array_equal(np.sort(shades(shuffled)), shades(whole))
    assert np.array_equal(shuffled, read_clip(clover, "shuffled_frames")(video))
    assert not np.array_equal(shuffled, read_clip(clover, "shuffled_frames", seed=1)(video))


def test_a_single_frame_is_the_middle_one(clover, video):
    whole, single = read_clip(clover)(video), read_clip(clover, "single_frame")(video)
    assert single.shape == whole.shape
    assert np.array_equal(single, np.repeat(whole[4][None], 8, axis=0))


def test_blank_shows_nothing(clover):
    blank = read_clip(clover, "blank")(Path("nowhere.mp4"))
    assert blank.shape == (8, 32, 32, 3)
    assert (blank == blank[0, 0, 0]).all()


def test_views_are_bursts_in_time_order_and_their_tokens_are_averaged(clover, video):
    inputs = replace(clover.config.inputs, num_views=4, burst_length=4, burst_interval=3)
    viewed = clover.with_inputs(inputs)
    clip = viewed.clip(video)
    assert len(clip) == 32
    expected = sample_indices(40, 8, clip_length=4, frame_interval=3)
    every = read_frames(video, 40).images
    np.testing.assert_allclose(shades(clip), shades(every)[expected], atol=1)
    tokens = viewed.video_tokens([clip])
    each = torch.cat([clover.video_tokens([clip[first : first + 8]]) for first in range(0, 32, 8)])
    torch.testing.assert_close(tokens[0], each.mean(dim=0))


def test_intervals_cover_and_rows_of_one_video_count_together():
    generator = np.random.default_rng(0)
    right = (generator.random(400) < 0.3).astype(float)
    low, high = mean_interval(right)
    assert low < 100 * right.mean() < high
    assert 2 * 196 * np.sqrt(0.21 / 400) == pytest.approx(high - low, rel=0.2)
    repeated, groups = np.repeat(right, 10), np.repeat(np.arange(400), 10)
    low10, high10 = mean_interval(repeated, list(groups))
    assert high10 - low10 == pytest.approx(high - low, rel=0.2)
    alone = mean_interval(repeated)
    assert alone[1] - alone[0] < 0.5 * (high - low)
    assert mean_interval(np.ones(10)) == (100, 100)
