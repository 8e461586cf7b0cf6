"""Where videos are cut, and how found windows become spans."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.errors import LibraryError
from clover.search.index import Hit, Moment
from clover.search.spans import best_of_each_video, merge_windows
from clover.search.windows import WindowConfig


@given(duration=st.floats(0.04, 5000), length=st.floats(0.1, 60), share=st.floats(0.01, 1))
def test_windows_cover_the_video_without_gaps(duration, length, share):
    if duration / (length * share) > 5000:
        return
    spans = WindowConfig(length_seconds=length, stride_seconds=length * share).spans(duration)
    assert spans[0][0] == 0
    assert spans[-1][1] == pytest.approx(duration)
    for (start, end), (next_start, next_end) in pairwise(spans):
        assert start < next_start <= end + 1e-9
        assert next_end > end - 1e-9
    assert all(0 < end - start <= length + 1e-9 for start, end in spans)


@given(duration=st.floats(0.1, 500), cuts=st.lists(st.floats(0.01, 500), max_size=20), length=st.floats(0.5, 20))
def test_windows_of_shots_cover_the_video_and_reach_over_no_cut(duration, cuts, length):
    windows = WindowConfig(length_seconds=length, stride_seconds=length / 2, shortest_shot_seconds=0.0)
    cuts = sorted(set(cuts))
    spans = windows.spans(duration, cuts)
    assert spans[0][0] == 0
    assert spans[-1][1] == pytest.approx(duration)
    assert all(next_start <= end + 1e-6 for (_, end), (next_start, _) in pairwise(spans))
    for start, end in spans:
        assert not any(start + 1e-5 < cut < end - 1e-5 for cut in cuts)


def test_short_shots_belong_to_the_one_before():
    windows = WindowConfig(length_seconds=4.0, stride_seconds=2.0, shortest_shot_seconds=1.0)
    assert windows.spans(8.0, [3.0, 3.5, 7.5]) == [(0.0, 3.0), (3.0, 7.0), (4.0, 8.0)]


@pytest.mark.parametrize(
    ("length", "stride"), [(0.0, 0.0), (2.0, 3.0), (2.0, 0.0), (-1.0, -2.0), (float("inf"), 1.0), (float("nan"), 1.0)]
)
def test_windows_with_gaps_are_refused(length, stride):
    with pytest.raises(LibraryError, match="gaps"):
        WindowConfig(length_seconds=length, stride_seconds=stride)


@given(shots=st.booleans(), length=st.floats(1, 9))
def test_a_library_remembers_its_windows(shots, length):
    windows = WindowConfig(length_seconds=length, shots=shots, stride_seconds=1.0)
    assert WindowConfig.from_details(windows.as_details()) == windows


def hit(start, score, video="a", length=2.0):
    moment = Moment(video=video, start_seconds=start, end_seconds=start + length, signature="")
    return Hit(moment=moment, score=score)


def test_neighbours_that_score_nearly_as_well_become_one_span():
    hits = [hit(4.0, 0.9), hit(5.0, 0.85), hit(3.0, 0.82), hit(9.0, 0.81), hit(2.0, 0.5), hit(6.0, 0.4)]
    (first, second) = merge_windows(hits, drop=0.1)
    assert (first.start_seconds, first.end_seconds, first.score) == (3.0, 7.0, 0.9)
    assert first.best == hits[0].moment
    assert (second.start_seconds, second.end_seconds) == (9.0, 11.0)


found = st.lists(
    st.tuples(st.integers(0, 30), st.floats(-1, 1), st.sampled_from("ab")), unique_by=lambda row: (row[0], row[2])
)


@given(found=found, drop=st.floats(0, 2))
def test_spans_are_disjoint_made_of_windows_and_best_first(found, drop):
    hits = sorted((hit(float(start), score, video) for start, score, video in found), key=lambda one: -one.score)
    spans = merge_windows(hits, drop=drop)
    assert [span.score for span in spans] == sorted((span.score for span in spans), reverse=True)
    for span in spans:
        assert any(one.moment == span.best and one.score == span.score for one in hits)
        assert span.start_seconds <= span.best.start_seconds
        assert span.best.end_seconds <= span.end_seconds
    for video in "ab":
        rows = sorted((span.start_seconds, span.end_seconds) for span in spans if span.video == video)
        assert all(end <= start for (_, end), (start, _) in pairwise(rows))
        assert len(rows) >= bool([one for one in hits if one.moment.video == video])
    firsts = best_of_each_video(spans)
    assert len(firsts) == len({one.moment.video for one in hits})
    assert all(span in spans for span in firsts)
