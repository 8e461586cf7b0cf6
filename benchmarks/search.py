"""Searching a library of a million moments: latency, recall, bytes and build time against exact search.

    OPENBLAS_NUM_THREADS=1 python benchmarks/search.py --demo demo [--moments N] [--width D] [--threads T] [--save]

Vectors are drawn to match those of the demo's model, which embeds its videos and captions first: clusters, as large as
k-means finds them, from the covariance between clusters of videos, and moments around them from the covariance within.
Queries are drawn as captions differ from the videos they describe: a moment, plus a difference of that mean length and
covariance. The model's vectors are narrower than those asked for, so spectra are stretched: the share of the variance
that the first tenth of the axes holds stays, which is harder than leaving the new axes empty. Axes lie anywhere; the
covariances are independent of each other. `likeness` says how alike they are at the model's own width, and as many as
there are real ones: means of a caption's best and tenth similarity, of any, and the dimension of a video's
neighbourhood (Levina and Bickel, 2004). Uniform random vectors, of which nothing can be saved, are measured apart.

The baseline is exact search over the same float32 vectors by FAISS (`knn`, the fastest of those tried); the library's
own (`ExactVectors`) is timed beside it. All in one thread, one query after another, twenty of ours and then the same
twenty of the baseline: each has its own caches, and other work on the machine falls on both. Building uses `--threads`.
`processor` figures and `ratio` leave out what a busy machine makes a query wait, which hits long ones more:
`waiting_ratio`, by the clock, is then larger. For each recall the library is compressed anew, as who asks for it would.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from clover.search.exact import ExactVectors
from clover.search.folder_index import FolderIndex
from clover.search.index import Moment, SearchOptions
from common import arguments, device_name, finish

READER = """
import json, sys
import faiss, numpy as np
from pathlib import Path
from clover.search.folder_index import FolderIndex

def resident():
    rows = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(rows[name].split()[0]) for name in ("RssAnon", "RssFile")}

before = resident()
index = FolderIndex.open(Path(sys.argv[1]))
for seed in range(100):
    index.nearest(np.random.default_rng(seed).normal(size=index.width), 10)
after = resident()
print(json.dumps({
    "memory_bytes_per_moment": after["RssAnon"] - before["RssAnon"],
    "mapped_bytes_per_moment": after["RssFile"] - before["RssFile"],
}))
"""
NUM_CLUSTERS = 64
NUM_QUERIES = 1024
TURN = 20
"""Queries in a row."""
SAVED_AT_ONCE = 200_000
NUM_WARMING = 5
NUM_RESULTS = 10
RECALLS = (0.95, 0.99)
MOMENTS_PER_VIDEO = 50
BLOCK = 50_000
BASELINE = "exact search over the same float32 vectors by FAISS (knn, inner product), one thread, one query at a time"


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """What is kept of real embeddings: variances along principal axes, largest first, and sizes of clusters."""

    between: np.ndarray
    within: np.ndarray
    difference: np.ndarray
    """Of a text from its video."""
    mean_lengths: tuple[float, float]
    """Lengths of the mean video, and of the mean difference."""
    shares: np.ndarray
    """Of the clusters."""

    def stretched(self, width: int) -> Spectrum:
        """The same shape over more axes, with the same total."""

        def stretch(variances: np.ndarray) -> np.ndarray:
            places = np.linspace(0, len(variances) - 1, width)
            drawn = np.exp(np.interp(places, np.arange(len(variances)), np.log(variances.clip(1e-9))))
            return drawn * variances.sum() / drawn.sum()

        axes = {name: stretch(getattr(self, name)) for name in ("between", "within", "difference")}
        return replace(self, **axes)


def main() -> None:
    import torch

    options = arguments(
        __doc__,
        demo=True,
        numbers={
            "moments": (1_000_000, "moments of the largest library"),
            "width": (256, "of the vectors"),
            "threads": (1, "for building"),
        },
    )
    if options.demo is None:
        raise SystemExit("name the folder of a finished demo with --demo")
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        raise SystemExit("exact search must take one thread: run with OPENBLAS_NUM_THREADS=1")
    torch.set_num_threads(int(options.threads))
    width, largest = int(options.width), 20_000 if options.quick else int(options.moments)
    videos, texts = embeddings(Path(options.demo))
    real = spectrum_of(videos, texts)
    spectrum = real.stretched(width)
    sizes = [size for size in (10_000, 100_000, 1_000_000) if size < largest] + [largest]
    growth = {}
    for size in sizes:
        growth[size] = measure(size, width, partial(drawn, spectrum), int(options.threads))
        print(json.dumps({"moments": size, **growth[size]}), flush=True)
    uniform = measure(min(100_000, largest), width, uniformly, int(options.threads))
    best = growth[largest]["recall_0.95"]
    finish(
        {
            "name": "search",
            "device": device_name(accelerator=False),
            "ratio": best["ratio"],
            "ratio_at_0.99": growth[largest]["recall_0.99"].get("ratio"),
            "ratio_of": "median processor time of a query, one thread, at a recall of 0.95",
            "baseline": BASELINE,
            "quick": options.quick,
            "moments": largest,
            "width": width,
            "recall_at_10": best["recall_at_10"],
            "bytes_per_dimension": max(
                growth[largest][f"recall_{recall}"]["bytes_per_dimension"] for recall in RECALLS
            ),
            "growth": growth,
            "uniform_random": uniform,
            "likeness": {"real": likeness(videos, texts), "drawn": likeness(*alike(real, len(videos)))},
            "build_threads": int(options.threads),
        },
        options.save,
        variant=f"{largest}x{width}",
    )


def embeddings(demo: Path) -> tuple[np.ndarray, np.ndarray]:
    """Videos of the demo's corpus, and a caption of each."""
    from clover import Clover

    clover = Clover.from_pretrained(demo / "pretraining" / "checkpoint")
    rows = [json.loads(line) for line in (demo / "corpus" / "train.jsonl").read_text().splitlines()][:1500]
    videos, texts = [], []
    for start in range(0, len(rows), 32):
        batch = rows[start : start + 32]
        videos.append(clover.embed_clips([clover.clip(demo / "corpus" / row["video"]) for row in batch]).numpy())
        texts.append(clover.encode_text([row["captions"][0] for row in batch]).numpy())
    return np.concatenate(videos), np.concatenate(texts)


def spectrum_of(videos: np.ndarray, texts: np.ndarray) -> Spectrum:
    import faiss

    clusters = faiss.Kmeans(videos.shape[1], NUM_CLUSTERS, niter=20, seed=0, min_points_per_centroid=1)
    clusters.train(videos)
    _, nearest = clusters.index.search(videos, 1)
    counts = np.bincount(nearest[:, 0], minlength=NUM_CLUSTERS)
    difference = texts - videos
    between = np.repeat(clusters.centroids, counts, axis=0)
    return Spectrum(
        between=variances(between),
        within=variances(videos - clusters.centroids[nearest[:, 0]]),
        difference=variances(difference),
        mean_lengths=(float(np.linalg.norm(videos.mean(0))), float(np.linalg.norm(difference.mean(0)))),
        shares=counts / counts.sum(),
    )


def alike(spectrum: Spectrum, count: int) -> tuple[np.ndarray, np.ndarray]:
    """As many drawn moments and queries."""
    vectors, queries, more = drawn(spectrum, len(spectrum.between))
    return vectors(0, count), np.concatenate([queries, more])


def likeness(videos: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """How near neighbours are, and in how many dimensions they lie."""
    asked = -np.sort(-texts[: 2 * NUM_QUERIES] @ videos.T, axis=1)
    distances = np.sort(np.sqrt((2 - 2 * videos @ videos.T).clip(0)), axis=1)[:, 1 : NUM_RESULTS + 1]
    inverse = np.log(distances[:, -1:] / distances[:, :-1].clip(1e-6)).mean(axis=1)
    return {
        "best_similarity": round(float(asked[:, 0].mean()), 3),
        "tenth_similarity": round(float(asked[:, NUM_RESULTS - 1].mean()), 3),
        "any_similarity": round(float(asked.mean()), 3),
        "deviation_of_any": round(float(asked.std(axis=1).mean()), 3),
        "neighbourhood_dimension": round(float(1 / inverse.mean()), 1),
    }


def variances(vectors: np.ndarray) -> np.ndarray:
    """Along the principal axes, largest first."""
    return np.linalg.eigvalsh(np.cov(vectors.T))[::-1].copy()


class _Axes:
    """Draws from Gaussians whose principal axes lie anywhere."""

    def __init__(self, spread: np.ndarray, generator: np.random.Generator) -> None:
        turn, _ = np.linalg.qr(generator.normal(size=(len(spread), len(spread))))
        self.turn = (np.sqrt(spread.clip(0))[:, None] * turn).astype(np.float32)

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        return generator.standard_normal((count, len(self.turn)), dtype=np.float32) @ self.turn


Blocks = Callable[[int, int], np.ndarray]
Draw = Callable[[int], tuple[Blocks, np.ndarray, np.ndarray]]
"""By the width: blocks of a library by number and size, queries to calibrate with, and queries to measure with."""


def drawn(spectrum: Spectrum, width: int) -> tuple[Blocks, np.ndarray, np.ndarray]:
    """Vectors and queries like those of the demo's model."""
    generator = np.random.default_rng(0)
    axes = [_Axes(getattr(spectrum, name), generator) for name in ("between", "within", "difference")]
    between, within, difference = axes
    centres = between.draw(NUM_CLUSTERS, generator)
    mean, mean_difference = (
        length * unit(generator.standard_normal(width, dtype=np.float32)) for length in spectrum.mean_lengths
    )

    def vectors(number: int, size: int) -> np.ndarray:
        local = np.random.default_rng([1, number])
        chosen = local.choice(NUM_CLUSTERS, size, p=spectrum.shares)
        return unit(mean + centres[chosen] + within.draw(size, local))

    count = 2 * NUM_QUERIES
    queries = unit(vectors(2**31, count) + mean_difference + difference.draw(count, generator))
    return vectors, queries[:NUM_QUERIES], queries[NUM_QUERIES:]


def uniformly(width: int) -> tuple[Blocks, np.ndarray, np.ndarray]:
    """Vectors without any structure, and queries like them."""

    def vectors(number: int, size: int) -> np.ndarray:
        return unit(np.random.default_rng([2, number]).standard_normal((size, width), dtype=np.float32))

    return vectors, vectors(2**31, NUM_QUERIES), vectors(2**31 + 1, NUM_QUERIES)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def measure(count: int, width: int, draw: Draw, num_threads: int) -> dict[str, object]:
    """Latencies of exact and compressed search over one library, and what it takes."""
    vectors, sample_queries, queries = draw(width)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "library"
        index = FolderIndex.create(
            folder, width=width, fingerprint="benchmark", details={}, options=SearchOptions(exact_up_to=count)
        )
        for number, start in enumerate(range(0, count, BLOCK)):
            size = min(BLOCK, count - start)
            index.add(moments(start, size), vectors(number, size))
            if (start + size) % SAVED_AT_ONCE == 0:
                index.save()
        index.compact()
        # a reader of the exact library keeps it, while the compressed one takes its place
        (exact,) = (segment.vectors for segment in FolderIndex.open(folder)._segments)
        assert isinstance(exact, ExactVectors)
        truth = [set(rows.tolist()) for rows in exact.nearest(queries, NUM_RESULTS).rows]
        result: dict[str, object] = {"moments": count}
        for recall in RECALLS:
            copy = Path(name) / f"compressed_{recall}"
            shutil.copytree(folder, copy, copy_function=os.link)  # files of segments are never changed
            result[f"recall_{recall}"] = compressed(copy, exact, recall, sample_queries, queries, truth, num_threads)
            shutil.rmtree(copy)
    return result


def compressed(
    folder: Path,
    exact: ExactVectors,
    recall: float,
    sample_queries: np.ndarray,
    queries: np.ndarray,
    truth: list[set[int]],
    num_threads: int,
) -> dict[str, object]:
    """A copy of the library, compressed for a recall, against exact search."""
    index = FolderIndex.open(folder)
    index.options, index.sample_queries = SearchOptions(exact_up_to=0, target_recall=recall), sample_queries
    use_threads(num_threads)
    begin = time.perf_counter()
    index.compact()
    seconds = time.perf_counter() - begin
    use_threads(1)
    (segment,) = index._segments
    return (
        {"build_seconds": round(seconds, 1)}
        | taken(folder, len(exact), index.width)
        | compared(exact, index, queries, truth)
        | {name: value for name, value in segment.search.items() if name != "recall_at_10"}
    )


def use_threads(count: int) -> None:
    import faiss

    faiss.omp_set_num_threads(count)


def compared(exact: ExactVectors, index: FolderIndex, queries: np.ndarray, truth: list[set[int]]) -> dict[str, object]:
    """Recall and latencies; they take turns, so that whatever else the machine does falls on all alike."""
    import faiss

    seconds: dict[str, list[float]] = {"": [], "exact_": [], "own_exact_": []}
    working: dict[str, list[float]] = {name: [] for name in seconds}
    shares, inner_product = [], faiss.METRIC_INNER_PRODUCT

    def timed(name: str, search: Callable[[np.ndarray], object]) -> Iterator[object]:
        for query in turn:
            begin, begin_working = time.perf_counter(), time.thread_time()
            found = search(query)
            working[name].append(time.thread_time() - begin_working)
            seconds[name].append(time.perf_counter() - begin)
            yield found

    for start in range(0, len(queries), TURN):
        turn = queries[start : start + TURN]
        for number, hits in enumerate(timed("", lambda query: index.nearest(query, NUM_RESULTS)[0])):
            rows = {row_of(hit.moment) for hit in hits}
            shares.append(len(rows & truth[start + number]) / NUM_RESULTS)
        for _ in timed("exact_", lambda query: faiss.knn(query[None], exact.vectors, NUM_RESULTS, inner_product)):
            pass
        if start < 5 * TURN:
            for _ in timed("own_exact_", lambda query: exact.nearest(query[None], NUM_RESULTS)):
                pass
    latencies = {name: milliseconds(some[NUM_WARMING:]) for name, some in seconds.items()}
    latencies |= {f"{name}processor_": milliseconds(some[NUM_WARMING:]) for name, some in working.items()}
    return {
        "recall_at_10": round(float(np.mean(shares)), 4),
        "ratio": round(statistics.median(working["exact_"]) / statistics.median(working[""]), 1),
        "waiting_ratio": round(statistics.median(seconds["exact_"]) / statistics.median(seconds[""]), 1),
        **{f"{name}{rank}": value for name, ranks in latencies.items() for rank, value in ranks.items()},
    }


def row_of(moment: Moment) -> int:
    """The place of a moment of `moments`."""
    return int(Path(moment.video).stem) * MOMENTS_PER_VIDEO + round(moment.start_seconds / 2)


def moments(first: int, count: int) -> list[Moment]:
    return [
        Moment(
            video=f"/films/{number // MOMENTS_PER_VIDEO}.mp4",
            start_seconds=2.0 * (number % MOMENTS_PER_VIDEO),
            end_seconds=2.0 * (number % MOMENTS_PER_VIDEO) + 4.0,
            signature="",
        )
        for number in range(first, first + count)
    ]


def milliseconds(seconds: list[float]) -> dict[str, float]:
    return {f"p{rank}_ms": round(1000 * float(np.percentile(seconds, rank)), 3) for rank in (50, 99)}


def taken(folder: Path, count: int, width: int) -> dict[str, object]:
    """Bytes on disk, and memory of a process that opens the library and asks it."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    vectors = sum(size for name, size in sizes.items() if name.startswith(("vectors-", "codes-", "codec-", "lists-")))
    told = subprocess.run([sys.executable, "-c", READER, str(folder)], capture_output=True, text=True, check=True)
    return {
        "bytes_per_dimension": round(vectors / count / width, 4),
        "disk_bytes_per_moment": round(sum(sizes.values()) / count, 1),
        **{name: round(1024 * kilobytes / count, 1) for name, kilobytes in json.loads(told.stdout).items()},
    }


if __name__ == "__main__":
    main()
