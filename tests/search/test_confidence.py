"""What a score means: against meaningless queries, in one library or in several joined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.errors import ConfigError, LibraryError
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.search.confidence import NULL_SCORES, Calibration, calibrate, calibration_of, null_queries
from clover.search.engine import SearchConfig, search
from clover.search.index import Moment, create_index, open_index
from clover.search.joining import join_libraries


@pytest.fixture(scope="module")
def clover():
    tokenizer = Tokenizer.train(["a red ball moves left", "what color is the ball?"], 100)
    model = tiny(vocabulary_size=tokenizer.vocabulary_size)
    inputs = InputConfig(frames=TransformConfig(size=32), max_text_length=16)
    return Clover(new_model(model, seed=0), tokenizer, CloverConfig(model=model, inputs=inputs))


def filled(clover, folder, vectors, name="v"):
    index = create_index(folder, width=vectors.shape[1], fingerprint=clover.fingerprint, details={})
    moments = [
        Moment(video=f"{name}{number}", start_seconds=0.0, end_seconds=4.0, signature="")
        for number in range(len(vectors))
    ]
    index.add(moments, vectors)
    return index


def random_vectors(clover, count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, clover.config.model.embedding_width)).astype(np.float32)


def test_confidence_is_the_share_of_meaningless_queries_that_find_less(clover, tmp_path):
    vectors = random_vectors(clover, 40)
    index = filled(clover, tmp_path / "l", vectors)
    calibration = calibrate(index, clover)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    best = (clover.encode_text(null_queries()).numpy() @ units.T).max(axis=1)
    for score in (-1.0, 0.0, float(np.median(best)), 0.9):
        share = np.mean(np.round(best, 5) < score - 1e-9)
        assert calibration.confidence(score) == pytest.approx(share, abs=0.01)
    assert calibration.confidence(1.0) < 1


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.floats(-1, 1), st.floats(-1, 1))
def test_a_better_score_is_never_less_sure(null_scores, one, other):
    calibration = Calibration(null_scores=np.sort(np.array(null_scores)))
    low, high = sorted((one, other))
    assert 0 <= calibration.confidence(low) <= calibration.confidence(high) < 1


def test_meaningless_queries_are_always_the_same_and_different_from_one_another():
    assert null_queries() == null_queries()
    assert len(set(null_queries())) == len(null_queries()) == 500


def test_a_match_is_sure_and_the_tail_is_cut(clover, tmp_path):
    # an untrained model gives all texts nearly one vector: what sets the query apart from it is put into one moment
    usual = clover.encode_text(null_queries()).numpy().mean(axis=0)
    usual /= np.linalg.norm(usual)
    vectors = random_vectors(clover, 40)
    vectors[7] = clover.encode_text("a red ball moves left").numpy()
    vectors -= np.outer(vectors @ usual, usual)
    index = filled(clover, tmp_path / "l", vectors)
    found = search(index, clover, "a red ball moves left", 10)
    assert found[0].best.video == "v7"
    assert found[0].confidence > 0.9
    assert len(found) == 10
    assert [span.confidence for span in found] == sorted((span.confidence for span in found), reverse=True)
    sure = search(index, clover, "a red ball moves left", 10, SearchConfig(min_confidence=0.9))
    assert sure == [span for span in found if span.confidence >= 0.9]
    assert {span.confidence for span in search(index, clover, "красный шар", 10)} == {0.0}
    assert search(index, clover, "красный шар", 10, SearchConfig(min_confidence=0.5)) == []
    assert len(sure) < 10


def test_a_library_remembers_its_calibration_until_it_has_grown(clover, tmp_path):
    index = filled(clover, tmp_path / "l", random_vectors(clover, 20))
    calibrate(index, clover)
    index.save()
    again = open_index(tmp_path / "l")
    known = dict(again.details[NULL_SCORES])
    assert calibration_of(again, clover).null_scores == pytest.approx(np.sort(known["scores"]))
    assert again.details[NULL_SCORES] == known
    more = [Moment(video=f"w{number}", start_seconds=0.0, end_seconds=1.0, signature="") for number in range(60)]
    again.add(more, random_vectors(clover, 60, seed=1))
    assert calibration_of(again, clover).null_scores.mean() > np.mean(known["scores"])
    assert again.details[NULL_SCORES]["num_moments"] == 80


def test_joined_libraries_are_calibrated_as_if_they_were_one(clover, tmp_path):
    folders = []
    for number in range(2):
        index = filled(clover, tmp_path / str(number), random_vectors(clover, 30, seed=number), name=f"{number}-")
        calibrate(index, clover)
        index.save()
        folders.append(tmp_path / str(number))
    joined = join_libraries(folders, tmp_path / "joined")
    there = calibration_of(joined, clover).null_scores
    assert there == pytest.approx(calibrate(joined, clover).null_scores, abs=2e-5)


def test_nothing_to_calibrate(clover, tmp_path):
    index = create_index(tmp_path / "l", width=4, fingerprint=clover.fingerprint, details={})
    with pytest.raises(LibraryError, match="is empty"):
        calibrate(index, clover)
    assert search(index, clover, "a ball", 3) == []


@pytest.mark.parametrize("wrong", [{"min_confidence": 1.0}, {"min_confidence": -0.1}, {"merge_drop": -1.0}])
def test_settings_without_sense(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SearchConfig(**wrong)
