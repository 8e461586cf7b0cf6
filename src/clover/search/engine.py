"""Videos to a library of moments; a sentence to ranked moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clover.data.transforms import test_clip
from clover.data.video import OpenVideo, probe
from clover.errors import LibraryError, MediaError
from clover.pipeline import Clover
from clover.search.index import ExactIndex, Hit, Moment


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How a video is cut into moments."""

    length_seconds: float = 4.0
    """Length of a window; a shorter video is one window."""
    stride_seconds: float = 2.0
    """Distance between the starts of two windows."""

    def __post_init__(self) -> None:
        if not 0 < self.stride_seconds <= self.length_seconds:
            raise LibraryError(
                f"windows of {self.length_seconds} s every {self.stride_seconds} s leave gaps or never move; "
                "use a stride above 0 and at most the length"
            )

    def spans(self, duration_seconds: float) -> list[tuple[float, float]]:
        """Start and end of every window; the last one ends with the video."""
        last = max(0.0, duration_seconds - self.length_seconds)
        num_strides = int(np.ceil(last / self.stride_seconds - 1e-9))
        starts = [min(step * self.stride_seconds, last) for step in range(num_strides + 1)]
        return [(start, min(start + self.length_seconds, duration_seconds)) for start in starts]


@dataclass(frozen=True, kw_only=True)
class IndexingReport:
    """What indexing did."""

    added: list[str]
    unchanged: list[str]
    skipped: dict[str, str]
    """Files that cannot be read, and why."""
    damaged: dict[str, str]
    """Files that were read although parts of them are missing, and what stood in."""
    num_moments: int
    """Moments in the library afterwards."""


def signature(path: Path) -> str:
    """Size and modification time of a file: when they change, it is indexed anew."""
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def open_library(
    folder: Path, clover: Clover, windows: WindowConfig | None = None, *, checkpoint: str = ""
) -> ExactIndex:
    """Open a library for a model; with ``windows``, make it where there is none.

    Args:
        folder: Where the library is.
        clover: The model that makes and asks it.
        windows: How videos are cut, remembered in a new library.
        checkpoint: Where the model is, remembered in a new library.

    Raises:
        LibraryError: it is missing, broken, or made by another model.
    """
    if windows is not None and not (folder / "library.json").exists():
        details = {
            "window_seconds": windows.length_seconds,
            "stride_seconds": windows.stride_seconds,
            "checkpoint": checkpoint,
        }
        return ExactIndex.create(
            folder,
            width=clover.config.model.embedding_width,
            fingerprint=clover.fingerprint,
            details=details,
        )
    return ExactIndex.open(folder, fingerprint=clover.fingerprint)


def index_videos(
    index: ExactIndex,
    clover: Clover,
    videos: Sequence[Path],
    windows: WindowConfig,
    *,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
    save_every: int = 100,
) -> IndexingReport:
    """Add the moments of videos that are new or have changed, and save.

    Raises:
        MediaError: with ``strict``, a file that cannot be read; what was indexed before it is saved.
        LibraryError: the library's videos were cut in another way, or it cannot be written.
    """
    _check_windows(index, windows)
    known = {moment.video: moment.signature for moment in index.moments}
    added: list[str] = []
    unchanged: list[str] = []
    skipped: dict[str, str] = {}
    damaged: dict[str, str] = {}
    try:
        for done, video in enumerate(videos, start=1):
            name = str(video.resolve())
            try:
                stamp = signature(video)
                if known.get(name) == stamp:
                    unchanged.append(name)
                else:
                    moments, problem = embed_moments(clover, video, windows)
                    if problem is not None:
                        damaged[str(video)] = f"{video}: {problem}"
                    if name in known:
                        index.remove(name)
                    index.add(
                        [replace(moment, signature=stamp) for moment, _ in moments],
                        np.stack([v for _, v in moments]),
                    )
                    added.append(name)
                    known[name] = stamp
            except (MediaError, OSError) as error:
                if strict:
                    raise
                skipped[str(video)] = str(error)
            if done % save_every == 0:
                index.save()
            if progress is not None:
                progress(done, len(videos))
    finally:
        if len(index) or known:
            index.save()
    return IndexingReport(added=added, unchanged=unchanged, skipped=skipped, damaged=damaged, num_moments=len(index))


def _check_windows(index: ExactIndex, windows: WindowConfig) -> None:
    """Moments of different lengths would not compete fairly."""
    asked = {"window_seconds": windows.length_seconds, "stride_seconds": windows.stride_seconds}
    there = {name: index.details.get(name) for name in asked}
    if len(index) and there != asked:
        raise LibraryError(
            f"{index.folder} is cut into windows of {there['window_seconds']} s every {there['stride_seconds']} s; "
            "extend it with the same windows, or make another library"
        )


def embed_moments(
    clover: Clover, video: Path, windows: WindowConfig, *, batch_size: int = 32
) -> tuple[list[tuple[Moment, np.ndarray]], str | None]:
    """Every window of one video with its normalised embedding ``[d]``, and what of the video was missing.

    Raises:
        MediaError: the video cannot be read.
    """
    made: list[tuple[Moment, np.ndarray]] = []
    problem: str | None = None
    with OpenVideo(video) as opened:
        spans = windows.spans(probe(opened).duration_seconds)
        for first in range(0, len(spans), batch_size):
            batch = spans[first : first + batch_size]
            found = [clover.frames(opened, start_seconds=start, end_seconds=end) for start, end in batch]
            problem = problem or next((frames.problem for frames in found if frames.problem is not None), None)
            clips = [test_clip(frames.images, clover.config.inputs.frames) for frames in found]
            vectors = clover.embed_clips(clips).cpu().numpy()
            name = str(video.resolve())
            for (start, end), vector in zip(batch, vectors, strict=True):
                made.append((Moment(video=name, start_seconds=start, end_seconds=end, signature=""), vector))
    return made, problem


def search(index: ExactIndex, clover: Clover, query: str, num_results: int) -> list[Hit]:
    """The best moments for a sentence, best first; of overlapping moments of a video only the best is kept.

    Raises:
        TextError: the sentence is empty.
    """
    vector = clover.encode_text(query).cpu().numpy()
    results: list[Hit] = []
    wanted = num_results
    while True:
        wanted = min(len(index), wanted * 4)
        results = _without_overlaps(index.nearest(vector, wanted)[0])[:num_results] if wanted else []
        if len(results) == num_results or wanted == len(index):
            return results


def _without_overlaps(hits: Sequence[Hit]) -> list[Hit]:
    kept: list[Hit] = []
    for hit in hits:
        here = hit.moment
        if not any(
            here.video == other.moment.video
            and here.start_seconds < other.moment.end_seconds
            and other.moment.start_seconds < here.end_seconds
            for other in kept
        ):
            kept.append(hit)
    return kept
