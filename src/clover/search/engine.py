"""A library for a model; a sentence to ranked spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clover.errors import ConfigError
from clover.pipeline import Clover
from clover.search.confidence import calibration_of
from clover.search.index import Filter, Hit, Index, create_index, is_library, open_index
from clover.search.notes import knows_no_word
from clover.search.rerank import RerankConfig, VideoTokens, reranked
from clover.search.spans import Span, best_of_each_video, merge_windows
from clover.search.windows import WindowConfig

_FEWEST_WINDOWS = 100
_MOST_WINDOWS = 4096
"""More windows than these are fetched only to have enough results, not to find the ends of spans."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What counts as a result."""

    merge_drop: float = 0.1
    """Neighbouring windows are part of a result if they score at most this much less than its best one."""
    by_video: bool = False
    """Give one result per video, its best span, in place of all spans."""
    min_confidence: float = 0.0
    """Leave out results of less confidence; 0.95 keeps what 95 in 100 meaningless queries do not reach."""

    def __post_init__(self) -> None:
        if not 0 <= self.merge_drop <= 2:
            raise ConfigError(f"merge_drop is {self.merge_drop}; use 0 (merge nothing but equals) to 2")
        if not 0 <= self.min_confidence < 1:
            raise ConfigError(f"min_confidence is {self.min_confidence}; use 0 (keep all) to 0.99")


DEFAULT_SEARCH = SearchConfig()


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
        width = clover.config.model.embedding_width
        details = {**windows.as_details(), "checkpoint": checkpoint}
        return create_index(place, width=width, fingerprint=clover.fingerprint, details=details)
    return open_index(place, fingerprint=clover.fingerprint)


def gone_videos(index: Index) -> list[str]:
    """Videos of a library whose files are no longer where they were."""
    return [video for video in index.videos() if _is_gone(Path(video))]


def _is_gone(path: Path) -> bool:
    """Whether there is nothing at a place; where nobody may look, it may well be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


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


def search(
    index: Index,
    clover: Clover,
    query: str,
    num_results: int,
    config: SearchConfig = DEFAULT_SEARCH,
    *,
    where: Filter | None = None,
    rerank: RerankConfig | None = None,
    tokens: VideoTokens | None = None,
    vector: Float[np.ndarray, " d"] | None = None,
) -> list[Span]:
    """The best spans for a sentence, best first, with their confidence; spans of a video do not overlap.

    The confidence is 0 where the model knows no word of the sentence, whatever the scores.

    Args:
        index: The library.
        clover: The model that made it.
        query: The sentence.
        num_results: Most spans.
        config: What counts as a result.
        where: Which videos are looked at.
        rerank: How the best are scored again by the fusion encoder; None does not.
        tokens: Encoded windows of earlier searches, to be kept between searches.
        vector: The normalised embedding of the sentence, where it is known already.

    Raises:
        TextError: the sentence is empty.
    """
    if not len(index):
        return []
    if vector is None:
        vector = clover.encode_text(query).cpu().numpy()
    calibration = calibration_of(index, clover)
    num_candidates = max(num_results, rerank.rerank if rerank is not None else 0)
    spans = nearest_spans(index, vector, num_candidates, config, where)
    means_nothing = knows_no_word(clover, query)
    sure = [replace(span, confidence=0.0 if means_nothing else calibration.confidence(span.score)) for span in spans]
    kept = [span for span in sure if span.confidence is None or span.confidence >= config.min_confidence]
    if rerank is not None and rerank.rerank:
        kept = reranked(kept, query, tokens or VideoTokens(clover), clover, rerank)
    return kept[:num_results]


def nearest_spans(
    index: Index,
    vector: Float[np.ndarray, " d"],
    num_results: int,
    config: SearchConfig = DEFAULT_SEARCH,
    where: Filter | None = None,
) -> list[Span]:
    """The best spans for a normalised vector, best first, without confidence."""
    wanted = max(_FEWEST_WINDOWS, 4 * num_results)
    while True:
        wanted = min(len(index), wanted)
        hits = index.nearest(vector, wanted, where)[0] if wanted else []
        spans = merge_windows(hits, drop=config.merge_drop)
        if config.by_video:
            spans = best_of_each_video(spans)
        if len(hits) < wanted or wanted == len(index) or _is_whole(hits, spans, num_results, config.merge_drop):
            return spans[:num_results]
        wanted *= 4


def _is_whole(hits: Sequence[Hit], spans: Sequence[Span], num_results: int, drop: float) -> bool:
    """Whether there are enough spans, and no further window could be part of one of them."""
    if len(spans) < num_results:
        return False
    return hits[-1].score < spans[num_results - 1].score - drop or len(hits) >= _MOST_WINDOWS
