"""Retrieval figures from scores: ranks by a stated tie rule, recalls, chance, and intervals. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int

from clover.errors import DataError

TieRule = Literal["pessimistic", "optimistic", "expected"]
"""Where wrong items with the right item's score stand: all ahead of it, all behind it, or half of them ahead."""

_NUM_DRAWS = 1000
_NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True, kw_only=True)
class RetrievalMetrics:
    """Figures of one direction; recalls in percent, ranks from 1.

    Attributes:
        num_queries: Number of queries.
        num_gallery: Number of items each query is ranked against.
        recall_at_1: Share of queries whose right item is first.
        recall_at_5: ... among the first five.
        recall_at_10: ... among the first ten.
        median_rank: Median rank of the right item; a half is possible with an even number of queries.
        mean_rank: Mean rank of the right item.
        chance_recall_at_1: What a random order reaches.
        chance_recall_at_5: The same among the first five.
        chance_recall_at_10: The same among the first ten.
        intervals: 95 % bootstrap interval over queries, by the name of the figure; of a recall of 0 or 100 Wilson's.
    """

    num_queries: int
    num_gallery: int
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    median_rank: float
    mean_rank: float
    chance_recall_at_1: float
    chance_recall_at_5: float
    chance_recall_at_10: float
    intervals: dict[str, tuple[float, float]]

    @property
    def recall_at_all(self) -> float:
        """The published run's figure for choosing a checkpoint: R@1 + R@5 + R@10 - median rank."""
        return self.recall_at_1 + self.recall_at_5 + self.recall_at_10 - self.median_rank


def ranks(
    scores: Float[np.ndarray, "queries gallery"],
    right: Int[np.ndarray, " queries"],
    *,
    ties: TieRule = "pessimistic",
) -> Float64[np.ndarray, " queries"]:
    """Rank (from 1) of each query's right item.

    Args:
        scores: Higher is better.
        right: The right item's column, per query.
        ties: Where wrong items of the same score stand.

    Raises:
        DataError: a score is not a finite number, or there is nothing to rank.
    """
    if not scores.size:
        raise DataError("there is nothing to rank: no query or no item")
    if not np.isfinite(scores).all():
        raise DataError("a score is not a finite number: the model's embeddings are broken")
    own = np.take_along_axis(scores, right[:, None], axis=1)
    ahead = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1) - 1
    share = {"pessimistic": 1.0, "optimistic": 0.0, "expected": 0.5}[ties]
    return ahead + share * tied + 1.0


def metrics_from_ranks(
    found: Float64[np.ndarray, " queries"], num_gallery: int, *, num_right: int = 1
) -> RetrievalMetrics:
    """All figures from the ranks of the right items.

    Args:
        found: Rank (from 1) of the best right item of every query.
        num_gallery: Number of items ranked.
        num_right: Right items per query, for the chance level.
    """
    recall = {f"recall_at_{k}": (found <= k).astype(np.float64) * 100 for k in (1, 5, 10)}
    draws = np.random.default_rng(0).integers(len(found), size=(_NUM_DRAWS, len(found)))
    figures = {name: float(hits.mean()) for name, hits in recall.items()}
    intervals = {name: _recall_interval(hits, draws) for name, hits in recall.items()}
    figures["median_rank"], intervals["median_rank"] = (
        float(np.median(found)),
        _middle(np.median(found[draws], axis=1)),
    )
    figures["mean_rank"], intervals["mean_rank"] = float(found.mean()), _middle(found[draws].mean(axis=1))
    chance = {f"chance_recall_at_{k}": chance_recall(num_gallery, k, num_right) for k in (1, 5, 10)}
    return RetrievalMetrics(num_queries=len(found), num_gallery=num_gallery, intervals=intervals, **figures, **chance)


def retrieval_metrics(
    scores: Float[np.ndarray, "queries gallery"],
    right: Int[np.ndarray, " queries"],
    *,
    ties: TieRule = "pessimistic",
) -> RetrievalMetrics:
    """Figures of queries with one right item each; see `ranks`."""
    return metrics_from_ranks(ranks(scores, right, ties=ties), scores.shape[1])


def chance_recall(num_gallery: int, k: int, num_right: int = 1) -> float:
    """Percent of random orders that put at least one of ``num_right`` right items among the first ``k``."""
    miss = 1.0
    for place in range(min(k, num_gallery)):
        miss *= max(0, num_gallery - num_right - place) / (num_gallery - place)
    return 100 * (1 - miss)


def similarities(
    texts: Float[np.ndarray, "texts d"], videos: Float[np.ndarray, "videos d"]
) -> Float[np.ndarray, "texts videos"]:
    """Cosine similarities of embeddings of any length."""
    return _normalised(texts) @ _normalised(videos).T


def dual_softmax(
    scores: Float[np.ndarray, "texts videos"], *, temperature: float = 0.05
) -> Float[np.ndarray, "texts videos"]:
    """Scores times their softmax over all texts (Cheng et al., CAMoE, 2021): a video wants few texts.

    It needs the whole set of queries, so figures made with it are not comparable with those made without.
    """
    sharp = scores / temperature
    weights = np.exp(sharp - sharp.max(axis=0, keepdims=True))
    return scores * weights / weights.sum(axis=0, keepdims=True)


def both_directions(
    scores: Float[np.ndarray, "texts videos"],
    video_of_text: Int[np.ndarray, " texts"],
    *,
    ties: TieRule = "pessimistic",
) -> dict[Literal["text_to_video", "video_to_text"], RetrievalMetrics]:
    """Text-to-video and video-to-text figures.

    Every text is a query against all videos; every video is a query against all texts and is found by the best
    ranked of its own.

    Args:
        scores: Of every text with every distinct video.
        video_of_text: Each text's video.
        ties: Where wrong items of the same score stand.

    Raises:
        DataError: a score is not finite, or a video has no text.
    """
    num_texts, num_videos = scores.shape
    found: Float64[np.ndarray, " videos"] = np.full(num_videos, np.inf)
    for column in range(num_videos):
        own = np.flatnonzero(video_of_text == column)
        if not len(own):
            raise DataError(f"video number {column} has no text to be found by")
        wrong = np.delete(scores[:, column], own)
        best = scores[own, column].max()
        if not np.isfinite(scores[:, column]).all():
            raise DataError("a score is not a finite number: the model's embeddings are broken")
        share = {"pessimistic": 1.0, "optimistic": 0.0, "expected": 0.5}[ties]
        found[column] = 1 + (wrong > best).sum() + share * (wrong == best).sum()
    per_video = max(1, round(num_texts / num_videos))
    return {
        "text_to_video": retrieval_metrics(scores, video_of_text, ties=ties),
        "video_to_text": metrics_from_ranks(found, num_texts, num_right=per_video),
    }


def _normalised(embeddings: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-8)


def wilson_end(is_all: bool, number: int) -> tuple[float, float]:
    """95 % interval in percent (Wilson 1927) of a share of which every redrawn sample is the same: none, or all.

    Args:
        is_all: Every draw was a hit; if not, none was.
        number: Independent draws, at least 1.
    """
    width = 100 * _NORMAL_QUANTILE**2 / (number + _NORMAL_QUANTILE**2)
    return (100 - width, 100.0) if is_all else (0.0, width)


def _recall_interval(hits: Float64[np.ndarray, " queries"], draws: Int[np.ndarray, "n queries"]) -> tuple[float, float]:
    if hits.min() == hits.max():
        return wilson_end(bool(hits.all()), len(hits))
    return _middle(hits[draws].mean(axis=1))


def _middle(values: Float64[np.ndarray, " draws"]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
