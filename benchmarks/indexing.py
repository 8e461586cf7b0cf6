"""Indexing videos: seconds of video a second on one core, against decoding the same files and doing nothing else.

    python benchmarks/indexing.py --demo demo [--quick] [--save]

Nothing that looks at every frame can be faster than decoding, which is the limit; `ratio` is its time over ours, so at
most about 1 (windows that need few frames of a long film may skip the rest, and then it is more). On clips of the
demo's corpus and on a film made here, 640 x 360 at 30 frames a second. Both in turn; times are those of processors, all
threads together, so that other work on the machine counts little. `shares` says where the time goes, from a run of its
own: windows out of the files (decoding and shrinking), the network, and the rest: mostly what a library is calibrated
with, the same for one video as for thousands, and saving.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import torch

from clover.data.video import OpenVideo, probe
from clover.pipeline import Clover
from clover.search.folder_index import FolderIndex
from clover.search.indexing import index_videos
from clover.search.windows import WindowConfig
from common import arguments, device_name, finish
from decoding import make_clip

WINDOWS = WindowConfig()
BASELINE = "PyAV decoding every frame of the same files in one thread, nothing converted"


def main() -> None:
    options = arguments(__doc__, demo=True)
    if options.demo is None:
        raise SystemExit("name the folder of a finished demo with --demo")
    torch.set_num_threads(1)
    demo = Path(options.demo)
    clover = Clover.from_pretrained(demo / "pretraining" / "checkpoint")
    num_clips, film_seconds, rounds = (20, 20, 3) if options.quick else (300, 120, 3)
    with tempfile.TemporaryDirectory() as name:
        film = make_clip(Path(name) / "film.mp4", film_seconds, 60)
        kinds = {
            "film": [film],
            "clips": sorted((demo / "corpus" / "videos" / "test").glob("*.mp4"))[:num_clips],
        }
        found = {kind: measured(clover, videos, Path(name), rounds) for kind, videos in kinds.items()}
    finish(
        {
            "name": "indexing",
            "device": device_name(accelerator=False),
            "ratio": found["film"]["ratio"],
            "ratio_of": f"median over {rounds} rounds, the film, one thread; decoding alone is the limit",
            "baseline": BASELINE,
            "quick": options.quick,
            "windows": WINDOWS.as_details(),
            **found,
        },
        options.save,
    )


def measured(clover: Clover, videos: Sequence[Path], folder: Path, rounds: int) -> dict[str, object]:
    """Both ways in turn, and where ours spends its time."""
    seconds = sum(duration(video) for video in videos)
    times: dict[str, list[float]] = {"ours": [], "baseline": []}
    for _ in range(rounds):
        times["ours"].append(seconds_of(lambda: index(clover, videos, folder)))
        times["baseline"].append(seconds_of(lambda: [decode(video) for video in videos]))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    ratios = [limit / ours for ours, limit in zip(times["ours"], times["baseline"], strict=True)]
    result = {
        "videos": len(videos),
        "video_seconds": round(seconds, 1),
        "video_seconds_per_second_per_core": round(seconds / medians["ours"], 1),
        "decoded_seconds_per_second_per_core": round(seconds / medians["baseline"], 1),
        "ratio": round(statistics.median(ratios), 3),
        "shares": shares(clover, videos, folder),
    }
    print(result, flush=True)
    return result


def index(clover: Clover, videos: Sequence[Path], folder: Path) -> None:
    """A new library each time, saved."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        library = FolderIndex.create(
            Path(name) / "library",
            width=clover.config.model.embedding_width,
            fingerprint=clover.fingerprint,
            details=WINDOWS.as_details(),
        )
        index_videos(library, clover, list(videos), WINDOWS)


def seconds_of(function: Callable[[], object]) -> float:
    """Of processors."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def shares(clover: Clover, videos: Sequence[Path], folder: Path) -> dict[str, float]:
    """Of the time of indexing: windows out of the files, the network, and all else."""
    begin = time.process_time()
    index(clover, videos, folder)
    whole = time.process_time() - begin
    clips, reading = [], 0.0
    for video in videos:
        begin = time.process_time()
        with OpenVideo(video) as opened:
            spans = WINDOWS.spans(probe(opened).duration_seconds)
            clips += [frames.images for frames in clover.span_frames(opened, spans) if frames is not None]
        reading += time.process_time() - begin
    begin = time.process_time()
    for start in range(0, len(clips), 32):
        clover.embed_clips(clips[start : start + 32])
    network = time.process_time() - begin
    parts = {"reading": reading, "network": network, "rest": whole - reading - network}
    return {name: round(seconds / whole, 3) for name, seconds in parts.items()}


def duration(video: Path) -> float:
    with OpenVideo(video) as opened:
        return probe(opened).duration_seconds


def decode(video: Path) -> None:
    """All frames, one after the other."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


if __name__ == "__main__":
    main()
