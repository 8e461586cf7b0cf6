"""The order of samples: every pass whole, sources in turn by weight, any step from nothing but the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.data.order import Mixture, Order
from clover.errors import ConfigError, DataError


def made(lengths, weights=(), *, batch_size=4, seed=3):
    return Order(lengths, weights, batch_size=batch_size, seed=seed)


def test_one_source_is_drawn_as_it_always_was():
    order = made([11])
    for step in range(6):
        epoch, place = divmod(step, 2)
        whole = np.random.default_rng([3, 1, epoch]).permutation(11)
        assert order.draw(step).rows.tolist() == whole[4 * place : 4 * place + 4].tolist()


@given(
    st.lists(st.integers(5, 40), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 2**40), st.integers(1, 3)
)
def test_a_pass_takes_every_sample_once(lengths, batch_size, seed, num_passes):
    order = made(lengths, batch_size=batch_size, seed=seed)
    seen = [[] for _ in lengths]
    for step in range(num_passes * order.steps_per_epoch):
        draw = order.draw(step)
        seen[draw.source].append(draw.rows)
    for rows, length in zip(seen, lengths, strict=True):
        per_pass = length // batch_size
        passes = [np.concatenate(rows[i : i + per_pass]) for i in range(0, len(rows) - per_pass + 1, per_pass)]
        assert passes, "every source is passed over at least once an epoch"
        for one in passes:
            assert len(set(one.tolist())) == per_pass * batch_size and max(one) < length


def test_passes_and_sources_differ():
    order = made([40, 40], batch_size=40)
    first, second, third = (order.draw(step).rows.tolist() for step in range(3))
    assert sorted(first) == sorted(second) == sorted(third) == list(range(40))
    assert first != second and first != third and second != third


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20), st.lists(st.floats(0.1, 9), min_size=2, max_size=3))
def test_a_step_is_the_same_wherever_one_begins(steps, weights):
    lengths = [9, 14, 21][: len(weights)]
    in_order = made(lengths, weights)
    walked = {step: in_order.draw(step) for step in range(max(steps) + 1)}
    jumping = made(lengths, weights)
    for step in steps:
        draw = jumping.draw(step)
        assert draw.source == walked[step].source and draw.rows.tolist() == walked[step].rows.tolist()


@pytest.mark.parametrize("num_sources", [2, 3, 5])
def test_without_weights_sources_alternate(num_sources):
    order = made([8] * num_sources)
    assert [order.draw(step).source for step in range(40)] == [step % num_sources for step in range(40)]


@given(st.lists(st.floats(0.05, 20), min_size=2, max_size=4), st.integers(1, 300))
def test_weights_are_shares_of_the_steps_at_any_time(weights, num_steps):
    order = made([8] * len(weights), weights)
    counts = np.bincount([order.draw(step).source for step in range(num_steps)], minlength=len(weights))
    assert np.all(np.abs(counts - num_steps * np.array(weights) / sum(weights)) < len(weights))


def test_an_epoch_lasts_until_the_slowest_source_is_through():
    assert made([11]).steps_per_epoch == 2
    assert made([8, 40]).steps_per_epoch == 20  # the shorter one begins anew five times
    assert made([8, 40], [1.0, 3.0]).steps_per_epoch == 14


def test_what_makes_no_sense_is_refused():
    with pytest.raises(DataError, match="3 samples do not fill a batch of 4"):
        made([8, 3])
    with pytest.raises(ConfigError, match="1 weights for 2 sources"):
        Mixture(sources=([1], [2]), weights=(1.0,))
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="must be above 0"):
            Mixture(sources=([1], [2]), weights=(1.0, weight))
    with pytest.raises(ConfigError, match="no sources"):
        Mixture(sources=())
