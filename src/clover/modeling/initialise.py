"""Initial weights, as published: BERT's and Swin's small normals, Xavier for projections and answer heads."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from clover.modeling.heads import ClassifierHead, TextProjection, VideoProjection
from clover.modeling.huggingface import Borrowed
from clover.modeling.model import CloverModel, ModelConfig


@torch.no_grad()
def initialise(module: nn.Module, seed: int, spread: Literal["published", "fan_in"] = "published") -> None:
    """Draw all parameters of a module from the seed, whatever they held before.

    Args:
        module: What to fill.
        seed: Of everything random.
        spread: See `ModelConfig.initial_weights`.

    Every parameter is first filled with NaN, so that one that nobody initialises is loud. Models of others keep what
    they have.
    """
    parts = _own_parts(module)
    for parameter in (weight for part in parts for weight in part.parameters(recurse=False)):
        parameter.fill_(float("nan"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in parts:
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02 if spread == "published" else part.in_features**-0.5)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
            elif isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=0.02)
            elif isinstance(part, nn.LayerNorm):
                nn.init.ones_(part.weight)
                nn.init.zeros_(part.bias)
        for part in parts:
            if isinstance(part, (VideoProjection, TextProjection, ClassifierHead)):
                for linear in part.modules():
                    if isinstance(linear, nn.Linear):
                        nn.init.xavier_uniform_(linear.weight)
            reset = getattr(part, "reset_own_parameters", None)
            if reset is not None:
                reset()
    forgotten = [name for name, parameter in module.named_parameters() if parameter.isnan().any()]
    if forgotten:
        raise AssertionError(f"parameters without an initial value: {', '.join(forgotten)}")


def _own_parts(module: nn.Module) -> list[nn.Module]:
    """All modules below one, less those that are borrowed."""
    inside = {id(below) for part in module.modules() if isinstance(part, Borrowed) for below in part.modules()}
    return [part for part in module.modules() if id(part) not in inside]


def new_model(config: ModelConfig, *, seed: int = 0) -> CloverModel:
    """A network with fresh weights, the same for the same seed."""
    model = CloverModel(config)
    initialise(model, seed, config.initial_weights)
    return model
