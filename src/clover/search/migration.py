"""Another model takes a library over: the moments stay, their vectors are made anew from the videos."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from clover.data.video import OpenVideo
from clover.errors import LibraryError, MediaError
from clover.pipeline import Clover
from clover.search.confidence import NULL_SCORES, calibrate
from clover.search.index import Index, Moment
from clover.search.indexing import UNFINISHED
from clover.search.interface import VideoRecord
from clover.search.stopping import StopsBetween
from clover.search.upkeep import sample_queries

_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class MigrationReport:
    """What a migration did."""

    num_videos: int
    """Videos whose moments were embedded anew, in this call."""
    num_before: int
    """Those that an earlier call had done."""
    missing: dict[str, str]
    """Videos that could not be embedded anew and are no longer in the library, and why."""


def migrate(
    index: Index,
    clover: Clover,
    *,
    checkpoint: str,
    drop_missing: bool = False,
    progress: Callable[[int, int], None] | None = None,
    save_seconds: float = 60.0,
) -> MigrationReport:
    """Embed every moment of a library anew with another model, and make that the library, in one transaction.

    Meanwhile the library answers as before, by the model that made it. Interrupted, the same call goes on where it was.

    Args:
        index: The library.
        clover: The model that takes it over.
        checkpoint: Where that is, remembered in the library.
        drop_missing: Leave videos out that can no longer be read; else they are an error.
        progress: Told how many of the videos are done.
        save_seconds: Time between two saves.

    Raises:
        LibraryError: the library is of this model already, is half indexed, was changed meanwhile, or videos of it can
            no longer be read; what was done is kept.
        KeyboardInterrupt: interrupted; what was done is kept.
    """
    if index.fingerprint == clover.fingerprint:
        raise LibraryError(f"{index.place} is of model {clover.fingerprint} already; there is nothing to migrate")
    if unfinished := index.details.get(UNFINISHED):
        raise LibraryError(
            f"{index.place} is not finished: {len(unfinished)} videos are half indexed "
            f"(first: {next(iter(unfinished))}); run its clover index again first"
        )
    kept = {name: value for name, value in index.details.items() if name != NULL_SCORES}
    successor = index.migration(
        width=clover.config.model.embedding_width,
        fingerprint=clover.fingerprint,
        details=kept | {"checkpoint": checkpoint},
    )
    with successor.locked(), StopsBetween() as stops:
        report = _Migration(index, successor, clover, stops).run(progress, save_seconds)
        if report.missing and not drop_missing:
            reason = next(iter(report.missing.values()))
            raise LibraryError(
                f"{len(report.missing)} of {len(index.videos())} videos of {index.place} cannot be embedded anew "
                f"(first: {reason}); bring them back, or leave them out with --drop-missing: "
                "the library is as it was, and the others are done"
            )
        if not len(successor):
            raise LibraryError(f"no video of {index.place} can be embedded anew; bring them back")
    with index.locked():
        calibrate(successor, clover)
        successor.sample_queries = sample_queries(clover)
        index.adopt(successor)
    return report


class _Migration:
    """One call of `migrate`, up to where the successor is whole."""

    def __init__(self, index: Index, successor: Index, clover: Clover, stops: StopsBetween) -> None:
        self.index, self.successor, self.clover, self.stops = index, successor, clover, stops
        self.missing: dict[str, str] = {}
        self.num_videos = 0

    def run(self, progress: Callable[[int, int], None] | None, save_seconds: float) -> MigrationReport:
        wanted, done = self.index.video_records(), set(self.successor.video_records())
        # what was removed or changed since an earlier call is not to come back
        self.successor.remove_all({record.video for record in done - set(wanted)})
        done &= set(self.successor.video_records())
        next_save = time.monotonic() + save_seconds
        try:
            for number, record in enumerate(wanted, start=1):
                if record not in done:
                    self._take(record)
                    if time.monotonic() >= next_save:
                        self._save()
                        next_save = time.monotonic() + save_seconds
                if progress is not None:
                    progress(number, len(wanted))
        finally:
            self._save()
        return MigrationReport(num_videos=self.num_videos, num_before=len(done), missing=self.missing)

    def _save(self) -> None:
        with self.stops.held():
            self.successor.save()

    def _take(self, record: VideoRecord) -> None:
        moments = [moment for moment in self.index.moments_of(record.video) if VideoRecord.of(moment) == record]
        moments.sort(key=lambda moment: (moment.start_seconds, moment.end_seconds))
        try:
            vectors = embed_spans(self.clover, record.video, moments)
        except (MediaError, OSError) as error:
            self.missing[record.video] = str(error)
            return
        with self.stops.held():
            self.successor.add(moments, vectors)
            self.num_videos += 1


def embed_spans(clover: Clover, video: str, moments: list[Moment]) -> Float32[np.ndarray, "n d"]:
    """Vectors of spans of a video.

    Args:
        clover: The model.
        video: Path of the file.
        moments: The spans, in the order of their starts.

    Raises:
        MediaError: the file is missing or cannot be read, or nothing can be decoded where a moment is.
    """
    vectors = []
    with OpenVideo(Path(video)) as opened:
        spans = [(moment.start_seconds, moment.end_seconds) for moment in moments]
        clips: list[np.ndarray] = []
        for number, frames in enumerate(clover.span_frames(opened, spans), start=1):
            if frames is None:
                raise MediaError(f"{video}: nothing can be decoded at {spans[number - 1][0]:g} s; fetch it again")
            clips.append(frames.images)
            if len(clips) == _BATCH or number == len(spans):
                vectors.append(clover.embed_clips(clips).cpu().numpy())
                clips = []
    return np.concatenate(vectors).astype(np.float32)
