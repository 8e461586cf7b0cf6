"""The published schedule, the no-decay rule, and clipping."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from clover.errors import ConfigError
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.training.optimizer import Optimizer, OptimizerConfig, is_decayed, layer_rate_factors, schedule_factor

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


def test_position_tables_decay_where_asked_for():
    config = OptimizerConfig(weight_decay=0.5, decays_position_bias=True)
    network = new_model(tiny(vocabulary_size=50))
    tables = {weight for name, weight in network.named_parameters() if name.endswith("position_bias")}
    decay = {weight: group["weight_decay"] for group in _groups(network, config) for weight in group["params"]}
    assert tables and all(decay[table] == 0.5 for table in tables)
    plain = {
        weight: group["weight_decay"]
        for group in _groups(network, replace(config, decays_position_bias=False))
        for weight in group["params"]
    }
    assert {weight for weight in decay if decay[weight] != plain[weight]} == tables


def _groups(network, config):
    return Optimizer(network, config, num_steps=1).adam.param_groups


def test_gradients_are_clipped_and_the_norm_is_told():
    layer = nn.Linear(3, 1, bias=False)
    before = layer.weight.clone()
    optimizer = Optimizer(layer, OptimizerConfig(gradient_norm=1.0), num_steps=10)
    (layer(torch.tensor([[3.0, 4.0, 0.0]])).sum() * 2).backward()
    assert optimizer.clip() == pytest.approx(10.0)
    assert layer.weight.grad.norm().item() == pytest.approx(1.0, rel=1e-4)
    optimizer.update(step=1)
    assert not torch.equal(layer.weight, before)
    optimizer.clear()
    assert layer.weight.grad is None


def test_a_gradient_that_is_no_number_is_told():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.full_like(layer.weight, float("nan"))
    assert not math.isfinite(Optimizer(layer, OptimizerConfig(), num_steps=10).clip())


def test_no_steps_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        Optimizer(nn.Linear(1, 1), OptimizerConfig(), num_steps=0)


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("learning_rate", -1.0, "learning_rate is -1.0"),
        ("learning_rate", math.nan, "learning_rate is nan"),
        ("weight_decay", math.inf, "weight_decay is inf"),
        ("epsilon", -1e-8, "epsilon is -1e-08"),
        ("gradient_norm", 0.0, "gradient_norm is 0.0"),
        ("warmup_share", 1.5, "warmup_share is 1.5"),
        ("betas", (0.9, 1.0), "betas are 0.9 and 1.0"),
    ],
)
def test_numbers_that_cannot_train_are_refused_before_a_run(setting, value, told):
    with pytest.raises(ConfigError, match=told):
        OptimizerConfig(**{setting: value})


def test_rates_of_clovers_own_encoders_fall_from_layer_to_layer():
    network = new_model(tiny(vocabulary_size=9))
    factors = layer_rate_factors(network, 0.5)
    by_name = {name: factors.get(weight, 1.0) for name, weight in network.named_parameters()}
    expected = {
        "video_encoder.patch_embedding.weight": 0.125,
        "video_encoder.stages.0.0.attention_norm.weight": 0.25,
        "video_encoder.mergings.0.reduction.weight": 0.5,
        "video_encoder.stages.1.0.attention_norm.weight": 1.0,
        "video_encoder.norm.weight": 1.0,
        "video_encoder.mask_token": 1.0,
        "text_encoder.word_embedding.weight": 0.5,
        "text_encoder.transformer.layers.0.output_norm.weight": 1.0,
    }
    assert {name: by_name[name] for name in expected} == expected
