"""Spans that were found as clips in a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clover.data.cutting import CutClip, cut_video
from clover.errors import MediaError
from clover.files import check_writable
from clover.search.spans import Span

_LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written."""

    clips: list[CutClip]
    skipped: dict[str, str]
    """Videos of which no clip could be made, and why."""


def export_clips(spans: Sequence[Span], folder: Path, *, exact: bool = False) -> ExportReport:
    """Write each span as a playable MP4 named by its rank, its video and its times.

    Args:
        spans: Best first.
        folder: Where to; it is made. Clips of the same names are replaced.
        exact: Cut exactly, by encoding anew; otherwise packets are copied from the key frame before.

    Raises:
        WriteError: the folder cannot be written.
    """
    check_writable(folder)
    report = ExportReport(clips=[], skipped={})
    for rank, span in enumerate(spans, start=1):
        path = folder / clip_name(rank, span)
        try:
            report.clips.append(cut_video(Path(span.video), path, span.start_seconds, span.end_seconds, exact=exact))
        except (MediaError, FileNotFoundError) as error:
            report.skipped[span.video] = str(error)
    return report


def clip_name(rank: int, span: Span) -> str:
    """Such as ``03-holiday-12.0-16.0.mp4``; only letters, digits, dots and dashes of the video's name are kept."""
    stem = re.sub(r"[^\w.-]+", "_", Path(span.video).stem)[:_LONGEST_NAME]
    return f"{rank:02d}-{stem}-{span.start_seconds:.1f}-{span.end_seconds:.1f}.mp4"
