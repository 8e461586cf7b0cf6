"""Parts of videos as MP4: copied without loss, or encoded anew between exact ends."""

import av
import numpy as np
import pytest
from made_media import copy_stream, decode_in_order, make_sound, make_video, read_numbers
from PIL import Image

from clover.data.cutting import cut_video
from clover.data.video import probe, read_frames
from clover.errors import MediaError
from clover.files import WriteError


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """120 frames of 1/30 s with sound, a key frame every 12, two B-frames in a row."""
    return make_video(tmp_path_factory.mktemp("media") / "numbered.mp4", 120, has_sound=True)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.05, 1.3), (0.39, 0.41), (2.5, 4.0), (0.0, 99.0)])
def test_a_copy_has_the_very_frames_from_the_key_frame_on(numbered, tmp_path, start, end):
    cut = cut_video(numbered, tmp_path / "clip.mp4", start, end)
    assert cut.is_copied
    assert cut.start_seconds <= start
    assert cut.end_seconds >= min(end, 4.0) - 1e-6
    first, last = round(cut.start_seconds * 30), round(cut.end_seconds * 30)
    assert first % 12 == 0
    assert last <= np.ceil(min(end, 4.0) * 30) + 3
    frames = decode_in_order(cut.path)
    assert np.array_equal(frames, decode_in_order(numbered)[first:last])
    info = probe(cut.path)
    assert info.has_audio
    assert info.duration_seconds == pytest.approx((last - first) / 30, abs=1e-3)


@pytest.mark.parametrize("first", ["video", "audio"])
def test_sound_that_lies_far_from_its_picture_comes_along(numbered, tmp_path, first):
    apart = tmp_path / "apart.mkv"
    with av.open(str(numbered)) as source, av.open(str(apart), "w", options={"max_interleave_delta": "1"}) as container:
        copied = {stream.index: container.add_stream_from_template(stream) for stream in source.streams}
        packets = [packet for packet in source.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.stream.type != first):
            packet.stream = copied[packet.stream.index]
            container.mux(packet)
    with av.open(str(apart)) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert set(kinds[:30]) == {first} and set(kinds[-30:]) != {first}
    cut = cut_video(apart, tmp_path / "clip.mp4", 2.5, 3.5)
    assert cut.is_copied
    with av.open(str(cut.path)) as container:
        moments = [packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.size]
    length = cut.end_seconds - cut.start_seconds
    assert 0 <= moments[0] <= 0.128 and length - 0.128 - 1 / 30 <= moments[-1] <= length


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.05, 1.3), (0.39, 0.41), (2.5, 4.0)])
def test_encoded_anew_a_clip_begins_and_ends_where_asked(numbered, tmp_path, start, end):
    cut = cut_video(numbered, tmp_path / "clip.mp4", start, end, exact=True)
    assert (cut.is_copied, cut.start_seconds, cut.end_seconds) == (False, start, end)
    wanted = read_numbers(read_frames(numbered, 1000, start_seconds=start, end_seconds=end).images)
    assert read_numbers(decode_in_order(cut.path)) == sorted(set(wanted))
    assert probe(cut.path).duration_seconds == pytest.approx(end - start, abs=1e-3)
    with av.open(str(cut.path)) as container:
        sound = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert sound == pytest.approx(end - start, abs=0.13)  # AAC has frames of 128 ms at 8 kHz, padded at the end


@pytest.mark.parametrize("ending", ["mkv", "ts", "mov"])
def test_other_containers_are_copied_too(tmp_path, ending):
    source = make_video(tmp_path / f"clip.{ending}", 60)
    cut = cut_video(source, tmp_path / "out.mp4", 1.0, 1.5)
    assert cut.is_copied
    first = round(cut.start_seconds * 30)
    assert read_numbers(decode_in_order(cut.path))[:20] == list(range(first, 60))[:20]


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "libx264"), ("a.gif", "gif"), ("a.mkv", "mjpeg")])
def test_what_cannot_be_copied_is_encoded_anew(tmp_path, name, codec):
    if codec == "mjpeg":
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mjpeg", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            for _ in range(30):
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24"))
                )
            container.mux(stream.encode(None))
    else:
        make_video(tmp_path / name, 30, codec=codec)
    cut = cut_video(tmp_path / name, tmp_path / "out.mp4", 0.2, 0.7)
    assert not cut.is_copied
    assert probe(cut.path).duration_seconds == pytest.approx(0.5, abs=0.05)


def test_a_rotated_video_stays_upright(numbered, tmp_path):
    turned = copy_stream(numbered, tmp_path / "turned.mp4", rotation=90)
    wanted = probe(turned)
    for exact in (False, True):
        cut = cut_video(turned, tmp_path / f"{exact}.mp4", 1.0, 2.0, exact=exact)
        assert (probe(cut.path).width, probe(cut.path).height) == (wanted.width, wanted.height)


def test_a_still_image_becomes_a_second_of_film(tmp_path):
    Image.new("RGB", (33, 21), (200, 30, 30)).save(tmp_path / "still.png")
    cut = cut_video(tmp_path / "still.png", tmp_path / "out.mp4", 0.0, 1.0)
    info = probe(cut.path)
    assert (info.width, info.height) == (32, 20)
    assert info.duration_seconds == pytest.approx(1.0)


def test_what_cannot_be_cut_leaves_nothing_behind(numbered, tmp_path):
    with pytest.raises(MediaError, match="only sound"):
        cut_video(make_sound(tmp_path / "sound.m4a"), tmp_path / "out.mp4", 0.0, 1.0)
    with pytest.raises(MediaError, match="no such file"):
        cut_video(tmp_path / "gone.mp4", tmp_path / "out.mp4", 0.0, 1.0)
    with pytest.raises(MediaError, match="the video ends at"):
        cut_video(numbered, tmp_path / "out.mp4", 9.0, 10.0)
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot write"):
        cut_video(numbered, tmp_path / "file" / "out.mp4", 0.0, 1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sound.m4a"]
