"""Reading eight frames of a clip: `read_frames` against decoding the file in order.

    python benchmarks/decoding.py [--quick] [--save]

Clips are 640 x 360 H.264 at 30 frames a second, generated here; frames are resized to a short side of 256.
Both ways use one thread and must give the same pixels.
"""

from __future__ import annotations

import statistics
import tempfile
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from clover.data.video import read_frames, sample_indices
from common import arguments, device_name, finish, interleaved

NUM_FRAMES = 8
SHORT_SIDE = 256
BASELINE = "PyAV decoding in order up to the last wanted frame, one thread, only the wanted frames converted"


def main() -> None:
    options = arguments(__doc__)
    durations, rounds = ((10,), 5) if options.quick else ((10, 60), 9)
    clips = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in durations:
            for gop in (30, 250):
                path = make_clip(Path(folder, f"{seconds}_{gop}.mp4"), seconds, gop)
                clips.append(compare(path, seconds, gop, rounds))
                print(row(clips[-1]) if len(clips) > 1 else f"{header()}\n{row(clips[-1])}", flush=True)
    chosen = next(clip for clip in reversed(clips) if clip["gop"] == 30)
    finish(
        {
            "name": "decoding",
            "device": device_name(accelerator=False),
            "ratio": chosen["ratio"],
            "ratio_of": f"median over {rounds} rounds, {chosen['seconds']} s clip, keyframes 30 apart",
            "baseline": BASELINE,
            "quick": options.quick,
            "clips": clips,
        },
        options.save,
    )


def compare(path: Path, seconds: int, gop: int, rounds: int) -> dict[str, object]:
    np.testing.assert_array_equal(read_frames(path, NUM_FRAMES, short_side=SHORT_SIDE).images, in_order(path))
    times = interleaved(
        rounds,
        ours=lambda: read_frames(path, NUM_FRAMES, short_side=SHORT_SIDE),
        baseline=lambda: in_order(path),
    )
    ratios = [baseline / ours for baseline, ours in zip(times["baseline"], times["ours"], strict=True)]
    return {
        "seconds": seconds,
        "gop": gop,
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "ours_ms": round(1000 * statistics.median(times["ours"]), 1),
        "baseline_ms": round(1000 * statistics.median(times["baseline"]), 1),
        "ratio": round(statistics.median(ratios), 2),
    }


def in_order(path: Path) -> np.ndarray:
    """The baseline: frames are decoded one after the other, and the wanted ones kept."""
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        wanted = sample_indices(stream.frames, NUM_FRAMES)
        reformatter = VideoReformatter()
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                width = int(frame.width * SHORT_SIDE / frame.height + 0.5)
                images.append(reformatter.reformat(frame, width, SHORT_SIDE, "rgb24", threads=1).to_ndarray())
            if number == wanted[-1]:
                break
    return np.stack(images)


def make_clip(path: Path, seconds: int, gop: int, *, picture: str = "testsrc2") -> Path:
    """A moving test picture of FFmpeg's with grain, so that frames cost about what camera frames cost."""
    with (
        av.open(f"{picture}=s=640x360:r=30", format="lavfi") as source,
        av.open(str(path), "w") as clip,
    ):
        stream = clip.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"g": str(gop), "crf": "23", "preset": "veryfast", "sc_threshold": "0"}
        generator = np.random.default_rng(0)
        grain = [generator.integers(-6, 7, (360, 640, 1), dtype=np.int16) for _ in range(8)]
        for number, frame in enumerate(islice(source.decode(video=0), 30 * seconds)):
            pixels = frame.to_ndarray(format="rgb24") + grain[number % len(grain)]
            noisy = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), format="rgb24")
            noisy.pts, noisy.time_base = number, Fraction(1, 30)
            clip.mux(stream.encode(noisy))
        clip.mux(stream.encode(None))
    return path


def header() -> str:
    return f"{'clip':>6} {'gop':>5} {'MB':>6} {'in order':>11} {'read_frames':>12} {'ratio':>7}"


def row(clip: dict[str, object]) -> str:
    return (
        f"{clip['seconds']:>4} s {clip['gop']:>5} {clip['megabytes']:>6} {clip['baseline_ms']:>8} ms "
        f"{clip['ours_ms']:>9} ms {clip['ratio']:>6}x"
    )


if __name__ == "__main__":
    main()
