"""The published schedule, the no-decay rule, and clipping."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from clover.errors import ConfigError, TrainingError
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.training.optimizer import Optimizer, OptimizerConfig, is_decayed, schedule_factor

GOLDEN = Path(__file__).parents[1] / "golden"
SCHEDULES = json.loads((GOLDEN / "lr_schedule.json").read_text())["schedules"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_is_the_published_one(name):
    golden = SCHEDULES[name]
    config = OptimizerConfig(
        learning_rate=golden["base_lr"],
        warmup_share=golden["warmup_epochs"] / golden["epochs"],
        warmup_start=golden["warmup_ratio"],
        final_factor=float(golden["min_lr_ratio"]),
        stepping=golden["cosine_progress"],
    )
    num_steps = golden["epochs"] * golden["iterations_per_epoch"]
    ours = [
        config.learning_rate * schedule_factor(step, num_steps, config, steps_per_epoch=golden["iterations_per_epoch"])
        for step in range(num_steps)
    ]
    assert ours == pytest.approx(golden["lr"], rel=1e-9)


def test_biases_norms_and_position_tables_do_not_decay():
    network = new_model(tiny(vocabulary_size=50))
    free = {name for name, weight in network.named_parameters() if not is_decayed(name, weight)}
    assert {name for name in free if name.endswith("bias")} == {
        name for name, _ in network.named_parameters() if name.endswith("bias")
    }
    for name, module in network.named_modules():
        if isinstance(module, nn.LayerNorm):
            assert f"{name}.weight" in free
        if isinstance(module, (nn.Linear, nn.Embedding)):
            assert f"{name}.weight" not in free


def test_gradients_are_clipped_and_the_norm_is_told():
    layer = nn.Linear(3, 1, bias=False)
    optimizer = Optimizer(layer, OptimizerConfig(gradient_norm=1.0), num_steps=10)
    norm = optimizer.update(layer(torch.tensor([[3.0, 4.0, 0.0]])).sum() * 2, step=1)
    assert norm == pytest.approx(10.0)
    assert layer.weight.grad.norm().item() == pytest.approx(1.0, rel=1e-4)


def test_a_loss_that_is_no_number_changes_nothing():
    layer = nn.Linear(2, 1)
    before = layer.weight.clone()
    optimizer = Optimizer(layer, OptimizerConfig(), num_steps=10)
    with pytest.raises(TrainingError, match="step 3"):
        optimizer.update(layer(torch.ones(1, 2)).sum() * float("nan"), step=3)
    assert torch.equal(layer.weight, before)


def test_gradients_in_place_are_stepped_from():
    layers = [nn.Linear(3, 1, bias=False) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    losses = [layer(torch.tensor([[3.0, 4.0, 0.0]])).sum() for layer in layers]
    optimizers = [Optimizer(layer, OptimizerConfig(), num_steps=10) for layer in layers]
    losses[1].backward()
    norms = optimizers[0].update(losses[0], 1), optimizers[1].update_from_gradients(losses[1].detach(), 1)
    assert norms[0] == norms[1] == pytest.approx(5.0)
    assert torch.equal(layers[0].weight, layers[1].weight)
    optimizers[1].clear()
    assert layers[1].weight.grad is None


@pytest.mark.parametrize(("loss", "gradient"), [(float("inf"), 1.0), (1.0, float("nan"))])
def test_gradients_in_place_must_be_numbers_too(loss, gradient):
    layer = nn.Linear(2, 1, bias=False)
    before = layer.weight.clone()
    layer.weight.grad = torch.full_like(layer.weight, gradient)
    with pytest.raises(TrainingError, match="step 4"):
        Optimizer(layer, OptimizerConfig(), num_steps=10).update_from_gradients(torch.tensor(loss), 4)
    assert torch.equal(layer.weight, before)


def test_no_steps_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        Optimizer(nn.Linear(1, 1), OptimizerConfig(), num_steps=0)
