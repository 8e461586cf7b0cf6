"""Videos to a library of moments: only what is new or changed, in bounded memory, ready to be interrupted."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clover.data.shots import find_cuts
from clover.data.video import OpenVideo, probe
from clover.errors import LibraryError, MediaError
from clover.pipeline import Clover
from clover.search.confidence import calibrate
from clover.search.index import Index, Moment
from clover.search.stopping import StopsBetween
from clover.search.upkeep import compact_if_due
from clover.search.windows import Interval, WindowConfig
from clover.types import Frames

ShowProgress = Callable[[int, int, float], None]
"""Called with videos done, videos, and the share of the work that is done, 0 to 1."""

UNFINISHED = "unfinished"
"""Name of the detail of a library that says how many windows of a video are in it, while some are not."""


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


@dataclass(frozen=True, kw_only=True)
class EmbeddedWindows:
    """Some windows of a video, in order."""

    spans: list[Interval]
    vectors: Float[np.ndarray, "n d"]
    """Normalised embeddings, one for each span."""
    num_done: int
    """Windows of the video up to here, those of which nothing can be seen among them."""
    num_windows: int
    """Windows of the whole video."""
    video_seconds: float
    """Length of the video."""
    problem: str | None
    """What was missing, or None."""


def signature(path: Path) -> str:
    """Size and modification time of a file: when they change, it is indexed anew."""
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def in_part(video: Path, index: int, count: int) -> bool:
    """Whether a video belongs to part ``index`` of ``count``; by its path alone, so that it stays when others come."""
    return zlib.crc32(str(video.resolve()).encode(errors="surrogateescape")) % count == index


def index_videos(
    index: Index,
    clover: Clover,
    videos: Sequence[Path],
    windows: WindowConfig,
    *,
    tags: Sequence[str] = (),
    strict: bool = False,
    progress: ShowProgress | None = None,
    save_seconds: float = 60.0,
) -> IndexingReport:
    """Add the moments of videos that are new or have changed, and save.

    Interrupted (SIGINT, SIGTERM), what was done is saved; called again, it goes on there, in the middle of a long
    video too.

    Args:
        index: The library.
        clover: The model that makes its vectors.
        videos: Files.
        windows: How videos are cut.
        tags: Given to every moment that is added.
        strict: Stop at a file that cannot be read.
        progress: Told of every step.
        save_seconds: Most time between two saves, longer where saving itself takes more than a tenth of it.

    Raises:
        MediaError: with ``strict``, a file that cannot be read; what was indexed before it is saved.
        LibraryError: the library's videos were cut in another way, or it cannot be written.
        KeyboardInterrupt: interrupted.
    """
    _check_windows(index, windows)
    with index.locked(), StopsBetween() as stops:
        indexing = _Indexing(index, clover, windows, tuple(tags), strict=strict, stops=stops)
        return indexing.run(videos, progress, save_seconds)


class _Indexing:
    """One call of `index_videos`."""

    def __init__(
        self,
        index: Index,
        clover: Clover,
        windows: WindowConfig,
        tags: tuple[str, ...],
        *,
        strict: bool,
        stops: StopsBetween,
    ) -> None:
        self.index, self.clover, self.windows, self.tags = index, clover, windows, tags
        self.strict, self.stops = strict, stops
        self.known = {record.video: record.signature for record in index.video_records()}
        self.unfinished: dict[str, int] = index.details.setdefault(UNFINISHED, {})
        self.report = IndexingReport(added=[], unchanged=[], skipped={}, damaged={}, num_moments=0)
        self.is_changed, self.was_there = False, bool(self.known)

    def run(self, videos: Sequence[Path], progress: ShowProgress | None, save_seconds: float) -> IndexingReport:
        sizes = [self._num_bytes(video) for video in videos]
        total, done_bytes = max(1, sum(sizes)), 0
        self._next_save = time.monotonic() + save_seconds
        self._save_seconds = save_seconds
        try:
            for number, (video, size) in enumerate(zip(videos, sizes, strict=True)):
                for share in self._attempt(video):
                    if progress is not None:
                        progress(number, len(videos), (done_bytes + share * size) / total)
                    if time.monotonic() >= self._next_save:
                        self._save()
                done_bytes += size
                if progress is not None:
                    progress(number + 1, len(videos), done_bytes / total if done_bytes else 1.0)
            if self.is_changed and len(self.index):
                calibrate(self.index, self.clover)
                if compact_if_due(self.index, self.clover):
                    self.is_changed = False
        finally:
            self._save()
        return replace(self.report, num_moments=len(self.index))

    def _save(self) -> None:
        """Save what has changed, if anything has; of nothing no library is made."""
        if not self.is_changed or not (len(self.index) or self.was_there):
            return
        with self.stops.held():
            before = time.monotonic()
            self.index.save()
            self.is_changed, self.was_there = False, True
            now = time.monotonic()
            self._next_save = now + max(self._save_seconds, 10 * (now - before))

    def _num_bytes(self, video: Path) -> int:
        """How much work a file is likely to be; 0 where none is expected."""
        try:
            return 0 if self._is_there(str(video.resolve()), signature(video)) else video.stat().st_size
        except OSError:
            return 0

    def _is_there(self, name: str, stamp: str) -> bool:
        return self.known.get(name) == stamp and name not in self.unfinished

    def _attempt(self, video: Path) -> Iterator[float]:
        """Index one video; gives the share of it that is done, again and again. What cannot be read is noted."""
        name = str(video.resolve())
        try:
            yield from self._take(video, name)
        except (MediaError, OSError) as error:
            reason = f"{video}: {error.strerror}" if isinstance(error, OSError) else str(error)
            if name in self.unfinished:  # half of it is no use
                self._forget(name)
            if self.strict:
                raise MediaError(reason) from error
            self.report.skipped[str(video)] = reason

    def _take(self, video: Path, name: str) -> Iterator[float]:
        stamp = signature(video)
        if self._is_there(name, stamp):
            self.report.unchanged.append(name)
            return
        first = self.unfinished.get(name, 0) if self.known.get(name) == stamp else 0
        has_begun, num_added = first > 0, 0
        for batch in embed_windows(self.clover, video, self.windows, first=first):
            if signature(video) != stamp:
                raise MediaError(f"{video}: was changed while it was read; index it again when it is complete")
            if batch.problem is not None:
                self.report.damaged[str(video)] = f"{video}: {batch.problem}"
            with self.stops.held():
                if not has_begun:
                    self._forget(name)
                    has_begun = True
                self.index.add(self._moments(batch, name, stamp), batch.vectors)
                self.known[name], self.unfinished[name] = stamp, batch.num_done
                self.is_changed = True
            num_added += len(batch.spans)
            yield batch.num_done / batch.num_windows
        if not first and not num_added:
            raise MediaError(f"{video}: nothing of it can be decoded; fetch it again or leave it out")
        with self.stops.held():
            self.unfinished.pop(name, None)
            self.is_changed = True
        self.report.added.append(name)

    def _forget(self, name: str) -> None:
        with self.stops.held():
            # asked of new videos too, the index would make a part of what was added for each, and look into all of them
            if name in self.known and self.index.remove(name):
                self.is_changed = True
            self.known.pop(name, None)
            self.unfinished.pop(name, None)

    def _moments(self, batch: EmbeddedWindows, name: str, stamp: str) -> list[Moment]:
        modified = int(stamp.partition("-")[2]) / 1e9
        return [
            Moment(
                video=name,
                start_seconds=start,
                end_seconds=end,
                signature=stamp,
                tags=self.tags,
                modified=modified,
                video_seconds=batch.video_seconds,
            )
            for start, end in batch.spans
        ]


def _check_windows(index: Index, windows: WindowConfig) -> None:
    """Moments of different lengths would not compete fairly."""
    there = WindowConfig.from_details(index.details)
    if len(index) and there.as_details() != windows.as_details():
        raise LibraryError(
            f"{index.place} is cut into {there}; extend it with the same windows, or make another library"
        )


def embed_windows(
    clover: Clover, video: Path, windows: WindowConfig, *, first: int = 0, batch_size: int = 32
) -> Iterator[EmbeddedWindows]:
    """Windows of one video with their embeddings, a batch at a time.

    A frame is decoded once, and held no longer than the windows it belongs to.

    Args:
        clover: The model.
        video: File.
        windows: How it is cut.
        first: How many windows to leave out at the beginning.
        batch_size: Most windows a batch.

    Raises:
        MediaError: the video cannot be read.
    """
    with OpenVideo(video) as opened:
        seconds = probe(opened).duration_seconds
        spans = windows.spans(seconds, find_cuts(opened) if windows.shots else ())
        batch: list[tuple[Interval, Frames]] = []
        problem: str | None = None
        for number, frames in enumerate(clover.span_frames(opened, spans[first:]), start=first + 1):
            span = spans[number - 1]
            if frames is not None:
                problem = problem or frames.problem
                # after the place where a file breaks off, earlier frames stand in: there is nothing to be found there
                if frames.problem is None or frames.seconds.max() >= span[0]:
                    batch.append((span, frames))
            if len(batch) == batch_size or number == len(spans):
                yield EmbeddedWindows(
                    spans=[one for one, _ in batch],
                    vectors=_embed(clover, [one.images for _, one in batch]),
                    num_done=number,
                    num_windows=len(spans),
                    video_seconds=seconds,
                    problem=problem,
                )
                batch = []


def _embed(clover: Clover, clips: list[np.ndarray]) -> Float[np.ndarray, "n d"]:
    if not clips:
        return np.zeros((0, clover.config.model.embedding_width), dtype=np.float32)
    return clover.embed_clips(clips).cpu().numpy()
