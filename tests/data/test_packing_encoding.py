"""Packed media: every frame at its own time, upright, small, with key frames everywhere."""

import io

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_media import copy_stream, cut_short, make_sound, make_video, numbered_frames, read_numbers
from PIL import Image

from clover.data.packing.encoding import EncodingConfig, encode_media
from clover.data.video import OpenVideo, probe, read_frames, read_frames_at, write_video
from clover.errors import ConfigError, MediaError

SMALL = EncodingConfig(short_side=32, quality=10)


def all_frames(source):
    with OpenVideo(source) as video:
        num_frames = len(video.reader.timeline.ticks)
        return video.reader.read(list(range(num_frames)), short_side=None)


def keyframe_seconds(content):
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        return [float(packet.pts * stream.time_base) for packet in container.demux(stream) if packet.is_keyframe]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"has_sound": True, "gop": 250}),
        ("a.mkv", {}),
        ("a.avi", {}),
        ("a.ts", {}),
        ("a.gif", {"codec": "gif", "rate": 10}),
        ("one.mp4", {"num_frames": 1}),
    ],
)
def test_every_frame_at_its_time(tmp_path, name, options):
    path = make_video(tmp_path / name, **{"num_frames": 20, **options})
    encoded = encode_media(path, SMALL)
    before, after = all_frames(path), all_frames(encoded.content)
    np.testing.assert_array_equal(after.seconds, before.seconds)
    assert read_numbers(after.images) == read_numbers(before.images) == list(range(len(before.images)))
    assert (encoded.ending, encoded.width, encoded.height, encoded.problem) == ("mp4", 84, 32, None)
    info = probe(encoded.content)
    assert (info.width, info.height, info.num_frames) == (84, 32, encoded.num_frames)
    assert info.duration_seconds == pytest.approx(encoded.duration_seconds)
    assert not info.has_audio


def is_not_rounded(steps):
    """Not what a container of whole milliseconds makes of an even rate: its last frame may be found a step early."""
    return max(steps) - min(steps) != 1


@settings(max_examples=10, deadline=None)
@given(
    steps=st.lists(st.integers(5, 900), min_size=1, max_size=25).filter(is_not_rounded),
    suffix=st.sampled_from(["mkv", "mp4"]),
)
def test_a_variable_rate_survives(tmp_path_factory, steps, suffix):
    path = tmp_path_factory.mktemp("variable") / f"a.{suffix}"
    times = np.concatenate([[0], np.cumsum(steps)]).tolist()
    make_video(path, len(times), milliseconds=times)
    encoded = encode_media(path, SMALL)
    after = all_frames(encoded.content)
    np.testing.assert_allclose(after.seconds, np.array(times) / 1000, atol=1e-4)
    assert read_numbers(after.images) == list(range(len(times)))
    keys = keyframe_seconds(encoded.content)
    for begin, end in zip(keys, [*keys[1:], times[-1] / 1000], strict=True):
        between = [time for time in after.seconds if begin < time < end]
        assert all(time - begin < 1.0 for time in between)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_pixels_are_turned(tmp_path, rotation):
    path = copy_stream(make_video(tmp_path / "a.mp4", 5), tmp_path / "b.mp4", rotation=rotation)
    encoded = encode_media(path, EncodingConfig(quality=10))
    info = probe(encoded.content)
    assert (info.width, info.height) == ((128, 48) if rotation == 180 else (48, 128))
    assert info.rotation_degrees == 0
    before, after = read_frames(path, 5), read_frames(encoded.content, 5)
    assert np.abs(before.images.astype(int) - after.images).mean() < 4


@pytest.mark.parametrize(("size", "expected"), [((75, 97), (74, 96)), ((1, 1), (2, 2)), ((301, 51), (188, 32))])
def test_odd_sizes_become_even_and_nothing_is_enlarged(tmp_path, size, expected):
    height, width = size
    images = np.full((3, height, width, 3), 120, np.uint8)
    config = EncodingConfig(short_side=32 if height == 301 else 256)
    encoded = encode_media(write_video(tmp_path / "a.mp4", images), config)
    assert (encoded.height, encoded.width) == expected
    assert np.abs(read_frames(encoded.content, 3).images.astype(int) - 120).max() < 6


def test_keyframes_every_so_often(tmp_path):
    path = make_video(tmp_path / "a.mp4", 60, rate=20, gop=250)
    assert keyframe_seconds(encode_media(path, SMALL).content) == pytest.approx([0, 1, 2])
    config = EncodingConfig(keyframe_seconds=0.5)
    assert keyframe_seconds(encode_media(path, config).content) == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])


def test_the_same_source_gives_the_same_bytes(tmp_path):
    path = make_video(tmp_path / "a.mp4", 30)
    assert encode_media(path, SMALL) == encode_media(path.read_bytes(), SMALL)


def test_what_is_there_of_a_file_cut_short(tmp_path):
    path = cut_short(make_video(tmp_path / "a.mkv"), tmp_path / "b.mkv", 0.6)
    encoded = encode_media(path, SMALL)
    assert 10 < encoded.num_frames < 50
    assert encoded.problem == f"the file breaks off; {encoded.num_frames} of 60 frames are kept"
    assert read_numbers(all_frames(encoded.content).images) == list(range(encoded.num_frames))


@pytest.mark.parametrize("orientation", [1, 6])
def test_images_become_upright_jpegs(tmp_path, orientation):
    picture = Image.fromarray(numbered_frames(5)[4])
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    encoded = encode_media(tmp_path / "a.png", SMALL)
    assert (encoded.ending, encoded.duration_seconds, encoded.num_frames) == ("jpg", 0, 1)
    assert (encoded.width, encoded.height) == ((85, 32) if orientation == 1 else (32, 85))
    before, after = (read_frames(source, 1, short_side=32).images for source in (tmp_path / "a.png", encoded.content))
    assert np.abs(before.astype(int) - after).mean() < 4
    assert encode_media(tmp_path / "a.png", EncodingConfig()).width in (128, 48)


def test_times_can_be_asked_for_in_any_order(tmp_path):
    content = encode_media(make_video(tmp_path / "a.mp4", 90, gop=250), SMALL).content
    asked = np.array([2.5, 0.1, 1.99, 1.0])
    assert read_numbers(read_frames_at(content, asked).images) == [75, 3, 59, 30]


def test_what_cannot_be_packed(tmp_path):
    make_sound(tmp_path / "a.m4a")
    (tmp_path / "b.mp4").write_bytes(b"no video" * 100)
    for name, message in (("a.m4a", "only sound"), ("b.mp4", "not a video"), ("none.mp4", "no such file")):
        with pytest.raises(MediaError, match=message):
            encode_media(tmp_path / name, SMALL)


@pytest.mark.parametrize("option", ["short_side", "keyframe_seconds", "quality", "jpeg_quality"])
def test_settings_out_of_range(option):
    with pytest.raises(ConfigError, match=f"{option} is -1"):
        EncodingConfig(**{option: -1.0 if option == "keyframe_seconds" else -1})
