"""Attention with a learned bias equals the textbook's, values and gradients, on every path."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.modeling import window_attention as module
from clover.modeling.window_attention import window_attention

NOTHING, EVERYTHING = 0, 1 << 40


def textbook(projected, bias, counts):
    """Softmax attention with every window's bias written out."""
    query, key, value = projected.permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    scores = scores + bias.repeat_interleave(torch.tensor(counts), dim=0)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


def inputs(counts=(3, 2), length=4, heads=2, width=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(sum(counts), length, 3, heads, width, generator=generator, dtype=dtype)
    bias = torch.randn(len(counts), heads, length, length, generator=generator, dtype=dtype)
    return projected.requires_grad_(), bias.requires_grad_()


def gradients(function, projected, bias, counts):
    mixed = function(projected, bias, counts)
    weights = torch.linspace(-1, 1, mixed.numel(), dtype=mixed.dtype).view_as(mixed)
    return mixed, *torch.autograd.grad((mixed * weights).sum(), (projected, bias))


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors of a few numbers are only slowed down by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[NOTHING, EVERYTHING], ids=["computed again", "kept"])
def kept_bytes(request, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", request.param)


@pytest.mark.parametrize("counts", [(3,), (2, 1)])
@pytest.mark.parametrize("piece_scores", [1, 1 << 20], ids=["many pieces", "one piece"])
def test_gradients_are_the_finite_differences(counts, piece_scores, kept_bytes, monkeypatch):
    monkeypatch.setattr(module, "PIECE_SCORES", piece_scores)
    projected, bias = inputs(counts, length=3, heads=2, width=2)
    assert torch.autograd.gradcheck(lambda p, b: window_attention(p, b, counts), (projected, bias))


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    length=st.integers(1, 9),
    heads=st.integers(1, 6),
    width=st.integers(1, 8),
    keeps=st.booleans(),
    piece_scores=st.sampled_from([1, 100, 1 << 20]),
)
def test_equals_the_textbook_for_every_shape(counts, length, heads, width, keeps, piece_scores):
    projected, bias = inputs(counts, length, heads, width)
    expected = gradients(textbook, projected, bias, counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "KEPT_BYTES", EVERYTHING if keeps else NOTHING)
        patch.setattr(module, "PIECE_SCORES", piece_scores)
        found = gradients(window_attention, projected, bias, counts)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("trained", ["nothing", "projected", "bias"])
def test_gradients_of_some_inputs(trained, kept_bytes):
    projected, bias = inputs()
    _, *expected = gradients(textbook, projected, bias, (3, 2))
    projected.requires_grad_(trained == "projected")
    bias.requires_grad_(trained == "bias")
    mixed = window_attention(projected, bias, (3, 2))
    torch.testing.assert_close(mixed.detach(), textbook(projected, bias, (3, 2)).detach())
    assert mixed.requires_grad == (trained != "nothing")
    if mixed.requires_grad:
        weights = torch.linspace(-1, 1, mixed.numel(), dtype=mixed.dtype).view_as(mixed)
        (mixed * weights).sum().backward()
    for tensor, name, right in ((projected, "projected", expected[0]), (bias, "bias", expected[1])):
        if trained == name:
            torch.testing.assert_close(tensor.grad, right)
        else:
            assert tensor.grad is None


def test_without_gradients_pytorch_attends_without_keeping_anything(monkeypatch):
    projected, bias = inputs()
    monkeypatch.setattr(module, "_attend", None)
    with torch.no_grad():
        mixed = window_attention(projected, bias, (3, 2))
    torch.testing.assert_close(mixed, textbook(projected, bias, (3, 2)).detach())


def test_one_window_of_a_kind_each_is_one_call():
    projected, bias = inputs((1, 1, 1))
    with torch.no_grad():
        mixed = window_attention(projected, bias, (1, 1, 1))
    torch.testing.assert_close(mixed, textbook(projected, bias, (1, 1, 1)).detach())


def test_bfloat16_is_as_near_as_its_digits_allow(kept_bytes):
    projected, bias = inputs(length=16, width=8)
    expected = gradients(textbook, projected, bias, (3, 2))
    narrow = [tensor.detach().bfloat16().requires_grad_() for tensor in (projected, bias)]
    found = gradients(window_attention, *narrow, (3, 2))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_works_inside_autocast(dtype, kept_bytes):
    projected, bias = inputs(length=16, width=8, dtype=torch.float32)
    expected = gradients(textbook, projected, bias, (3, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(lambda p, b, c: window_attention(p.to(dtype), b, c), projected, bias, (3, 2))
    assert [tensor.dtype for tensor in found] == [dtype, torch.float32, torch.float32]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() < (1e-5 if dtype == torch.float32 else 0.02) * theirs.norm()


def test_a_second_derivative_is_refused():
    projected, bias = inputs()
    loss = window_attention(projected, bias, (3, 2)).square().sum()
    (first,) = torch.autograd.grad(loss, bias, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
