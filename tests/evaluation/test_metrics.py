"""Figures against brute force, ties and edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.errors import DataError
from clover.evaluation.metrics import (
    both_directions,
    chance_recall,
    dual_softmax,
    metrics_from_ranks,
    ranks,
    retrieval_metrics,
    similarities,
)
from clover.evaluation.open_answer import mean_interval, share_interval


def brute_force_rank(row, right, rule):
    wrong = [score for place, score in enumerate(row) if place != right]
    ahead = sum(score > row[right] for score in wrong)
    tied = sum(score == row[right] for score in wrong)
    return 1 + ahead + {"pessimistic": tied, "optimistic": 0, "expected": tied / 2}[rule]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 10_000),
    st.sampled_from(["pessimistic", "optimistic", "expected"]),
)
def test_ranks_are_brute_force(queries, gallery, seed, rule):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 4, size=(queries, gallery)).astype(float)
    right = generator.integers(0, gallery, size=queries)
    found = ranks(scores, right, ties=rule)
    assert found.tolist() == [brute_force_rank(row, place, rule) for row, place in zip(scores, right, strict=True)]
    metrics = retrieval_metrics(scores, right, ties=rule)
    assert metrics.recall_at_5 == pytest.approx(100 * np.mean(found <= 5))
    assert metrics.median_rank == np.median(found)
    low, high = metrics.intervals["recall_at_1"]
    assert low <= metrics.recall_at_1 <= high


def test_collapsed_embeddings_are_the_worst_and_not_the_best():
    same = np.ones((20, 3))
    found = both_directions(similarities(same, same), np.arange(20))
    for metrics in found.values():
        assert metrics.recall_at_10 == 0.0
        assert metrics.median_rank == 20


def test_a_video_is_found_by_the_best_of_its_texts():
    videos = np.eye(3)
    texts = np.array([[1.0, 0, 0], [0, 1, 0.2], [0.9, 0.1, 0], [0, 0, 1], [0, 0, 1.0]])
    found = both_directions(similarities(texts, videos), np.array([0, 1, 1, 2, 2]))
    assert found["text_to_video"].num_queries == 5
    assert found["text_to_video"].recall_at_1 == pytest.approx(80.0)
    assert found["video_to_text"].num_queries == 3
    assert found["video_to_text"].recall_at_1 == pytest.approx(100.0)


@pytest.mark.parametrize(("gallery", "k", "right"), [(500, 10, 1), (8, 5, 2), (3, 10, 1), (7, 3, 7)])
def test_chance_is_what_random_orders_reach(gallery, k, right):
    generator = np.random.default_rng(0)
    hits = [(generator.permutation(gallery)[:right] < k).any() for _ in range(4000)]
    assert chance_recall(gallery, k, right) == pytest.approx(100 * np.mean(hits), abs=3)


def test_broken_scores_are_refused():
    with pytest.raises(DataError, match="not a finite number"):
        ranks(np.array([[np.nan, 1.0]]), np.array([0]))
    with pytest.raises(DataError, match="nothing to rank"):
        ranks(np.zeros((0, 3)), np.zeros(0, dtype=int))
    with pytest.raises(DataError, match="no text"):
        both_directions(similarities(np.eye(2), np.eye(3)[:, :2]), np.array([0, 1]))


def test_dual_softmax_is_the_textbooks_and_helps_against_a_video_that_every_text_finds():
    generator = np.random.default_rng(0)
    scores = generator.uniform(-1, 1, (6, 4))
    expected = [
        [scores[i, j] * np.exp(scores[i, j] / 0.05) / np.exp(scores[:, j] / 0.05).sum() for j in range(4)]
        for i in range(6)
    ]
    np.testing.assert_allclose(dual_softmax(scores), expected)
    hub = np.eye(5) * 0.5
    hub[:, 0] = 0.6
    hub[0, 0] = 0.7
    right = np.arange(5)
    assert retrieval_metrics(hub, right).recall_at_1 == 20
    assert retrieval_metrics(dual_softmax(hub), right).recall_at_1 == 100


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 500), st.integers(1, 3))
def test_no_or_all_right_is_not_certain(num_videos, rows_per_video):
    """The ends of Wilson's interval solve (share - p)^2 = z^2 p (1 - p) / n."""
    videos = [f"v{place}" for place in range(num_videos)] * rows_per_video
    low, high = share_interval(np.zeros(len(videos), dtype=bool), videos)
    assert low == 0 < high < 100
    assert (high / 100) ** 2 == pytest.approx(1.959964**2 * high / 100 * (1 - high / 100) / num_videos)
    assert share_interval(np.ones(len(videos), dtype=bool), videos) == (pytest.approx(100 - high), 100)
    found = metrics_from_ranks(np.ones(num_videos), num_videos)
    assert found.intervals["recall_at_1"] == (pytest.approx(100 - high), 100)


def test_other_shares_are_bootstrapped():
    right = np.arange(40) % 3 == 0
    videos = [place // 2 for place in range(40)]
    assert share_interval(right, videos) == mean_interval(right.astype(np.float64), videos)
