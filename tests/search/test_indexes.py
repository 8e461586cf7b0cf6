"""What every index does, wherever it is kept: a folder, or a real Milvus server."""

import numpy as np
import pytest
from made_libraries import WIDTH, create, draw, moment, varied

from clover.errors import LibraryError
from clover.search.index import Filter, SearchOptions, is_library, open_index


def filled(place, count=80):
    index = create(place)
    vectors = draw(count)
    index.add([varied(number) for number in range(count)], vectors)
    return index, vectors


def expected(moments, vectors, query, count, where=None):
    scores = vectors @ query / np.linalg.norm(query)
    admitted = [place for place in np.argsort(-scores, kind="stable") if where is None or where(moments[place])]
    return [moments[place] for place in admitted[:count]], scores[admitted[:count]]


def test_what_is_saved_is_found_again_by_all_who_open_it(place):
    assert not is_library(place)
    index, vectors = filled(place)
    moments = [varied(number) for number in range(80)]
    queries = draw(3, seed=1)
    for step in ("before it is saved", "after", "opened again"):
        assert len(index) == 80
        for query, hits in zip(queries, index.nearest(queries, 7), strict=True):
            right, scores = expected(moments, vectors, query, 7)
            assert [hit.moment for hit in hits] == right, step
            assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)
        np.testing.assert_allclose(index.vectors_of(moments[::-7]), vectors[::-7], atol=1e-6)
        if step == "before it is saved":
            index.save()
        elif step == "after":
            index = open_index(place, fingerprint="model-a")
    assert index.moments == moments
    assert index.details == {"checkpoint": "c"}
    assert index.videos() == list(dict.fromkeys(moment.video for moment in moments))
    assert index.moments_of(moments[5].video) == moments[4:8]
    assert index.verify().problems == []
    assert index.verify().num_moments == 80
    information = index.information()
    assert (information.num_videos, information.num_moments, information.width) == (20, 80, WIDTH)
    with pytest.raises(LibraryError, match="has no moment of x from 0 to 4 s"):
        index.vectors_of([moment("x")])
    with pytest.raises(LibraryError, match="made by model model-a, and this is model model-b"):
        open_index(place, fingerprint="model-b")
    with pytest.raises(LibraryError, match="queries have width 4"):
        index.nearest(np.ones(4), 1)


def test_add_update_remove_compact(place):
    index, vectors = filled(place)
    index.save()
    moments = [varied(number) for number in range(80)]
    gone, changed = moments[0].video, moments[4].video
    assert index.remove(gone) == 4
    assert index.remove(gone) == 0
    assert index.remove_all([changed, "no such film"]) == 4
    index.add([moment(changed), moment("/films/last.mp4")], np.eye(2, WIDTH))
    right = [*moments[8:], moment(changed), moment("/films/last.mp4")]
    kept = np.concatenate([vectors[8:], np.eye(2, WIDTH)])
    query = draw(1, seed=2)[0]
    for step in ("before it is saved", "saved", "compacted"):
        assert len(index) == 74
        found = [hit.moment for hit in index.nearest(query, 20)[0]]
        assert found == expected(right, kept, query, 20)[0], step
        if step != "before it is saved":
            assert open_index(place).moments == right
            assert open_index(place).verify().problems == []
        index.save() if step == "before it is saved" else index.compact()
    assert index.remove_all(index.videos()) == 74
    index.save()
    assert open_index(place).nearest(query, 3) == [[]]
    assert len(open_index(place)) == 0


@pytest.mark.parametrize("is_saved", [False, True])
def test_filters_lose_nothing(place, is_saved):
    index, vectors = filled(place)
    if is_saved:
        index.save()
    moments = [varied(number) for number in range(80)]
    filters = {
        Filter(folder="/films/old"): lambda one: one.video.startswith("/films/old/"),
        Filter(folder="/films/new_0/"): lambda one: one.video.startswith("/films/new_0/"),
        Filter(folder="/films/ol"): lambda one: False,
        Filter(video=varied(20).video): lambda one: one.video == varied(20).video,
        Filter(video="/films/none.mp4"): lambda one: False,
        Filter(since=1003.0, until=1009.0): lambda one: 1003 <= one.modified <= 1009,
        Filter(min_seconds=20.0): lambda one: one.video_seconds >= 20,
        Filter(max_seconds=10.0, tags=("red",)): lambda one: one.video_seconds <= 10 and "red" in one.tags,
        Filter(tags=("red", "ball")): lambda one: set(one.tags) == {"red", "ball"},
        Filter(tags=('no "such" tag',)): lambda one: False,
    }
    query = draw(1, seed=3)[0]
    for where, admits in filters.items():
        found = [hit.moment for hit in index.nearest(query, 80, where)[0]]
        assert found == expected(moments, vectors, query, 80, admits)[0], where


def test_two_at_once_are_refused_and_a_change_meanwhile_too(place):
    index, _ = filled(place)
    index.save()
    first, second = open_index(place), open_index(place)
    with first.locked():
        with pytest.raises(LibraryError, match="is being extended by another command"):
            second.save()
        first.remove(varied(0).video)
        first.save()
    assert not second.is_current()
    second.add([moment()], np.ones((1, WIDTH)))
    with pytest.raises(LibraryError, match="changed by another command meanwhile"):
        second.save()
    assert len(open_index(place)) == 76


def test_another_model_takes_over_when_it_is_done(place):
    index, _ = filled(place)
    index.save()
    begun = index.migration(width=3, fingerprint="model-b", details={"checkpoint": "d"})
    begun.add([varied(number) for number in range(40)], draw(40, 3))
    begun.save()
    with pytest.raises(LibraryError, match="is being taken over by model model-b"):
        index.migration(width=3, fingerprint="model-c", details={})
    assert len(open_index(place, fingerprint="model-a").nearest(draw(1), 80)[0]) == 80
    successor = open_index(place).migration(width=3, fingerprint="model-b", details={"checkpoint": "d"})
    assert len(successor) == 40
    successor.add([varied(number) for number in range(40, 80)], draw(40, 3, seed=1))
    successor.save()
    index.adopt(successor)
    again = open_index(place, fingerprint="model-b")
    assert (again.width, again.details) == (3, {"checkpoint": "d"})
    assert again.moments == [varied(number) for number in range(80)]
    assert again.verify().problems == []
    assert len(again.nearest(draw(1, 3), 80)[0]) == 80
    again.remove(varied(0).video)
    again.save()
    assert len(open_index(place)) == 76


def test_broken_vectors_are_refused(place):
    index = create(place)
    with pytest.raises(LibraryError, match="need vectors of shape"):
        index.add([moment()], np.ones((1, 5)))
    with pytest.raises(LibraryError, match="not finite"):
        index.add([moment()], np.full((1, WIDTH), np.nan))
    assert len(index) == 0


def test_above_its_size_it_is_compressed_as_well_as_recall_asks_for(place):
    width, count = 32, 4000
    generator = np.random.default_rng(0)
    # clusters along few axes, as embeddings have them
    centres = generator.normal(size=(40, width)) * 0.8 ** np.arange(width)
    vectors = centres[generator.integers(0, 40, count)] + 0.2 * generator.normal(
        size=(count, width)
    ) * 0.9 ** np.arange(width)
    index = create(place, width=width, options=SearchOptions(exact_up_to=3000, target_recall=0.9))
    index.add([varied(number) for number in range(count)], vectors)
    index.save()
    queries = vectors[:50] + 0.02 * generator.normal(size=(50, width))
    truth = [{hit.moment for hit in hits} for hits in index.nearest(queries, 10)]
    assert index.is_due()
    index.sample_queries = queries[:20].astype(np.float32)
    index.compact()
    assert not index.is_due()
    again = open_index(place)
    (search,) = again.information().search
    assert search["kind"] == "compressed"
    assert search["recall_at_10"] >= 0.9
    found = [{hit.moment for hit in hits} for hits in again.nearest(queries, 10)]
    assert np.mean([len(some & right) / 10 for some, right in zip(found, truth, strict=True)]) >= 0.85
    where = Filter(since=1000.0, until=1010.0)
    assert len(again.nearest(queries[:1], 100, where)[0]) == 44  # of 11 videos, all
    assert again.verify().problems == []
    assert again.moments == [varied(number) for number in range(count)]
