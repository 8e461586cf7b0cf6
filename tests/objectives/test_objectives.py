"""What golden files do not say: edges, options, and the scale of a weight."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.errors import ConfigError
from clover.modeling.model import Embeddings, PretrainingOutput
from clover.objectives.contrastive import exclusive_nce, info_nce, ranking, row_blocks
from clover.objectives.masked_words import focal_loss
from clover.objectives.pretraining import (
    PretrainingObjectiveConfig,
    embedding_terms,
    pretraining_losses,
    weighted_sum,
)
from saved_memory import SavedMemory


def output(batch=4, width=6, masked=3, seed=0):
    torch.manual_seed(seed)
    names = ("video", "text", "masked_video", "masked_text", "fused_for_video", "fused_for_text")
    embeddings = Embeddings(**{name: torch.randn(batch, width, requires_grad=True) for name in names})
    return PretrainingOutput(embeddings=embeddings, word_scores=torch.randn(masked, 9, requires_grad=True))


def test_no_masked_word_gives_zero_and_not_nan():
    scores = torch.randn(0, 9, requires_grad=True)
    loss = focal_loss(scores, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad.shape == (0, 9)


def test_a_batch_of_one_has_no_negatives():
    embeddings = torch.randn(3, 1, 5)
    assert exclusive_nce(embeddings[0], list(embeddings[1:])).abs().max().item() == 0.0


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_excluding_nothing_but_own_positives(batch, seed):
    """With a single positive, exclusive-NCE is plain InfoNCE."""
    generator = torch.Generator().manual_seed(seed)
    anchor, positive = torch.randn(2, batch, 8, generator=generator)
    torch.testing.assert_close(exclusive_nce(anchor, [positive])[0], info_nce(anchor, positive))


def test_ranking_is_zero_once_the_gap_is_a_quarter():
    anchor = torch.tensor([[1.0, 0.0]])
    masked = torch.tensor([[0.74, (1 - 0.74**2) ** 0.5]])
    assert ranking(anchor, anchor, masked).item() == 0.0
    assert ranking(anchor, anchor, anchor).item() == pytest.approx(5.0)


def test_weights_leave_terms_out_and_scale_them():
    out, targets = output(), torch.tensor([1, 2, 3])
    everything = pretraining_losses(out, targets, PretrainingObjectiveConfig())
    assert set(everything.terms) == {
        "video_alignment",
        "text_alignment",
        "text_ranking",
        "video_ranking",
        "masked_words",
    }
    torch.testing.assert_close(everything.total, sum(everything.terms.values()))
    half = pretraining_losses(out, targets, PretrainingObjectiveConfig(), ranking_scale=0.5)
    gap = 0.5 * (everything.terms["text_ranking"] + everything.terms["video_ranking"])
    torch.testing.assert_close(everything.total - half.total, gap)
    baseline = PretrainingObjectiveConfig(alignment="pair-wise", ranking_weight=0.0)
    assert set(pretraining_losses(out, targets, baseline).terms) == {"pair_alignment", "masked_words"}
    nothing = PretrainingObjectiveConfig(alignment="none", ranking_weight=0.0, masked_word_weight=0.0)
    with pytest.raises(ConfigError, match="no term"):
        pretraining_losses(out, targets, nothing)


OBJECTIVES = {
    "tri-modal": PretrainingObjectiveConfig(ranking_margin=1.0),
    "summed": PretrainingObjectiveConfig(reduction="sum"),
    "pair-wise": PretrainingObjectiveConfig(alignment="pair-wise"),
    "ranking": PretrainingObjectiveConfig(alignment="none"),
}


def made(config, batch, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch, width, generator=generator, dtype=torch.float64).requires_grad_()
        for name in config.compared
    }


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(OBJECTIVES)), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 60))
def test_what_rows_add_makes_the_whole(name, sizes, most_pairs):
    """Over processes of any shares, and row block by row block: terms and gradients of the batch in one piece."""
    config, batch = OBJECTIVES[name], sum(sizes)
    whole, pieces = made(config, batch), made(config, batch)
    expected = embedding_terms(whole, config, ranking_scale=0.3)
    weighted_sum(expected).total.backward()
    found, start = dict.fromkeys(expected, 0.0), 0
    for size in sizes:
        for rows in row_blocks(slice(start, start + size), batch, most_pairs):
            terms = embedding_terms(pieces, config, ranking_scale=0.3, rows=rows)
            weighted_sum(terms).total.backward()
            found = {each: value + terms[each].value.item() for each, value in found.items()}
        start += size
    assert found == pytest.approx({each: term.value.item() for each, term in expected.items()}, rel=1e-10)
    for each, value in whole.items():
        if value.grad is not None:
            torch.testing.assert_close(pieces[each].grad, value.grad, rtol=1e-10, atol=1e-12)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 300), st.integers(1, 50_000))
def test_row_blocks_follow_one_another(size, before, after, most_pairs):
    own, total = slice(before, before + size), before + size + after
    blocks = row_blocks(own, total, most_pairs)
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(own.start, own.stop))
    assert all(block.stop - block.start == 1 or (block.stop - block.start) * total <= most_pairs for block in blocks)


def test_ordinary_batches_are_compared_in_one_piece():
    assert row_blocks(slice(0, 4096), 4096) == [None]
    assert row_blocks(slice(0, 2), 2, 1) == [slice(0, 1), slice(1, 2)]
    assert len(row_blocks(slice(0, 32_768), 32_768)) == 64


def test_a_share_of_the_rows_holds_a_share_of_the_pairs():
    config = OBJECTIVES["tri-modal"]

    def peak(rows):
        embeddings = made(config, 512, width=4)
        with SavedMemory(embeddings.values()) as memory:
            weighted_sum(embedding_terms(embeddings, config, rows=rows)).total.backward()
        return memory.peak

    assert peak(slice(128, 192)) == pytest.approx(peak(None) / 8, rel=0.15)
