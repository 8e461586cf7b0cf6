"""Sorting and cutting by length loses no sample and no word."""

from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.data.collators import ChoiceBatch
from clover.data.text_lengths import cut_to_longest, longest_first


@dataclass(frozen=True, kw_only=True)
class Batch:
    rows: torch.Tensor
    token_ids: torch.Tensor
    is_token: torch.Tensor
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def made(lengths, width):
    is_token = torch.arange(width) < torch.tensor(lengths)[:, None]
    numbers = torch.arange(len(lengths))
    return Batch(
        rows=numbers[:, None, None].expand(-1, width + 1, 2).clone(),
        token_ids=(numbers[:, None] + 1) * is_token,
        is_token=is_token,
        names=tuple(str(number) for number in range(len(lengths))),
        skipped=(("other", "broken"),) * 2,
    )


LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.integers(9, 12))
def test_samples_stay_whole_and_the_longest_come_first(lengths, width):
    batch = made(lengths, width)
    ordered = longest_first(batch)
    found = ordered.is_token.sum(dim=1).tolist()
    assert found == sorted(lengths, reverse=True)
    places = [int(name) for name in ordered.names]
    assert sorted(places) == list(range(len(lengths)))
    assert places == sorted(places, key=lambda place: -lengths[place])
    assert ordered.rows[:, 0, 0].tolist() == places
    assert ordered.token_ids.amax(dim=1).tolist() == [place + 1 for place in places]
    assert sorted(ordered.skipped) == sorted(batch.skipped)


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.integers(9, 12))
def test_only_padding_is_cut_and_only_from_texts(lengths, width):
    batch = made(lengths, width)
    cut = cut_to_longest(batch)
    assert cut.is_token.shape == cut.token_ids.shape == (len(lengths), max(lengths))
    assert int(cut.is_token.sum()) == sum(lengths)
    assert torch.equal(cut.token_ids, batch.token_ids[:, : max(lengths)])
    assert torch.equal(cut.rows, batch.rows)
    assert cut.names == batch.names


def test_several_texts_of_a_sample_count_by_their_longest():
    is_token = torch.tensor([[[1, 0, 0, 0], [1, 1, 0, 0]], [[1, 1, 1, 0], [1, 0, 0, 0]]]).bool()
    batch = ChoiceBatch(
        clip=torch.zeros(2, 4, 1, 1, 3, dtype=torch.uint8),
        token_ids=is_token.long(),
        is_token=is_token,
        labels=torch.tensor([0, 1]),
    )
    ordered = longest_first(batch)
    assert ordered.labels.tolist() == [1, 0]
    cut = cut_to_longest(ordered)
    assert cut.token_ids.shape == (2, 2, 3)
    assert torch.equal(cut.clip, ordered.clip)


def test_a_batch_without_texts_stays_as_it_is():
    pair = (torch.zeros(2), torch.ones(2))
    assert longest_first(pair) is pair
    assert cut_to_longest(pair) is pair
