import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clover.data import transforms
from clover.data.transforms import TransformConfig
from clover.errors import ConfigError


def random_frames(height, width, num_frames=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def ramp(height, width):
    """Red grows to the right, green downwards: a pixel tells where it came from."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 255, width)[None]
    frame[..., 1] = np.linspace(0, 255, height)[:, None]
    return np.repeat(frame[None], 2, axis=0)


@pytest.mark.parametrize("size", [(64, 64), (20, 97), (200, 150), (96, 96), (1, 1)])
def test_resizing_agrees_with_pillow(size):
    frames = random_frames(96, 120)
    resized = transforms.resize(frames, *size)
    expected = [np.asarray(Image.fromarray(f).resize(size[::-1], Image.Resampling.BILINEAR)) for f in frames]
    assert resized.dtype == np.uint8 and resized.flags.c_contiguous
    assert np.abs(resized.astype(int) - np.stack(expected)).max() <= 1


def test_resizing_views_and_read_only_arrays():
    frames = random_frames(60, 80)
    frames.flags.writeable = False
    part = frames[:, 10:50, 20:60]
    np.testing.assert_array_equal(transforms.resize(part, 20, 20), transforms.resize(part.copy(), 20, 20))
    np.testing.assert_array_equal(
        transforms.resize(frames[:, :, ::-1], 30, 40), transforms.resize(frames[:, :, ::-1].copy(), 30, 40)
    )


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((360, 640), 256, (256, 455)),
        ((640, 360), 256, (455, 256)),
        ((240, 320), 224, (224, 299)),
        ((2, 2000), 256, (256, 16384)),
    ],
)
def test_the_short_side(size, short_side, expected):
    frames = np.full((1, *size, 3), 9, np.uint8)
    resized = transforms.resize_short_side(frames, short_side)
    assert resized.shape == (1, *expected, 3) and (resized == 9).all()


def test_center_crop_takes_the_middle():
    frames = random_frames(11, 16)
    np.testing.assert_array_equal(transforms.center_crop(frames, 8), frames[:, 1:9, 4:12])
    with pytest.raises(ConfigError, match="16 x 11 cannot be cropped to 12"):
        transforms.center_crop(frames, 12)


def test_flipping_twice_gives_the_frames_back():
    frames = random_frames(5, 7)
    flipped = transforms.horizontal_flip(frames)
    np.testing.assert_array_equal(flipped[:, :, 0], frames[:, :, -1])
    np.testing.assert_array_equal(transforms.horizontal_flip(flipped), frames)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_random_crops_fit_and_repeat(height, width, size, seed):
    frames = random_frames(height, width, num_frames=3)
    crops = [transforms.random_resized_crop(frames, size, np.random.default_rng(seed)) for _ in range(2)]
    assert crops[0].shape == (3, size, size, 3) and crops[0].dtype == np.uint8
    np.testing.assert_array_equal(*crops)


def test_random_crops_follow_the_distribution_of_the_published_runs():
    generator = np.random.default_rng(0)
    frames = ramp(256, 341)
    areas, aspects, centers = [], [], []
    for _ in range(1500):
        crop = transforms.random_resized_crop(frames, 32, generator).astype(float)
        np.testing.assert_array_equal(crop[0], crop[1])
        width = (crop[0, 16, -1, 0] - crop[0, 16, 0, 0]) / 255 * 341 * 32 / 31
        height = (crop[0, -1, 16, 1] - crop[0, 0, 16, 1]) / 255 * 256 * 32 / 31
        areas.append(width * height / (256 * 341))
        aspects.append(width / height)
        centers.append(crop[0, 16, 16, 0])
    assert 0.07 < min(areas) < 0.1 and 0.9 < max(areas) < 1.02
    assert 0.40 < np.mean(areas) < 0.47  # 0.54 before the large upright ones, which do not fit, are rejected
    assert 0.72 < min(aspects) < 0.8 and 1.25 < max(aspects) < 1.38
    assert abs(np.median(np.log(aspects))) < 0.06
    assert np.mean(centers) == pytest.approx(127, abs=4)


def test_a_crop_that_can_never_fit_is_the_middle_square():
    frames = random_frames(8, 400)
    crop = transforms.random_resized_crop(frames, 8, np.random.default_rng(0), scale=(1.0, 1.0))
    np.testing.assert_array_equal(crop, frames[:, :, 196:204])


def test_training_clips():
    frames = random_frames(90, 120, num_frames=4)
    config = TransformConfig(size=32, training_short_side=64)
    clips = [transforms.training_clip(frames, config, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert clips[0].shape == (4, 32, 32, 3) and clips[0].dtype == np.uint8
    np.testing.assert_array_equal(clips[0], clips[1])
    assert (clips[0] != clips[2]).any()
    already_resized = transforms.resize_short_side(frames, 64)
    np.testing.assert_array_equal(clips[0], transforms.training_clip(already_resized, config, np.random.default_rng(1)))


def test_square_training_is_the_same_as_square_testing():
    frames = random_frames(90, 120)
    config = TransformConfig(size=32, training_fit="square", test_fit="square")
    trained = transforms.training_clip(frames, config, np.random.default_rng(0))
    np.testing.assert_array_equal(trained, transforms.test_clip(frames, config))
    np.testing.assert_array_equal(trained, transforms.resize(frames, 32, 32))
    assert config.training_read_size is None and config.test_read_size is None


def test_test_clips_take_the_middle_of_the_short_side():
    frames = random_frames(90, 120)
    config = TransformConfig(size=32)
    clip = transforms.test_clip(frames, config)
    np.testing.assert_array_equal(clip, transforms.resize(frames, 32, 43)[:, :, 5:37])
    assert config.training_read_size == 256 and config.test_read_size == 32


def test_clips_are_flipped_as_often_as_asked():
    frames = ramp(32, 32)

    def num_flipped(probability):
        config = TransformConfig(size=8, training_fit="square", flip_probability=probability)
        generator = np.random.default_rng(0)
        clips = [transforms.training_clip(frames, config, generator) for _ in range(200)]
        return sum(int(clip[0, 0, 0, 0]) > int(clip[0, 0, -1, 0]) for clip in clips)

    assert num_flipped(0.0) == 0
    assert num_flipped(1.0) == 200
    assert 80 <= num_flipped(0.5) <= 120


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "size is 0"),
        ({"training_short_side": 0}, "training_short_side"),
        ({"crop_scale": (0.5, 0.2)}, "crop scale"),
        ({"crop_scale": (0.0, 1.0)}, "crop scale"),
        ({"crop_ratio": (0.0, 1.0)}, "crop ratio"),
        ({"flip_probability": 1.5}, "flip_probability"),
    ],
)
def test_settings_that_make_no_sense(settings, words):
    with pytest.raises(ConfigError, match=words):
        TransformConfig(**settings)
