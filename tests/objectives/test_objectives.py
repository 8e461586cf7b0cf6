"""What golden files do not say: edges, options, and the scale of a weight."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.errors import ConfigError
from clover.modeling.model import Embeddings, PretrainingOutput
from clover.objectives.contrastive import exclusive_nce, info_nce, ranking
from clover.objectives.masked_words import focal_loss
from clover.objectives.pretraining import PretrainingObjectiveConfig, pretraining_losses


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
