from fractions import Fraction

import av
import numpy as np
import pytest
from made_media import MILLISECOND, decode_in_order, make_video, numbered_frames

from clover.data.decoding import VideoReader
from clover.data.media_source import open_media

NUM_FRAMES = 60


def encode(path, seed):
    """A file whose structure is drawn: keyframes, references, reordering, fields, even or uneven times."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(-20, 21, (NUM_FRAMES, 48, 128, 3))
    pictures = np.clip(numbered_frames(NUM_FRAMES) + noise, 0, 255).astype(np.uint8)
    uneven = np.cumsum(generator.integers(5, 90, NUM_FRAMES)).tolist()
    is_uneven = generator.random() < 0.4
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 128, 48, "yuv420p"
        stream.options = {
            "g": str(generator.choice([1, 2, 5, 12, 250])),
            "bf": str(generator.integers(9)),
            "preset": "veryfast",
            "b-pyramid": str(generator.choice(["none", "strict", "normal"])),
            "flags": str(generator.choice(["+cgop", "-cgop"])),
            "x264-params": str(generator.choice(["interlaced=1", "open-gop=1", "intra-refresh=1", "ref=5"])),
        }
        if is_uneven:
            stream.codec_context.time_base = MILLISECOND
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = uneven[number] if is_uneven else number
            frame.time_base = MILLISECOND if is_uneven else Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("seed", range(16))
def test_chosen_frames_are_bit_for_bit_those_of_decoding_in_order(tmp_path, seed):
    path = tmp_path / f"a.{('mp4', 'mkv', 'ts', 'mov')[seed % 4]}"
    encode(path, seed)
    sequential = decode_in_order(path)
    generator = np.random.default_rng(seed)
    with VideoReader(open_media(path)) as reader:
        assert len(reader.timeline.ticks) == NUM_FRAMES
        for _ in range(4):  # a reader can be read from again and again
            indices = generator.integers(NUM_FRAMES, size=5)
            frames = reader.read(indices.tolist(), short_side=None)
            np.testing.assert_array_equal(frames.images, sequential[indices])
            assert frames.problem is None


def test_frames_nobody_needs_are_not_decoded(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", NUM_FRAMES, gop=250)
    num_frames = []
    original = VideoReader._frames

    def counted(self):
        for item in original(self):
            num_frames.append(1)
            yield item

    monkeypatch.setattr(VideoReader, "_frames", counted)
    with VideoReader(open_media(path)) as reader:
        reader.read([NUM_FRAMES - 1], short_side=None)
        num_spared = len(num_frames)
        num_frames.clear()
        monkeypatch.setattr(VideoReader, "_can_skip", False)
        reader.read([NUM_FRAMES - 1], short_side=None)
    assert num_spared <= len(num_frames) * 0.8
