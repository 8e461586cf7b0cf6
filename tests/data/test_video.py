import io
import os

import av
import numpy as np
import pytest
from made_media import (
    copy_stream,
    cut_short,
    decode_in_order,
    make_sound,
    make_video,
    numbered_frames,
    read_numbers,
)

from clover.data import decoding, timeline
from clover.data.sampling import sample_indices
from clover.data.video import probe, read_frames, read_frames_at
from clover.errors import ConfigError, MediaError

NUM_FRAMES = 60
EXPECTED = sample_indices(NUM_FRAMES, 8)
UNEVEN = np.cumsum(np.random.default_rng(7).integers(10, 150, NUM_FRAMES)).tolist()

CONTAINERS = {
    "plain.mp4": {},
    "no_b_frames.mp4": {"num_b_frames": 0},
    "one_gop.mp4": {"gop": 250},
    "only_keyframes.mp4": {"gop": 1},
    "short_gop.mp4": {"gop": 3},
    "fragments.mp4": {"muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "with_sound.mp4": {"has_sound": True},
    "plain.mov": {},
    "plain.mkv": {},
    "with_sound.mkv": {"has_sound": True},
    "plain.webm": {"codec": "libvpx-vp9"},
    "plain.ts": {},
    "plain.flv": {},
    "plain.mpg": {"codec": "mpeg2video"},
    "reordered.avi": {},
    "doubled.avi": {"ticks_per_frame": 2},
    "plain.avi": {"codec": "mpeg4"},
    "plain.gif": {"codec": "gif"},
    "animated.apng": {"codec": "apng"},
    "uneven.mp4": {"milliseconds": UNEVEN},
    "uneven.mkv": {"milliseconds": UNEVEN},
}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """The same sixty numbered frames in every container."""
    folder = tmp_path_factory.mktemp("media")
    for name, settings in CONTAINERS.items():
        make_video(folder / name, NUM_FRAMES, **settings)
    copy_stream(folder / "plain.mp4", folder / "raw.h264")
    return folder


@pytest.mark.parametrize("name", [*CONTAINERS, "raw.h264"])
class TestContainers:
    def test_the_rule_is_applied_to_the_true_list_of_frames(self, media, name):
        frames = read_frames(media / name, 8)
        assert frames.images.dtype == np.uint8 and frames.images.shape == (8, 48, 128, 3)
        assert read_numbers(frames.images) == EXPECTED
        assert frames.problem is None

    def test_training_draws_the_same_frames_in_every_container(self, media, name):
        frames = read_frames(media / name, 12, generator=np.random.default_rng(3))
        assert read_numbers(frames.images) == sample_indices(60, 12, generator=np.random.default_rng(3))

    def test_pixels_are_those_of_decoding_in_order(self, media, name):
        sequential = decode_in_order(media / name)
        assert len(sequential) == NUM_FRAMES
        np.testing.assert_array_equal(read_frames(media / name, 8).images, sequential[EXPECTED])

    def test_times_begin_at_zero_and_follow_the_clock(self, media, name):
        frames = read_frames(media / name, 60)
        assert frames.seconds[0] == 0
        milliseconds = np.array(UNEVEN) if name.startswith("uneven") else np.arange(60) * 1000 / 30
        expected = (milliseconds - milliseconds[0]) / 1000
        np.testing.assert_allclose(frames.seconds, expected, atol=0.011)  # GIF counts hundredths

    def test_probe(self, media, name):
        info = probe(media / name)
        assert (info.width, info.height, info.num_frames) == (128, 48, 60)
        assert info.name == str(media / name)
        if not name.startswith("uneven"):
            assert info.duration_seconds == pytest.approx(2.0, abs=0.04)
            assert info.rate == pytest.approx(30, rel=0.02)
        assert info.has_audio == name.startswith("with_sound")
        assert not info.is_image and info.rotation_degrees == 0


class TestTimes:
    def test_the_frame_shown_at_a_time(self, media):
        frames = read_frames_at(media / "plain.mp4", [0.0, 0.999, 0.034, 0.0333, 1 / 30, 1.99, 2.5, 100.0])
        assert read_numbers(frames.images) == [0, 29, 1, 0, 1, 59, 59, 59]
        np.testing.assert_allclose(frames.seconds[:3], [0, 29 / 30, 1 / 30])

    def test_uneven_frames_are_found_by_time_not_by_rate(self, media):
        begins = (np.array(UNEVEN) - UNEVEN[0]) / 1000
        for name in ("uneven.mp4", "uneven.mkv"):
            frames = read_frames_at(media / name, begins[[5, 40, 20]] + 0.004)
            assert read_numbers(frames.images) == [5, 40, 20]
            np.testing.assert_allclose(frames.seconds, begins[[5, 40, 20]], atol=0.0011)

    def test_every_single_frame_can_be_sought(self, media):
        for name in ("plain.mp4", "short_gop.mp4", "only_keyframes.mp4", "plain.ts", "plain.mkv"):
            for number in range(0, 60, 7):
                frames = read_frames_at(media / name, [number / 30 + 0.002])
                assert read_numbers(frames.images) == [number]

    def test_a_span(self, media):
        frames = read_frames(media / "plain.mp4", 5, start_seconds=0.5, end_seconds=1.0)
        assert read_numbers(frames.images) == [15 + index for index in sample_indices(15, 5)]
        frames = read_frames(media / "plain.mp4", 2, start_seconds=1.9, end_seconds=99)
        assert read_numbers(frames.images) == [57, 59]
        frames = read_frames(media / "plain.mp4", 2, start_seconds=0.51, end_seconds=0.52)
        assert read_numbers(frames.images) == [15, 15]

    @pytest.mark.parametrize(
        ("start", "end", "words"),
        [
            (-1, None, "before 0"),
            (1, 1, "empty"),
            (1, 0.5, "empty"),
            (2.5, None, "ends at 2.000"),
            (float("nan"), 1, "empty"),
        ],
    )
    def test_a_span_that_cannot_be(self, media, start, end, words):
        with pytest.raises(MediaError, match=words):
            read_frames(media / "plain.mp4", 2, start_seconds=start, end_seconds=end)

    def test_times_that_cannot_be(self, media):
        for seconds in ([-0.1], [float("nan")], [float("inf")], []):
            with pytest.raises(MediaError, match="seconds from 0 on"):
                read_frames_at(media / "plain.mp4", seconds)

    def test_no_frames_cannot_be_asked_for(self, media):
        with pytest.raises(ConfigError, match="num_samples"):
            read_frames(media / "plain.mp4", 0)


class TestClocks:
    def test_a_copied_cut_starts_late(self, media, tmp_path):
        for name in ("plain.mp4", "plain.mkv", "plain.ts"):
            cut = copy_stream(media / "plain.mp4", tmp_path / name, start_seconds=1.3)
            frames = read_frames(cut, 24)
            assert read_numbers(frames.images) == list(range(36, 60))
            assert frames.seconds[0] == 0
            assert probe(cut).duration_seconds == pytest.approx(0.8, abs=0.002)

    def test_a_stream_that_begins_after_the_sound(self, media, tmp_path):
        late = copy_stream(media / "plain.mp4", tmp_path / "late.mp4", shift_seconds=2.5)
        assert read_numbers(read_frames_at(late, [0.0, 1.0]).images) == [0, 30]

    def test_an_edit_list_hides_frames(self, media, tmp_path):
        muxer = {"avoid_negative_ts": "disabled"}
        edited = copy_stream(media / "plain.mp4", tmp_path / "e.mp4", shift_seconds=-0.5, muxer=muxer)
        assert probe(edited).num_frames == 45
        assert read_numbers(read_frames(edited, 45).images) == list(range(15, 60))

    def test_files_too_large_to_scan_use_a_grid(self, media, monkeypatch):
        monkeypatch.setattr(decoding, "MAX_SCAN_BYTES", 0)
        for name in ("plain.mkv", "plain.ts", "uneven.mp4", "fragments.mp4", "plain.webm"):
            info, frames = probe(media / name), read_frames(media / name, 8)
            assert info.num_frames is None
            assert frames.problem is None
            assert frames.seconds == pytest.approx((np.arange(8) + 0.5) * info.duration_seconds / 8, abs=0.25)
            shown = read_frames_at(media / name, frames.seconds + 1e-3)
            assert read_numbers(shown.images) == read_numbers(frames.images)
        assert probe(media / "plain.mp4").num_frames == 60  # its index is enough
        np.testing.assert_allclose(np.array(read_numbers(read_frames(media / "plain.mkv", 8).images)), EXPECTED, atol=1)

    def test_seeking_without_known_keyframes_is_right(self, tmp_path, monkeypatch):
        path = make_video(tmp_path / "long.mkv", 300, gop=30)
        monkeypatch.setattr(decoding, "MAX_SCAN_BYTES", 0)
        frames = read_frames_at(path, [0.5, 4.01, 9.21, 9.9])
        np.testing.assert_allclose(read_numbers(frames.images), [15, 120, 276, 297], atol=1)

    def test_a_seek_that_lands_too_late_is_mended(self, media, monkeypatch):
        monkeypatch.setattr(decoding.VideoReader, "_where_to_seek", lambda self, target, position: target + 9 * 512)
        assert read_numbers(read_frames(media / "short_gop.mp4", 8).images) == EXPECTED

    def test_an_index_of_uneven_times_is_not_trusted(self, media):
        for name, is_settled in (("plain.mp4", True), ("uneven.mp4", False), ("plain.mkv", False)):
            with av.open(str(media / name)) as container:
                found = timeline.timeline_from_index(container.streams.video[0])
            assert (found is not None) == is_settled


class TestSizesAndTurns:
    @pytest.mark.parametrize(("turn", "degrees"), [(90, 270), (-90, 90), (180, 180)])
    def test_rotation_is_applied(self, media, tmp_path, turn, degrees):
        turned = copy_stream(media / "plain.mp4", tmp_path / "t.mp4", rotation=turn)
        upright = read_frames(media / "plain.mp4", 8).images
        frames, info = read_frames(turned, 8), probe(turned)
        np.testing.assert_array_equal(frames.images, np.rot90(upright, turn // 90, axes=(1, 2)))
        assert (info.width, info.height) == ((48, 128) if degrees != 180 else (128, 48))
        assert info.rotation_degrees == degrees
        assert read_frames(turned, 1, short_side=24).images.shape[1:3] == ((64, 24) if degrees != 180 else (24, 64))

    def test_resizing_keeps_the_aspect(self, media):
        for short_side, size in ((24, (24, 64)), (96, (96, 256)), (25, (25, 67))):
            frames = read_frames(media / "plain.mp4", 8, short_side=short_side)
            assert frames.images.shape == (8, *size, 3)
            assert read_numbers(frames.images) == EXPECTED

    @pytest.mark.parametrize(("width", "height"), [(1, 1), (2000, 2), (2, 2000), (33, 47), (7, 5)])
    def test_odd_sizes(self, tmp_path, width, height):
        images = np.full((3, height, width, 3), 77, np.uint8)
        path = tmp_path / "odd.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=5)
            stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        np.testing.assert_array_equal(read_frames(path, 3).images, images)
        resized = read_frames(path, 2, short_side=8).images
        assert min(resized.shape[1:3]) == 8 and np.ptp(resized) <= 2
        assert abs(int(resized.mean()) - 77) <= 1

    def test_absurd_sizes_are_refused(self, tmp_path):
        path = tmp_path / "wide.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=5)
            stream.width, stream.height, stream.pix_fmt = 16386, 2, "bgr0"
            container.mux(stream.encode(av.VideoFrame(16386, 2, "rgb24")))
            container.mux(stream.encode(None))
        with pytest.raises(MediaError, match="16386 x 2 pixels is too large"):
            read_frames(path, 1)

    def test_a_picture_size_that_changes_midway(self, media, tmp_path):
        small = tmp_path / "small.ts"
        with av.open(str(small), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
            for _ in range(30):
                frame = av.VideoFrame.from_ndarray(np.full((32, 64, 3), 90, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        changing = tmp_path / "changing.ts"
        changing.write_bytes((media / "plain.ts").read_bytes() + small.read_bytes())
        assert read_frames(changing, 8).images.shape == (8, 48, 128, 3)

    def test_a_video_of_one_frame(self, tmp_path):
        for name in ("one.mp4", "one.mkv", "one.ts", "one.avi"):
            frames = read_frames(make_video(tmp_path / name, 1), 4)
            assert read_numbers(frames.images) == [0] * 4
            assert frames.seconds.tolist() == [0.0] * 4
            assert probe(tmp_path / name).num_frames == 1


class TestSources:
    def test_bytes_and_open_files(self, media):
        expected = read_frames(media / "plain.mp4", 8).images
        content = (media / "plain.mp4").read_bytes()
        np.testing.assert_array_equal(read_frames(content, 8).images, expected)
        np.testing.assert_array_equal(read_frames(io.BytesIO(content), 8).images, expected)
        with (media / "plain.mp4").open("rb") as file:
            file.read(100)
            np.testing.assert_array_equal(read_frames(file, 8).images, expected)
            assert not file.closed
        assert probe(content).name == f"<{len(content)} bytes>"
        np.testing.assert_array_equal(
            read_frames((media / "plain.mkv").read_bytes(), 8).images,
            read_frames(media / "plain.mkv", 8).images,
        )

    def test_arrays(self):
        images = numbered_frames(20)
        frames = read_frames(images, 5)
        np.testing.assert_array_equal(frames.images, images[sample_indices(20, 5)])
        np.testing.assert_array_equal(frames.seconds, np.array(sample_indices(20, 5)) / 8)
        assert read_numbers(read_frames_at(images, [0.13, 2.0]).images) == [1, 16]
        assert read_frames(images, 5, short_side=24).images.shape == (5, 24, 64, 3)
        assert probe(images).num_frames == 20

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((4, 8, 8), np.uint8),
            np.zeros((4, 8, 8, 4), np.uint8),
            np.zeros((4, 8, 8, 3), np.float32),
            np.zeros((0, 8, 8, 3), np.uint8),
            np.zeros((1, 0, 8, 3), np.uint8),
        ],
    )
    def test_arrays_of_the_wrong_form(self, array):
        with pytest.raises(MediaError, match="array of shape"):
            read_frames(array, 2)

    def test_names_that_look_like_addresses(self, media, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        os.link(media / "plain.mp4", "12:30 été %03d.mp4")
        assert probe("12:30 été %03d.mp4").num_frames == 60

    def test_threads_do_not_change_the_frames(self, media):
        for name in ("plain.mp4", "plain.ts", "reordered.avi"):
            one = read_frames(media / name, 8)
            two = read_frames(media / name, 8, num_threads=2)
            np.testing.assert_array_equal(one.images, two.images)


class TestBrokenFiles:
    def check(self, path, words):
        for read in (
            probe,
            lambda source: read_frames(source, 8),
            lambda source: read_frames_at(source, [0.0]),
        ):
            with pytest.raises(MediaError, match=words) as caught:
                read(path)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value) and not str(caught.value).endswith(".")

    def test_missing_folder_empty(self, tmp_path):
        self.check(tmp_path / "nowhere.mp4", "no such file")
        self.check(tmp_path, "is a folder")
        (tmp_path / "empty.mp4").touch()
        self.check(tmp_path / "empty.mp4", "is empty")

    def test_what_is_not_media(self, tmp_path):
        for name, content in {
            "garbage.mp4": np.random.default_rng(0).bytes(5000),
            "text.mp4": b"hello world\n" * 100,
            "text.txt": b"hello world\n" * 100,
            "captions.srt": b"1\n00:00:00,000 --> 00:00:01,000\nhi\n",
            "page.html": b"<!doctype html><html><body>404</body></html>",
        }.items():
            (tmp_path / name).write_bytes(content)
            self.check(tmp_path / name, "is not|has no picture")

    def test_playlists_do_not_open_other_files(self, media, tmp_path):
        list_file = media / "list.m3u8"
        list_file.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nplain.ts\n#EXT-X-ENDLIST\n")
        self.check(list_file, "playlist")
        (media / "list.ffconcat").write_text("ffconcat version 1.0\nfile plain.mp4\n")
        self.check(media / "list.ffconcat", "playlist")

    def test_only_sound(self, tmp_path):
        self.check(make_sound(tmp_path / "sound.mp4"), "only sound")
        self.check(make_sound(tmp_path / "sound.m4a"), "only sound")

    def test_an_open_text_file(self, tmp_path):
        (tmp_path / "a.txt").write_text("text")
        with (tmp_path / "a.txt").open() as file, pytest.raises(MediaError, match="mode 'rb'"):
            probe(file)

    def noisy_video(self, path, num_frames, **settings):
        """One whose frames, not its headers, fill the file."""
        noise = np.random.default_rng(0).integers(-20, 21, (num_frames, 48, 128, 3))
        pictures = np.clip(numbered_frames(num_frames).astype(int) + noise, 0, 255).astype(np.uint8)
        return make_video(path, num_frames, frames=pictures, **settings)

    def test_cut_short_with_the_index_in_front(self, tmp_path):
        whole = self.noisy_video(tmp_path / "w.mp4", 300, muxer={"movflags": "faststart"})
        cut = cut_short(whole, tmp_path / "cut.mp4", 0.6)
        frames = read_frames(cut, 8)
        assert probe(cut).num_frames == 300
        numbers = read_numbers(frames.images)
        assert numbers[:4] == sample_indices(300, 8)[:4]
        assert len(set(numbers[5:])) == 1 and 150 < numbers[7] < 200
        assert frames.seconds[7] == pytest.approx(numbers[7] / 30)
        assert frames.problem is not None and "of 8 frames were replaced by the nearest" in frames.problem

    def test_cut_short_matroska(self, tmp_path):
        cut = cut_short(self.noisy_video(tmp_path / "w.mkv", 60), tmp_path / "cut.mkv", 0.6)
        frames = read_frames(cut, 8)
        numbers = read_numbers(frames.images)
        np.testing.assert_allclose(numbers[:4], EXPECTED[:4], atol=2)  # frames lost between the last ones kept
        assert len(set(numbers[-2:])) == 1
        assert frames.problem is not None and "breaks off" in frames.problem

    def test_cut_short_streams_give_what_is_there(self, tmp_path):
        for name, codec in (("w.ts", "libx264"), ("w.avi", "libx264"), ("w.gif", "gif")):
            cut = cut_short(self.noisy_video(tmp_path / name, 60, codec=codec), tmp_path / f"cut_{name}", 0.6)
            num_left = probe(cut).num_frames
            assert 33 <= num_left <= 40
            assert read_numbers(read_frames(cut, 8).images)[:7] == sample_indices(num_left, 8)[:7]

    def test_cut_short_with_the_index_behind(self, media, tmp_path):
        cut = cut_short(media / "plain.mp4", tmp_path / "cut.mp4", 0.6)
        self.check(cut, "is not a video or image")

    def test_a_stream_that_begins_between_keyframes(self, tmp_path):
        whole = make_video(tmp_path / "w.ts", 60, gop=30)
        with av.open(str(whole)) as original, av.open(str(tmp_path / "mid.ts"), "w") as container:
            copy = container.add_stream_from_template(original.streams.video[0])
            for number, packet in enumerate(original.demux(original.streams.video[0])):
                if number >= 10 and packet.size:
                    packet.stream = copy
                    container.mux(packet)
        frames = read_frames(tmp_path / "mid.ts", 8)
        assert read_numbers(frames.images[-3:]) == sorted(read_numbers(frames.images[-3:]))
        assert read_numbers(frames.images)[-1] > 50

    @pytest.mark.parametrize("seed", range(12))
    def test_damage_anywhere_ends_in_frames_or_in_a_media_error(self, media, seed):
        generator = np.random.default_rng(seed)
        name = ["plain.mp4", "plain.mkv", "plain.ts", "reordered.avi", "plain.gif", "uneven.mp4"][seed % 6]
        content = np.frombuffer((media / name).read_bytes(), np.uint8).copy()
        for _ in range(20):
            start = int(generator.integers(len(content)))
            content[start : start + int(generator.integers(1, 40))] = generator.integers(256)
        try:
            frames = read_frames(content.tobytes(), 8, short_side=24)
        except MediaError as error:
            assert "bytes>" in str(error)
        else:
            assert len(frames.images) == 8 and np.isfinite(frames.seconds).all()
