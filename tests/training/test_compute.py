"""Number formats, recomputed activations, compiled layers and sorted texts: what changes, and what must not."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from made_steps import distance, made_batch, made_network, step, tensors_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clover.data.text_lengths import cut_to_longest, longest_first
from clover.errors import ConfigError
from clover.experiment.losses import network_output
from clover.modeling.layers import LayerNorm
from clover.modeling.model import unit
from clover.objectives.contrastive import similarities
from clover.training.compute import Compute, ComputeConfig
from clover.training.optimizer import Optimizer, OptimizerConfig
from clover.types import IGNORED
from saved_memory import SavedMemory

PLAIN = ComputeConfig(device="cpu")
NARROW = ComputeConfig(device="cpu", precision="bfloat16")
CHECKPOINTED = ComputeConfig(device="cpu", checkpoints_activations=True)


def formats_of(network, run):
    """Which formats come into and out of the parts of each kind while the network runs."""
    seen = {}

    def note(part, inputs, output):
        if isinstance(output, torch.Tensor):
            seen.setdefault(type(part), set()).add((inputs[0].dtype, output.dtype))

    hooks = [part.register_forward_hook(note) for part in network.modules()]
    run()
    for hook in hooks:
        hook.remove()
    return seen


def test_products_are_narrow_and_all_else_is_wide():
    network, compute = made_network(), Compute(NARROW)
    compute.prepare(network)
    outputs = []

    def run():
        with compute.autocast():
            outputs.append(network_output(network, made_batch()))

    seen = formats_of(network, run)
    wide, narrow = torch.float32, torch.bfloat16
    assert {given for _, given in seen[LayerNorm]} == {wide}
    assert {given for _, given in seen[nn.Linear]} == {narrow}
    assert not any(type(part) is nn.LayerNorm for part in network.modules())
    assert {value.dtype for value in vars(outputs[0].embeddings).values()} == {wide}
    assert outputs[0].word_scores.dtype == narrow
    losses, gradients = step(network, made_batch(), NARROW)
    assert {value.dtype for value in (*losses.terms.values(), losses.total)} == {wide}
    assert {value.dtype for value in gradients.values()} == {wide}


def test_norms_and_similarities_are_worked_out_in_float32_under_autocast():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 6, 64, generator=generator)
    norm = LayerNorm(64)
    narrow = left.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(similarities(left, right, 0.05), similarities(left, right, 0.05).float())
        inside = similarities(left, right, 0.05), unit(narrow), norm(narrow)
    outside = similarities(left, right, 0.05), unit(narrow.float()), norm(narrow.float())
    for ours, theirs in zip(inside, outside, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_a_network_that_is_narrow_itself_still_runs():
    network, batch = made_network().bfloat16(), made_batch()
    clip = torch.zeros(7, 8, 32, 32, 3, dtype=torch.bfloat16)
    texts = batch.token_ids, batch.masked_token_ids, batch.is_token, batch.targets != IGNORED
    output = network.pretraining_output(clip, batch.is_masked_cell, *texts)
    assert {value.dtype for value in vars(output.embeddings).values()} == {torch.float32}


def run_of(config, num_steps=8):
    network = made_network()
    optimizer = Optimizer(network, OptimizerConfig(learning_rate=2e-3, warmup_share=0.0), num_steps=num_steps)
    totals, gradients = [], []
    for number in range(num_steps):
        losses, found = step(network, made_batch(seed=number), config, seed=number)
        totals.append(losses.total.item())
        gradients.append({name: value.clone() for name, value in found.items()})
        optimizer.clip()
        optimizer.update(number)
    return totals, gradients


def test_bfloat16_drifts_little():
    """Eight steps side by side; figures of a larger network and a longer run are in docs/log.md."""
    (wide, wide_gradients), (narrow, narrow_gradients) = run_of(PLAIN), run_of(NARROW)
    assert narrow != wide
    assert narrow == pytest.approx(wide, rel=0.02)
    assert distance(narrow_gradients[0], wide_gradients[0]) < 0.05


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recomputed_activations_give_the_same_gradients_to_the_bit(size, precision):
    network, batch = made_network(dropout=0.2, stochastic_depth=0.5), made_batch()
    kept, recomputed = (replace(config, precision=precision) for config in (PLAIN, CHECKPOINTED))
    losses, expected = step(network, batch, kept, micro_batch_size=size)
    state = torch.get_rng_state()
    again, ours = step(network, batch, recomputed, micro_batch_size=size)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.total, losses.total)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    other = step(network, batch, recomputed, micro_batch_size=size, seed=4)[1]
    assert distance(other, expected) > 0.01


def test_recomputed_activations_need_less_memory_and_one_more_forward_pass():
    network, batch = made_network(dropout=0.1, stochastic_depth=0.1), made_batch(8)

    def peak(config, size):
        with SavedMemory([*network.parameters(), *network.buffers(), *tensors_of(batch)]) as memory:
            step(network, batch, config, micro_batch_size=size)
        assert memory.num_bytes == 0
        return memory.peak

    kept, recomputed = peak(PLAIN, 0), peak(CHECKPOINTED, 0)
    assert recomputed < 0.5 * kept
    assert peak(CHECKPOINTED, 2) < 0.5 * peak(PLAIN, 2)

    def operations(config):
        with FlopCounterMode(display=False) as counter:
            step(network, batch, config)
        return counter.get_total_flops()

    assert 1.1 < operations(CHECKPOINTED) / operations(PLAIN) < 4 / 3


def test_evaluation_runs_the_layers_plainly():
    network = made_network()
    compute = Compute(CHECKPOINTED)
    compute.prepare(network.eval())
    with torch.no_grad():
        expected = network_output(network, made_batch()).word_scores
    calls = []
    compute = Compute(replace(PLAIN, compiles=True), backend=lambda graph, _: calls.append(graph) or graph)
    with torch.inference_mode():
        found = network_output(compute.prepare(network), made_batch()).word_scores
    torch.testing.assert_close(found, expected)
    assert not calls


@pytest.mark.parametrize("size", [1, 3, 7])
def test_sorted_and_cut_texts_give_the_same_gradients(size):
    network, batch = made_network(), made_batch(length=12)
    losses, expected = step(network, batch, PLAIN)
    lengths = []

    def cut(part):
        lengths.append(cut_to_longest(part).token_ids.shape[1])
        return cut_to_longest(part)

    again, ours = step(network, longest_first(batch), PLAIN, micro_batch_size=size, cut=cut)
    torch.testing.assert_close(again.total, losses.total, rtol=1e-5, atol=1e-5)
    assert distance(ours, expected) < 2e-6
    assert lengths == sorted(lengths[: len(lengths) // 2], reverse=True) * 2 or size == 7
    assert (min(lengths) < max(lengths)) == (size != 7)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ComputeConfig(device="cpu", precision="tf32"), "precision tf32 is of NVIDIA GPUs and the device is cpu"),
        (ComputeConfig(device="cpu", compiles=True), "compiling needs a C\\+\\+ compiler"),
    ],
)
def test_what_cannot_be_is_refused_at_once(config, message, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=message):
        Compute(config)


COMPILED = """
import torch
from made_steps import distance, made_batch, made_network, step, tensors_of
from saved_memory import SavedMemory
from clover.training.compute import Compute, ComputeConfig
from torch._dynamo.testing import CompileCounterWithBackend

plain = Compute(ComputeConfig(device="cpu"))
network = made_network(dropout=0.2, stochastic_depth=0.5, depths=(1, 2), num_layers=1)

for checkpoints in (False, True):
    counter = CompileCounterWithBackend("aot_eager")
    config = ComputeConfig(device="cpu", compiles=True, checkpoints_activations=checkpoints)
    compiled = Compute(config, backend=counter, fullgraph=True)

    def same(batch, size):
        expected = step(network, batch, micro_batch_size=size, compute=plain)
        ours = step(network, batch, micro_batch_size=size, compute=compiled)
        torch.testing.assert_close(ours[0].total, expected[0].total, rtol=1e-5, atol=1e-5)
        assert distance(ours[1], expected[1]) < 2e-6, distance(ours[1], expected[1])

    same(made_batch(6, 7), 3)
    kinds = counter.frame_count
    assert kinds <= 6, "more than three kinds of blocks and two of layers, of which one is begun twice"
    same(made_batch(6, 9), 3)
    assert counter.frame_count == kinds, "another length of text was compiled anew"
    same(made_batch(3, 8), 0)
    assert counter.frame_count == kinds, "a batch of a micro-batch's size was compiled anew"

    def peak(size):
        batch = made_batch(size, 8)
        with SavedMemory([*network.parameters(), *tensors_of(batch)]) as memory:
            step(network, batch, micro_batch_size=3, compute=compiled)
        return memory.peak

    assert peak(12) < 1.05 * peak(6), (peak(12), peak(6))
"""


@pytest.mark.slow
def test_compiled_layers_give_the_same_gradients_without_a_break():
    """With dropout, stochastic depth, texts of any length, and micro-batches, whose first pass keeps nothing.

    In a process of its own: checking shapes in every call, as the tests do, is more than the compiler can follow.
    """
    script = f"import sys; sys.path[:0] = {sys.path!r}\n" + COMPILED
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
