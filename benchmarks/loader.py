"""Training samples a second and core: packed shards, loose files, and a loader that decodes everything.

    python benchmarks/loader.py [--videos-per-second N] [--quick] [--save]

Clips like WebVid's are generated: 640 x 360, 10 to 20 s at 30 frames a second, key frames 250 apart. Each way reads
every clip once and gives eight frames, one drawn at random of each eighth, at a short side of 256, in one thread. Rates
are of the processor's time, so that other work on the machine does not count; files lie in the page cache. The default
of `--videos-per-second` is what pre-training on one GPU needs: 2.5 million videos, 40 times, in four days.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from clover.data.corpora.shards import open_shards
from clover.data.packing.pack import pack_here
from clover.data.packing.settings import PackingConfig, Part
from clover.data.packing.sources import SourceOptions
from clover.data.transforms import resize_short_side
from clover.data.video import read_frames, sample_indices
from common import arguments, device_name, finish, interleaved
from decoding import make_clip

NUM_FRAMES = 8
SHORT_SIDE = 256
VIDEOS_PER_SECOND = 2_500_000 * 40 / (4 * 24 * 3600)
BASELINE = "PyAV decoding every frame in one thread; the eight drawn ones alone are converted and resized"
WAYS = {
    "packed": "packed shards (clover data pack), `read_frames`",
    "loose": "loose files, `read_frames`",
    "everything": "loose files, every frame decoded, eight converted",
    "read_video": "loose files, every frame decoded and converted to RGB, then eight chosen and resized",
}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    options = arguments(
        __doc__, numbers={"videos-per-second": (round(VIDEOS_PER_SECOND), "samples that one GPU takes a second")}
    )
    durations, rounds = ((10,), 3) if options.quick else ((10, 15, 20), 7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = make_corpus(folder, durations)
        seconds = time.process_time()
        pack_here(SourceOptions(path=str(folder / "results.csv")), folder / "pack", PackingConfig(), Part())
        packing_seconds = (time.process_time() - seconds) / len(clips)
        corpus = open_shards(folder / "pack")
        packed = [partial(corpus.media, place) for place in range(len(corpus))]
        difference = check(packed, clips)
        costs: dict[str, list[float]] = {way: [] for way in WAYS}
        ways: dict[str, Callable[[], None]] = {
            "packed": lambda: [read(media(), seed) for seed, media in enumerate(packed)],
            "loose": lambda: [read(path, seed) for seed, path in enumerate(clips)],
            "everything": lambda: [decode_everything(path, seed) for seed, path in enumerate(clips)],
            "read_video": lambda: [convert_everything(path, seed) for seed, path in enumerate(clips)],
        }
        interleaved(rounds, **{way: partial(costed, function, costs[way]) for way, function in ways.items()})
        source_bytes = sum(path.stat().st_size for path in clips)
        packed_bytes = sum(path.stat().st_size for path in (folder / "pack").glob("*.tar"))
    costs = {way: seconds[1:] for way, seconds in costs.items()}  # the first call of each is for warming up
    rates = {way: len(clips) / statistics.median(seconds) for way, seconds in costs.items()}
    ratios = [everything / packed for everything, packed in zip(costs["everything"], costs["packed"], strict=True)]
    cores = {way: math.ceil(options.videos_per_second / rate) for way, rate in rates.items()}
    for way, meaning in WAYS.items():
        print(f"{rates[way]:7.1f} samples/s a core, {cores[way]:4d} cores for a GPU: {meaning}")
    finish(
        {
            "name": "loader",
            "device": device_name(accelerator=False),
            "ratio": round(statistics.median(ratios), 2),
            "ratio_of": f"processor time of reading {len(clips)} clips, median over {rounds} rounds",
            "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
            "baseline": BASELINE,
            "quick": options.quick,
            "samples_per_second_per_core": {way: round(rate, 1) for way, rate in rates.items()},
            "videos_per_second_of_a_gpu": options.videos_per_second,
            "cores_for_a_gpu": cores,
            "clip_seconds": list(durations),
            "bytes_per_sample": {"source": source_bytes // len(clips), "packed": packed_bytes // len(clips)},
            "mean_difference_of_pixels": round(difference, 2),
            "packing_seconds_per_sample": round(packing_seconds, 2),
        },
        options.save,
    )


def make_corpus(folder: Path, durations: tuple[int, ...]) -> list[Path]:
    """A caption file in WebVid's layout, and its clips."""
    rows = ["videoid,contentUrl,duration,page_dir,name"]
    clips = []
    (folder / "videos/000001_000050").mkdir(parents=True)
    for seconds in durations:
        for picture in ("testsrc2", "mandelbrot"):
            number = len(clips) + 1
            path = folder / "videos/000001_000050" / f"{number}.mp4"
            clips.append(make_clip(path, seconds, 250, picture=picture))
            rows.append(f"{number},u,PT00H00M{seconds}S,000001_000050,A {picture} picture moves slowly to the left")
    (folder / "results.csv").write_text("\n".join(rows) + "\n")
    return clips


def check(packed: list[Callable[[], bytes]], clips: list[Path]) -> float:
    """All ways must give the same frames, packed ones but for what encoding anew costs: its mean, of 255."""
    differences = []
    for seed, (media, path) in enumerate(zip(packed, clips, strict=True)):
        ours, loose = read(media(), seed), read(path, seed)
        everything = decode_everything(path, seed)
        np.testing.assert_array_equal(loose, everything)
        width = ours.shape[2]  # even, so that it may be one less
        difference = np.abs(ours.astype(int) - loose[:, :, :width]).mean()
        if difference > 12:
            raise SystemExit(f"{path.name}: packed frames differ from the source's by {difference:.1f} of 255")
        differences.append(difference)
    return float(np.mean(differences))


def costed(function: Callable[[], object], costs: list[float]) -> None:
    start = time.process_time()
    function()
    costs.append(time.process_time() - start)


def read(media: Path | bytes, seed: int) -> np.ndarray:
    return read_frames(media, NUM_FRAMES, generator=np.random.default_rng(seed), short_side=SHORT_SIDE).images


def decode_everything(path: Path, seed: int) -> np.ndarray:
    """The baseline."""
    reformatter = VideoReformatter()
    images = []
    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        chosen = sample_indices(stream.frames, NUM_FRAMES, generator=np.random.default_rng(seed))
        for number, frame in enumerate(container.decode(stream)):
            if number in chosen:
                width = int(frame.width * SHORT_SIDE / frame.height + 0.5)
                images.append(reformatter.reformat(frame, width, SHORT_SIDE, "rgb24", threads=1).to_ndarray())
    return np.stack(images)


def convert_everything(path: Path, seed: int) -> np.ndarray:
    """What functions such as `read_video` do: the whole clip as RGB first."""
    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        images = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    chosen = sample_indices(len(images), NUM_FRAMES, generator=np.random.default_rng(seed))
    return resize_short_side(images[chosen], SHORT_SIDE)


if __name__ == "__main__":
    main()
