"""Checks across rows: files that are another one than their name says, and splits that share videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from clover.data.annotations.media import AnyRecord, Record, media_stem
from clover.errors import DataError
from clover.types import MultiChoice

_FEWEST_ROWS_TO_JUDGE = 3


def check_options_are_shuffled(path: Path, questions: Sequence[MultiChoice]) -> None:
    """Refuse a test file whose right option is always the first: every model that prefers the first would score 100 %.

    Files of less than three rows pass: there it may be chance.

    Raises:
        DataError: Every label is 0.
    """
    if len(questions) >= _FEWEST_ROWS_TO_JUDGE and not any(question.label for question in questions):
        raise DataError(
            f"{path}: expected right options in every place, found the first one in all {len(questions):,} rows; this "
            "is an unshuffled training file, fetch the test file"
        )


def shared_videos(train: Iterable[AnyRecord], test: Iterable[AnyRecord]) -> tuple[str, ...]:
    """Names, without folder and extension, of the videos that occur in both, sorted."""
    return tuple(sorted({media_stem(row.video.name) for row in train} & {media_stem(row.video.name) for row in test}))


def check_no_video_is_shared(train: Iterable[AnyRecord], test: Iterable[AnyRecord]) -> None:
    """Refuse to test on videos seen in training.

    Raises:
        DataError: A video occurs in both.
    """
    shared = shared_videos(train, test)
    if shared:
        raise DataError(
            f"{len(shared):,} test videos are also training videos (first: {shared[0]}); train on another split "
            "(--train-split)"
        )


def hold_out_videos(records: Sequence[Record], fraction: float, *, seed: int = 0) -> tuple[list[Record], list[Record]]:
    """Split records by video, for benchmarks without a validation split.

    Args:
        records: Training rows.
        fraction: Share of the videos to hold out, between 0 and 1; at least one video is held out and one kept.
        seed: Which videos are drawn.

    Returns:
        The rows of the videos that are kept, and those of the ones held out, both in their order.

    Raises:
        DataError: The fraction is out of range, or there are less than two videos.
    """
    videos = sorted({row.video for row in records})
    if not 0 < fraction < 1 or len(videos) < 2:
        raise DataError(f"cannot hold out a share of {fraction} of {len(videos)} videos; give 0 < share < 1")
    order = np.random.default_rng([seed]).permutation(len(videos))
    num_held_out = min(max(1, round(fraction * len(videos))), len(videos) - 1)
    held_out = {videos[place] for place in order[:num_held_out]}
    kept = [row for row in records if row.video not in held_out]
    return kept, [row for row in records if row.video in held_out]
