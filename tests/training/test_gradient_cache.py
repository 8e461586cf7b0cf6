"""Micro-batches give the plain step's gradients: every term, ablation, size and number format; in little memory."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.data.batches import micro_batches
from clover.data.collators import PretrainingBatch
from clover.distributed import ALONE
from clover.errors import ConfigError
from clover.experiment.losses import pretraining_loss
from clover.modeling.initialise import new_model
from clover.modeling.model import Embeddings, PretrainingOutput
from clover.modeling.pixels import normalise
from clover.modeling.sizes import tiny
from clover.objectives.contrastive import row_blocks
from clover.objectives.pretraining import PretrainingObjectiveConfig, pretraining_losses
from clover.training import gradient_cache
from clover.training.gradient_cache import exact_gradients
from clover.training.parallel import caller_for
from clover.types import IGNORED
from saved_memory import SavedMemory

NUM_WORDS, LENGTH = 40, 6
FULL = PretrainingObjectiveConfig()


def made_network(*, pairing="paper", dropout=0.0, stochastic_depth=0.0, dtype=torch.float32):
    plain = tiny(vocabulary_size=NUM_WORDS)
    layers = replace(plain.text.transformer, dropout=dropout)
    config = replace(
        plain,
        initial_weights="fan_in",
        fused_pairing=pairing,
        fused_dropout=dropout,
        video=replace(plain.video, stochastic_depth=stochastic_depth),
        text=replace(plain.text, transformer=layers),
        fusion=replace(plain.fusion, transformer=layers),
    )
    return new_model(config, seed=1).to(dtype).train()


def made_batch(size=7, *, num_masked=None, seed=0):
    """Random pixels and random words; masked words are 0 to 2 a sample unless a number is given."""
    generator = torch.Generator().manual_seed(seed)
    token_ids = torch.randint(5, NUM_WORDS, (size, LENGTH), generator=generator)
    order = torch.rand(size, LENGTH, generator=generator).argsort(dim=1)
    counts = torch.arange(size)[:, None] % 3 if num_masked is None else num_masked
    is_masked = order < counts
    return PretrainingBatch(
        clip=torch.randint(0, 256, (size, 4, 32, 32, 3), generator=generator, dtype=torch.uint8),
        is_masked_cell=torch.rand(size, 2, 2, generator=generator) < 0.5,
        token_ids=token_ids,
        masked_token_ids=token_ids.masked_fill(is_masked, 4),
        is_token=torch.arange(LENGTH) < torch.randint(3, LENGTH + 1, (size, 1), generator=generator),
        targets=token_ids.masked_fill(~is_masked, IGNORED),
    )


def forward_of(network):
    def forward(batch):
        return network.pretraining_output(
            normalise(batch.clip, network.config.pixels).to(network.text_projection.expand.weight.dtype),
            batch.is_masked_cell,
            batch.token_ids,
            batch.masked_token_ids,
            batch.is_token,
            batch.targets != IGNORED,
        )

    return forward


def gradients_of(network):
    return {name: weight.grad for name, weight in network.named_parameters()}


def plain_step(network, batch, objective, scale=1.0):
    network.zero_grad(set_to_none=True)
    output = forward_of(network)(batch)
    losses = pretraining_losses(output, batch.targets[batch.targets != IGNORED], objective, ranking_scale=scale)
    losses.total.backward()
    return losses, gradients_of(network)


def cached_step(network, batch, objective, size, scale=1.0):
    network.zero_grad(set_to_none=True)
    losses = cached(network, batch, objective, size, scale)
    return losses, gradients_of(network)


def cached(network, batch, objective, size, scale=1.0, seen=None):
    """The exact step; `seen` gets what the network gave."""
    loss = loss_of(network, objective, scale, seen)
    return exact_gradients(batch, loss, caller_for(network, loss.outputs, ALONE), micro_batch_size=size)


def loss_of(network, objective, scale=1.0, seen=None):
    """The shipped loss, with the network called in its own number format."""
    plain = pretraining_loss(network, objective, ranking_scale=lambda _: scale)

    def outputs(part):
        output = forward_of(network)(part)
        words = {"word_scores": output.word_scores} if objective.masked_word_weight else {}
        embeddings = {name: getattr(output.embeddings, name) for name in objective.compared}
        if seen is not None:
            seen.append({name: value.detach() for name, value in embeddings.items()})
        return embeddings | words

    return replace(plain, outputs=outputs)


def distances(ours, theirs):
    """Of the whole gradient, and the largest of any weight's, over their lengths.

    A weight's that is far below the others' (that of a key's bias is 0 but for rounding) is measured by the others'.
    """
    assert [name for name in ours if ours[name] is None] == [name for name in theirs if theirs[name] is None]
    present = [name for name, value in theirs.items() if value is not None]
    gaps = torch.stack([(ours[name] - theirs[name]).norm() for name in present])
    lengths = torch.stack([theirs[name].norm() for name in present])
    return (gaps.norm() / lengths.norm()).item(), (gaps / lengths.clamp(min=0.01 * lengths.max())).max().item()


def assert_same_losses(ours, theirs, tolerance):
    assert list(ours.terms) == list(theirs.terms)
    assert not ours.total.requires_grad
    for name, value in theirs.terms.items():
        torch.testing.assert_close(ours.terms[name], value.detach(), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.total, theirs.total.detach(), rtol=tolerance, atol=tolerance)


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert (ours[name] is None) == (value is None), name
        assert value is None or torch.equal(ours[name], value), name


OBJECTIVES = [
    PretrainingObjectiveConfig(alignment=alignment, reduction=reduction, ranking_weight=rank, masked_word_weight=words)
    for alignment, reduction in (("tri-modal", "mean"), ("tri-modal", "sum"), ("pair-wise", "mean"), ("none", "mean"))
    for rank in (1.0, 0.0)
    for words in (1.0, 0.0)
    if alignment != "none" or rank or words
]


@pytest.mark.parametrize("pairing", ["paper", "first_release"])
@pytest.mark.parametrize(("dtype", "whole", "each"), [(torch.float32, 1e-6, 5e-6), (torch.float64, 1e-12, 1e-10)])
def test_gradients_are_the_plain_ones(dtype, whole, each, pairing):
    """In float32 the plain step's own gradient is 8e-7 from the exact one."""
    network, batch = made_network(pairing=pairing, dtype=dtype), made_batch(5)
    is_new = {"paper": OBJECTIVES, "first_release": [one for one in OBJECTIVES if one.alignment == "tri-modal"]}
    for objective in is_new[pairing]:
        losses, expected = plain_step(network, batch, objective, scale=0.3)
        for size in (1, 3, 5):
            again, ours = cached_step(network, batch, objective, size, scale=0.3)
            assert_same_losses(again, losses, 10 * whole)
            found = distances(ours, expected)
            assert found[0] < whole, (size, objective, found)
            assert found[1] < each, (size, objective, found)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 9), st.integers(1, 10), st.integers(0, 10_000))
def test_any_sizes_give_the_same_gradients(batch_size, micro_batch_size, seed):
    network, batch = made_network(dtype=torch.float64), made_batch(batch_size, seed=seed)
    losses, expected = plain_step(network, batch, FULL)
    again, ours = cached_step(network, batch, FULL, micro_batch_size)
    assert_same_losses(again, losses, 1e-10)
    assert distances(ours, expected)[0] < 1e-12


@pytest.mark.parametrize("size", [0, 3])
def test_a_batch_that_is_compared_row_block_by_row_block(size, monkeypatch):
    network, batch = made_network(dtype=torch.float64), made_batch()
    losses, expected = plain_step(network, batch, FULL)
    monkeypatch.setattr(gradient_cache, "row_blocks", partial(row_blocks, most_pairs=20))  # of 7 samples, two
    again, ours = cached_step(network, batch, FULL, size)
    assert_same_losses(again, losses, 1e-10)
    assert distances(ours, expected)[0] < 1e-12


def test_one_micro_batch_is_the_plain_step_to_the_bit():
    network, batch = made_network(dropout=0.2, stochastic_depth=0.5), made_batch()
    torch.manual_seed(5)
    losses, expected = plain_step(network, batch, FULL)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    again, ours = cached_step(network, batch, FULL, 9)
    assert_equal(again.terms, losses.terms)
    assert_equal(ours, expected)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [1, 3])
def test_both_passes_see_the_same_random_numbers(size):
    network, batch, seen = made_network(dropout=0.2, stochastic_depth=0.5), made_batch(), []

    cached(network, batch, FULL, size, seen=seen)
    half = len(seen) // 2
    assert half == -(-7 // size)
    for first, second in zip(seen[:half], seen[half:], strict=True):
        assert_equal(second, first)
    part = micro_batches(batch, size)[0]
    assert not torch.equal(vars(forward_of(network)(part).embeddings)["fused_for_text"], seen[0]["fused_for_text"])


def test_with_dropout_it_is_the_step_over_all_micro_batches_with_one_graph():
    network, batch = made_network(dropout=0.2, stochastic_depth=0.5, dtype=torch.float64), made_batch()
    torch.manual_seed(5)
    outputs = [forward_of(network)(part) for part in micro_batches(batch, 3)]
    names = vars(outputs[0].embeddings)
    joined = {name: torch.cat([getattr(output.embeddings, name) for output in outputs]) for name in names}
    scores = torch.cat([output.word_scores for output in outputs])
    output = PretrainingOutput(embeddings=Embeddings(**joined), word_scores=scores)
    losses = pretraining_losses(output, batch.targets[batch.targets != IGNORED], FULL)
    losses.total.backward()
    expected = gradients_of(network)
    torch.manual_seed(5)
    again, ours = cached_step(network, batch, FULL, 3)
    assert_same_losses(again, losses, 1e-10)
    assert distances(ours, expected)[0] < 1e-12
    torch.manual_seed(5)
    assert_equal(cached_step(network, batch, FULL, 3)[1], ours)
    torch.manual_seed(6)
    assert distances(cached_step(network, batch, FULL, 3)[1], ours)[0] > 0.01


@pytest.mark.parametrize("objective", [FULL, replace(FULL, alignment="none", ranking_weight=0.0)])
def test_a_batch_without_masked_words_adds_nothing(objective):
    network, batch = made_network(), made_batch(num_masked=0)
    losses, expected = plain_step(network, batch, objective)
    again, ours = cached_step(network, batch, objective, 3)
    assert again.terms["masked_words"].item() == 0.0
    assert_same_losses(again, losses, 1e-5)
    assert all(value is None or value.isfinite().all() for value in ours.values())
    assert ours["masked_word_head.decoder.weight"].abs().max().item() == 0.0
    assert [name for name in ours if ours[name] is None] == [name for name in expected if expected[name] is None]


def test_gradients_are_added_and_frozen_weights_get_none():
    network, batch = made_network(dtype=torch.float64), made_batch()
    for part in (network.video_encoder, network.video_projection):
        part.requires_grad_(False)
    _, expected = plain_step(network, batch, FULL)
    _, ours = cached_step(network, batch, FULL, 3)
    assert ours["video_projection.expand.weight"] is None
    assert distances(ours, expected)[0] < 1e-12
    cached(network, batch, FULL, 3)
    twice = {name: value if value is None else 2 * value for name, value in expected.items()}
    assert distances(gradients_of(network), twice)[0] < 1e-12


def test_autocast_of_the_whole_step_loses_no_gradient():
    network, batch = made_network(), made_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, expected = plain_step(network, batch, FULL)
        assert_equal(cached_step(network, batch, FULL, 7)[1], expected)
        assert distances(cached_step(network, batch, FULL, 3)[1], expected)[0] < 0.05


def test_an_objective_of_nothing_is_refused():
    nothing = PretrainingObjectiveConfig(alignment="none", ranking_weight=0.0, masked_word_weight=0.0)
    with pytest.raises(ConfigError, match="no term"):
        cached_step(made_network(), made_batch(), nothing, 3)


def test_memory_does_not_grow_with_the_batch():
    network = made_network(dropout=0.1, stochastic_depth=0.1)

    def peak(step, size, *more):
        batch = made_batch(size, num_masked=2)
        with SavedMemory([*network.parameters(), *network.buffers(), *vars(batch).values()]) as memory:
            step(network, batch, FULL, *more)
        assert memory.num_bytes == 0
        return memory.peak

    plain = [peak(plain_step, size) for size in (4, 24)]
    cached = [peak(cached_step, size, 4) for size in (8, 24)]
    assert plain[1] == pytest.approx(6 * plain[0], rel=0.05)
    assert cached[1] == pytest.approx(cached[0], rel=0.01)
    assert cached[0] == pytest.approx(plain[0], rel=0.05)
