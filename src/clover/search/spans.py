"""Windows that were found, merged into spans: what a user gets as a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clover.search.index import Hit, Moment


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a video that was found.

    Attributes:
        video: Path of the file.
        start_seconds: Where it begins.
        end_seconds: Where it ends.
        score: Of its best window; cosine similarity, -1 to 1.
        best: The window with that score.
        confidence: Share of meaningless queries whose best result in this library scores lower, 0 to 1; None where the
            library is not calibrated.
        reranked: What it was ordered by after re-ranking; None where it was not scored again.
    """

    video: str
    start_seconds: float
    end_seconds: float
    score: float
    best: Moment
    confidence: float | None = None
    reranked: float | None = None


def merge_windows(hits: Sequence[Hit], *, drop: float) -> list[Span]:
    """Join windows of a video that overlap or touch and score nearly as well as the best of them.

    From the best window on, a span grows at both ends while the next window of the list scores at most ``drop`` less
    than the best one. Windows that overlap a span and are not part of it are left out, so that spans never overlap.

    Args:
        hits: Windows that were found, best first.
        drop: Most that a window of a span may score less than its best one, 0 or more.

    Returns:
        Spans, best first, in the order of their best windows.
    """
    by_video: dict[str, list[Hit]] = {}
    for hit in hits:
        by_video.setdefault(hit.moment.video, []).append(hit)
    for found in by_video.values():
        found.sort(key=lambda hit: (hit.moment.start_seconds, hit.moment.end_seconds))
    taken: dict[str, list[tuple[float, float]]] = {}
    spans: list[Span] = []
    for hit in hits:
        others = taken.setdefault(hit.moment.video, [])
        if _overlaps(hit.moment.start_seconds, hit.moment.end_seconds, others):
            continue
        start, end = _grown(hit, by_video[hit.moment.video], hit.score - drop, others)
        others.append((start, end))
        spans.append(
            Span(video=hit.moment.video, start_seconds=start, end_seconds=end, score=hit.score, best=hit.moment)
        )
    return spans


def best_of_each_video(spans: Sequence[Span]) -> list[Span]:
    """The first span of every video, in the same order."""
    first: dict[str, Span] = {}
    for span in spans:
        first.setdefault(span.video, span)
    return list(first.values())


def _grown(seed: Hit, row: Sequence[Hit], least: float, others: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Start and end after taking in neighbours (``row``, in order of time) that score ``least`` or more."""
    start, end = seed.moment.start_seconds, seed.moment.end_seconds
    place = row.index(seed)
    for hit in row[place + 1 :]:
        moment = hit.moment
        grows = moment.start_seconds <= end + 1e-6 and hit.score >= least
        if not grows or _overlaps(start, max(end, moment.end_seconds), others):
            break
        end = max(end, moment.end_seconds)
    for hit in reversed(row[:place]):
        moment = hit.moment
        grows = moment.end_seconds >= start - 1e-6 and hit.score >= least
        if not grows or _overlaps(min(start, moment.start_seconds), end, others):
            break
        start = min(start, moment.start_seconds)
    return start, end


def _overlaps(start: float, end: float, others: Sequence[tuple[float, float]]) -> bool:
    return any(start < other_end and other_start < end for other_start, other_end in others)
