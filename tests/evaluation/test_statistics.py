"""Intervals of differences: known quantiles, symmetry, coverage, verdicts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.errors import DataError
from clover.evaluation.statistics import Difference, mean_of_few, paired_difference, student_quantile


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.706), (4, 2.776), (9, 2.262), (30, 2.042), (1000, 1.962)])
def test_quantiles_of_student(freedom, expected):
    assert student_quantile(freedom) == pytest.approx(expected, abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 40))
def test_swapping_the_systems_swaps_the_sign(seed, num_seeds, num_queries):
    generator = np.random.default_rng(seed)
    first, second = generator.random((2, num_seeds, num_queries))
    groups = generator.integers(0, 10, num_queries)
    there, back = paired_difference(first, second, groups), paired_difference(second, first, groups)
    assert there.mean == pytest.approx((first - second).mean(), abs=1e-12)
    for ends in ("interval", "seed_interval", "query_interval"):
        low, high = getattr(there, ends)
        assert low <= high
        assert getattr(back, ends) == pytest.approx((-high, -low), abs=1e-9)
    low, high = there.interval
    within = there.query_interval
    assert high - low >= 0.8 * (within[1] - within[0])


def simulated(generator, effect, num_seeds=5, num_groups=60, size=4):
    """Two systems: a spread over seeds, one over groups, and noise of their own."""
    shape = num_seeds, num_groups, size
    gap = effect + 0.02 * generator.standard_normal((num_seeds, 1, 1)) + 0.1 * generator.standard_normal(
        (1, num_groups, 1)
    )  # fmt: skip
    first, second = gap + 0.3 * generator.standard_normal(shape), 0.3 * generator.standard_normal(shape)
    groups = np.repeat(np.arange(num_groups), size)
    return first.reshape(num_seeds, -1), second.reshape(num_seeds, -1), groups


def test_intervals_cover_what_is_true():
    generator = np.random.default_rng(1)
    found = [paired_difference(*simulated(generator, 0.03), seed=turn) for turn in range(150)]
    covered = np.mean([each.interval[0] <= 0.03 <= each.interval[1] for each in found])
    assert 0.9 <= covered <= 1.0
    nothing = [paired_difference(*simulated(generator, 0.0), seed=turn).verdict for turn in range(150)]
    assert np.mean([verdict == "cannot be told" for verdict in nothing]) >= 0.95
    clear = [paired_difference(*simulated(generator, 0.3), seed=turn).verdict for turn in range(20)]
    assert set(clear) == {"holds"}
    assert {paired_difference(*simulated(generator, -0.3), seed=turn).verdict for turn in range(20)} == {
        "does not hold"
    }


def test_queries_of_one_group_count_once():
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 3, 30))
    once = paired_difference(first, second, np.arange(30))
    copied = [np.repeat(values, 8, axis=1) for values in (first, second)]
    grouped = paired_difference(*copied, np.repeat(np.arange(30), 8))
    alone = paired_difference(*copied, np.arange(240))
    width = {
        name: np.ptp(each.query_interval) for name, each in (("once", once), ("grouped", grouped), ("alone", alone))
    }
    assert width["grouped"] == pytest.approx(width["once"], rel=0.1)
    assert width["alone"] < 0.5 * width["grouped"]


def test_one_seed_tells_nothing_and_other_shapes_are_refused():
    values = np.ones((1, 9))
    found = paired_difference(values, np.zeros((1, 9)), np.arange(9))
    assert isinstance(found, Difference)
    assert (found.seed_interval, found.verdict) == ((-math.inf, math.inf), "cannot be told")
    assert mean_of_few([1.0]) == (-math.inf, math.inf)
    with pytest.raises(DataError, match="same seeds and queries"):
        paired_difference(values, np.zeros((2, 9)), np.arange(9))
