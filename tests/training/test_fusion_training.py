"""Training with every kind of fusion: gradient cache, number formats, compiled layers, shares, adapters."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_steps import distance, made_batch, made_network, step

from clover.modeling.cross_layers import CrossLayer, GatedLayer
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.training.adapters import LoraConfig, merge_adapters, prepare
from clover.training.compute import ComputeConfig

ACROSS = ("cross_attention", "gated")


def network_of(kind, *, dropout=0.0, heads=None, dtype=torch.float32):
    config = made_network(dropout=dropout).config
    config = replace(config, fusion=replace(config.fusion, kind=kind), heads=heads or HeadConfig())
    network = new_model(config, seed=1).to(dtype).train()
    for part in network.modules():
        if isinstance(part, GatedLayer):
            torch.nn.init.constant_(part.gates, 0.4)
    return network


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kind", ACROSS)
def test_the_gradient_cache_gives_the_plain_gradients(kind, size):
    network, batch = network_of(kind), made_batch()
    losses, expected = step(network, batch)
    again, ours = step(network, batch, micro_batch_size=size)
    assert {name for name in expected if "cross_attention" in name}
    for name, value in losses.terms.items():
        torch.testing.assert_close(again.terms[name], value, rtol=1e-5, atol=1e-5)
    assert distance(ours, expected) < 1e-5


@pytest.mark.parametrize("kind", ACROSS)
def test_recomputed_layers_give_the_same(kind):
    network, batch = network_of(kind, dropout=0.2), made_batch()
    losses, expected = step(network, batch)
    recomputed, ours = step(network, batch, ComputeConfig(device="cpu", checkpoints_activations=True))
    assert torch.equal(recomputed.total, losses.total)
    assert distance(ours, expected) < 1e-6


@pytest.mark.parametrize("kind", ACROSS)
def test_bfloat16_goes_the_way_of_float32(kind):
    network, batch = network_of(kind), made_batch()
    losses, expected = step(network, batch)
    narrow, ours = step(network, batch, ComputeConfig(device="cpu", precision="bfloat16"))
    assert narrow.total.item() == pytest.approx(losses.total.item(), rel=0.05)
    assert {value.dtype for value in ours.values()} == {torch.float32}
    assert distance(ours, expected) < 0.1


@pytest.mark.parametrize("kind", ACROSS)
def test_adapters_go_into_every_matrix_and_gates_still_learn(kind):
    network = network_of(kind, heads=HeadConfig(num_answers=3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prepare(network, (), LoraConfig(rank=2, parts=("fusion",)), seed=0)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    for name in ("attention.query_key_value", "cross_attention.query", "cross_attention.key_value", "expand"):
        assert any(f"layers.1.{name}.lora_A" in each for each in trained)
    assert any(name.endswith("gates") for name in trained) == (kind == "gated")
    assert not any("text_encoder" in name for name in trained)
    merge_adapters(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    prepare(network, ("fusion",), LoraConfig(rank=2), seed=0)
    assert not any(part.gates.requires_grad for part in network.modules() if isinstance(part, GatedLayer))


COMPILED = """
import torch
from made_steps import distance, made_batch, step
from test_fusion_training import ACROSS, network_of
from clover.training.compute import Compute, ComputeConfig
from torch._dynamo.testing import CompileCounterWithBackend

for kind in ACROSS:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = Compute(ComputeConfig(device="cpu", compiles=True), backend=counter, fullgraph=True)
    network = network_of(kind, dropout=0.2)

    def same(batch):
        expected = step(network, batch, micro_batch_size=3, compute=Compute(ComputeConfig(device="cpu")))
        ours = step(network, batch, micro_batch_size=3, compute=compiled)
        torch.testing.assert_close(ours[0].total, expected[0].total, rtol=1e-5, atol=1e-5)
        assert distance(ours[1], expected[1]) < 1e-5, distance(ours[1], expected[1])

    same(made_batch(6, 7))
    kinds = counter.frame_count
    assert kinds
    same(made_batch(6, 9))
    assert counter.frame_count == kinds, "another length of text was compiled anew"
"""

SHARED_OUT = """
import sys
import json
import torch
from test_fusion_training import network_of, made_batch
from clover.distributed import together, whole
from clover.experiment.losses import pretraining_loss
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.modeling.cross_layers import CrossLayer
from clover.training.gradient_cache import exact_gradients
from clover.training.parallel import caller_for
from torch.distributed.fsdp import FSDPModule
from joined_step import rows_of

with together() as processes:
    found = {}
    for kind in ("cross_attention", "gated"):
        network = network_of(kind)
        loss = pretraining_loss(network, PretrainingObjectiveConfig())
        caller = caller_for(network, loss.outputs, processes, parallel="fsdp")
        batch = rows_of(made_batch(8, length=9), 4 * processes.rank, 4)
        losses = exact_gradients(batch, loss, caller, micro_batch_size=2, processes=processes)
        norm = sum(float(whole(weight.grad).double().square().sum()) for weight in network.parameters()) ** 0.5
        shared = all(isinstance(part, FSDPModule) for part in network.modules() if isinstance(part, CrossLayer))
        found[kind] = {"total": losses.total.item(), "norm": norm, "is_shared_out": shared}
    if processes.is_first:
        print(json.dumps(found))
"""


def run_apart(code, tmp_path, *launcher):
    """In a process of its own, where shapes are not checked: compilers cannot look through the checks."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "parity"), str(here.parent.parent / "benchmarks"), *sys.path]
    (tmp_path / "apart.py").write_text(code)
    done = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / "apart.py")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done


@pytest.mark.slow
def test_layers_are_compiled_once_for_texts_of_any_length(tmp_path):
    run_apart(COMPILED, tmp_path)


@pytest.mark.slow
def test_layers_are_shared_out_over_processes(tmp_path):
    done = run_apart(SHARED_OUT, tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    found = json.loads(done.stdout.splitlines()[-1])
    for kind in ACROSS:
        network = network_of(kind)
        assert any(isinstance(part, CrossLayer) for part in network.modules())
        losses, gradients = step(network, made_batch(8, length=9))
        assert found[kind]["is_shared_out"]
        assert found[kind]["total"] == pytest.approx(losses.total.item(), rel=1e-5)
        norm = sum(float(value.double().square().sum()) for value in gradients.values()) ** 0.5
        assert found[kind]["norm"] == pytest.approx(norm, rel=1e-4)
