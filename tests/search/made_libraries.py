"""Libraries of a few moments, made without a model."""

import numpy as np

from clover.search.index import Moment, SearchOptions, create_index

WIDTH = 6


def moment(video="/films/a.mp4", start=0.0, **more):
    return Moment(video=video, start_seconds=start, end_seconds=start + 4, signature="1-2", **more)


def unit_rows(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def draw(count, width=WIDTH, seed=0):
    return unit_rows(np.random.default_rng(seed).normal(size=(count, width))).astype(np.float32)


def create(place, *, width=WIDTH, fingerprint="model-a", options=None):
    return create_index(
        place, width=width, fingerprint=fingerprint, details={"checkpoint": "c"}, options=options or SearchOptions()
    )


def varied(number):
    """Moments that differ in everything a filter may ask for; 4 of a video."""
    video = number // 4
    return moment(
        f'/films/{"old" if video % 3 else "new_%s" % (video % 2)}/{video}\'s "cut" é\\.mp4',
        float(number % 4),
        modified=1000.0 + video,
        video_seconds=10.0 * (video % 5),
        tags=("red", "ball")[: video % 3],
    )
