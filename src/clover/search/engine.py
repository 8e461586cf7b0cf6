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
from clover.search.index import Hit, Index, Moment, create_index, is_library, open_index


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
    place: str | Path, clover: Clover, windows: WindowConfig | None = None, *, checkpoint: str = ""
) -> Index:
    """Open a library for a model; with ``windows``, make it where there is none.

    Args:
        place: Where the library is: a folder, or ``milvus://host:port/name``.
        clover: The model that makes and asks it.
        windows: How videos are cut, remembered in a new library.
        checkpoint: Where the model is, remembered in a new library.

    Raises:
        LibraryError: it is missing, broken, or made by another model.
    """
    if windows is not None and not is_library(place):
        details = {
            "window_seconds": windows.length_seconds,
            "stride_seconds": windows.stride_seconds,
            "checkpoint": checkpoint,
        }
        width = clover.config.model.embedding_width
        return create_index(place, width=width, fingerprint=clover.fingerprint, details=details)
    return open_index(place, fingerprint=clover.fingerprint)


def index_videos(
    index: Index,
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
    with index.locked():
        return _Indexing(index, clover, windows, strict=strict).run(videos, progress, save_every)


class _Indexing:
    """One call of `index_videos`."""

    def __init__(self, index: Index, clover: Clover, windows: WindowConfig, *, strict: bool) -> None:
        self.index, self.clover, self.windows, self.strict = index, clover, windows, strict
        self.known = {record.video: record.signature for record in index.video_records()}
        self.report = IndexingReport(added=[], unchanged=[], skipped={}, damaged={}, num_moments=0)

    def run(
        self, videos: Sequence[Path], progress: Callable[[int, int], None] | None, save_every: int
    ) -> IndexingReport:
        try:
            for done, video in enumerate(videos, start=1):
                try:
                    self._take(video)
                except (MediaError, OSError) as error:
                    reason = f"{video}: {error.strerror}" if isinstance(error, OSError) else str(error)
                    if self.strict:
                        raise MediaError(reason) from error
                    self.report.skipped[str(video)] = reason
                if done % save_every == 0:
                    self.index.save()
                if progress is not None:
                    progress(done, len(videos))
        finally:
            if len(self.index) or self.known:
                self.index.save()
        return replace(self.report, num_moments=len(self.index))

    def _take(self, video: Path) -> None:
        name, stamp = str(video.resolve()), signature(video)
        if self.known.get(name) == stamp:
            self.report.unchanged.append(name)
            return
        moments, problem = embed_moments(self.clover, video, self.windows)
        if problem is not None:
            self.report.damaged[str(video)] = f"{video}: {problem}"
        if name in self.known:
            self.index.remove(name)
        vectors = np.stack([vector for _, vector in moments])
        self.index.add([replace(moment, signature=stamp) for moment, _ in moments], vectors)
        self.report.added.append(name)
        self.known[name] = stamp


def gone_videos(index: Index) -> list[str]:
    """Videos of a library whose files are no longer where they were."""
    return [video for video in index.videos() if not Path(video).exists()]


def prune(index: Index) -> list[str]:
    """Take the videos out whose files are gone, and save; returns them.

    Raises:
        LibraryError: another command is extending the library.
    """
    gone = gone_videos(index)
    if gone:
        with index.locked():
            for video in gone:
                index.remove(video)
            index.save()
    return gone


def _check_windows(index: Index, windows: WindowConfig) -> None:
    """Moments of different lengths would not compete fairly."""
    asked = {"window_seconds": windows.length_seconds, "stride_seconds": windows.stride_seconds}
    there = {name: index.details.get(name) for name in asked}
    if len(index) and there != asked:
        raise LibraryError(
            f"{index.place} is cut into windows of {there['window_seconds']} s every {there['stride_seconds']} s; "
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
            # after the place where a file breaks off, earlier frames stand in: there is nothing to be found there
            is_there = [
                frames.problem is None or frames.seconds.max() >= span[0]
                for frames, span in zip(found, batch, strict=True)
            ]
            shown = [frames for frames, keep in zip(found, is_there, strict=True) if keep]
            if not shown:
                continue
            clips = [test_clip(frames.images, clover.config.inputs.frames) for frames in shown]
            vectors = clover.embed_clips(clips).cpu().numpy()
            name = str(video.resolve())
            kept = [span for span, keep in zip(batch, is_there, strict=True) if keep]
            for (start, end), vector in zip(kept, vectors, strict=True):
                made.append((Moment(video=name, start_seconds=start, end_seconds=end, signature=""), vector))
    return made, problem


def search(index: Index, clover: Clover, query: str, num_results: int) -> list[Hit]:
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
