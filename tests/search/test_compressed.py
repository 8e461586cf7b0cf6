"""Codes and the inverted file: what they keep, what they find, and that filters lose nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_libraries import draw, unit_rows

from clover.search.calibration import calibrate
from clover.search.codec import Codec
from clover.search.compressed import CompressedVectors, Compressor, Effort
from clover.search.exact import ExactVectors


def embeddings(count, width=32, seed=0):
    """Clusters along few axes, turned any way: as embeddings are."""
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(width, width)))
    centres = generator.normal(size=(30, width)) * 0.8 ** np.arange(width)
    around = 0.3 * generator.normal(size=(count, width)) * 0.9 ** np.arange(width)
    return unit_rows((centres[generator.integers(0, 30, count)] + around) @ turn).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(2, 200), st.integers(0, 9999), st.booleans())
def test_codes_are_a_byte_per_dimension_and_decode_to_what_they_score(width, count, seed, is_flat):
    vectors = draw(count, width, seed) if is_flat else embeddings(count, width, seed)
    codec = Codec.fit(vectors)
    codes = codec.encode(codec.turned(vectors))
    assert codes.shape == (count, codec.size)
    assert codec.size <= width + 2  # two kinds of digits may leave a byte half empty
    queries = draw(3, width, seed + 1)
    np.testing.assert_allclose(codec.scores(codes, queries), codec.decode(codes) @ queries.T, atol=1e-5)
    again = Codec.from_bytes(codec.to_bytes())
    np.testing.assert_array_equal(again.encode(again.turned(vectors)), codes)
    np.testing.assert_array_equal(again.decode(codes), codec.decode(codes))


def test_bits_go_where_the_variance_is():
    flat, real = draw(4000, 64), embeddings(4000, 64)
    errors = {}
    for name, vectors in (("flat", flat), ("real", real)):
        codec = Codec.fit(vectors)
        decoded = codec.decode(codec.encode(codec.turned(vectors)))
        errors[name] = np.sqrt(((decoded - vectors) ** 2).sum(axis=1).mean())
    assert errors["flat"] < 0.012  # 8 bits of a range of 8 deviations: 8 / 255 / sqrt(12) = 0.009
    assert errors["real"] < errors["flat"] / 3


def test_outside_of_the_sample_codes_stay_at_its_border():
    vectors = embeddings(500)
    codec = Codec.fit(vectors)
    far = codec.decode(codec.encode(codec.turned(100 * vectors[:5])))
    assert (codec.turned(far) <= codec.turned(vectors).max(axis=0) + 1e-4).all()


@pytest.fixture(scope="module")
def library():
    exact = ExactVectors(embeddings(30_000))
    compressor = Compressor(exact)
    codes = np.concatenate(list(compressor.codes()))
    effort = Effort(num_lists=4, num_candidates=64)
    return exact, CompressedVectors(compressor.codec, codes, compressor.lists, effort)


@pytest.mark.slow
def test_calibration_finds_the_least_effort_that_is_enough(library):
    exact, compressed = library
    before, queries = compressed.effort, embeddings(60) + 0.01
    efforts = []
    for target in (0.8, 0.95):
        found = calibrate(exact, compressed, target, queries.astype(np.float32))
        efforts.append(found.effort)
        compressed.effort = found.effort
        pairs = zip(compressed.nearest(queries, 10).rows, exact.nearest(queries, 10).rows, strict=True)
        recall = np.mean([np.isin(right, rows).mean() for rows, right in pairs])
        assert recall >= target - 0.01
        assert found.recall >= target
    compressed.effort = before
    assert efforts[0].num_lists <= efforts[1].num_lists
    assert efforts[0] != efforts[1]
    assert calibrate(exact, compressed, 1.0, np.random.default_rng(0).normal(size=(60, 32)).astype(np.float32)) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 29_999), st.integers(1, 300), st.integers(0, 9999))
def test_filters_lose_nothing(library, num_admitted, num_results, seed):
    """As many as there are, whatever is admitted; few are compared one by one, many by the inverted file."""
    exact, compressed = library
    generator = np.random.default_rng(seed)
    admitted = np.zeros(30_000, dtype=bool)
    # neighbours in space are admitted together: the lists of a query may hold none of them
    order = np.argsort(exact.vectors @ exact.vectors[seed]) if seed % 2 else generator.permutation(30_000)
    admitted[order[:num_admitted]] = True
    queries = embeddings(2, seed=seed + 1)
    found = compressed.nearest(queries, num_results, admitted)
    for rows, scores in zip(found.rows, found.scores, strict=True):
        assert len(rows) == min(num_results, num_admitted)
        assert len(np.unique(rows)) == len(rows)
        assert admitted[rows].all()
        assert (np.diff(scores) <= 0).all()
    if 0 < num_admitted <= 20_000:
        for rows, right in zip(found.rows, exact.nearest(queries, num_results, admitted).rows, strict=True):
            assert np.isin(right[:10], rows).mean() >= 0.9 if num_results >= 15 else True
