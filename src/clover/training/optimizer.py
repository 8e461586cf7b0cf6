"""AdamW with the method's no-decay rule, and the published learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from clover.distributed import whole
from clover.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its schedule; the defaults are pre-training's (method, section 4)."""

    learning_rate: float = 5e-5
    """Peak learning rate."""
    weight_decay: float = 0.005
    """Decay of weight matrices; none on biases, norms and (see decays_position_bias) position bias tables."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's averaging factors."""
    epsilon: float = 1e-8
    """AdamW's epsilon."""
    gradient_norm: float = 15.0
    """Gradients of a larger norm are scaled down to it."""
    warmup_share: float = 0.1
    """Share of all steps during which the rate ramps up linearly."""
    warmup_start: float = 1e-3
    """Factor at the first step of the ramp."""
    final_factor: float = 1e-3
    """The cosine ends at this share of the peak."""
    stepping: Literal["iteration", "epoch"] = "iteration"
    """Whether the cosine moves with every step or, as in some published fine-tunings, once an epoch."""
    head_rate_factor: float = 1.0
    """Multiplies the learning rate of answer and choice heads (10 in the published QA runs)."""
    decays_position_bias: bool = False
    """Decay relative position bias tables too, as the published question answering runs do."""
    layer_rate_decay: float = 1.0
    """The learning rate of each layer of an encoder is that of the layer above times this; 1: all learn alike. What
    comes before the first layer (embeddings) is one layer more."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "epsilon", "warmup_start", "final_factor", "head_rate_factor"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more")
        if not self.gradient_norm > 0:
            raise ConfigError(f"gradient_norm is {self.gradient_norm}; give a number above 0 (inf: none is scaled)")
        if not 0 < self.layer_rate_decay <= 1:
            raise ConfigError(f"layer_rate_decay is {self.layer_rate_decay}; give more than 0 and at most 1")
        if not 0 <= self.warmup_share <= 1:
            raise ConfigError(f"warmup_share is {self.warmup_share}; give a share from 0 to 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are {self.betas[0]} and {self.betas[1]}; give 0 or more and less than 1 of each")


def schedule_factor(step: int, num_steps: int, config: OptimizerConfig, *, steps_per_epoch: int = 1) -> float:
    """Learning rate at a step over its peak: a cosine from the first step on, times the warm-up ramp.

    As published, the cosine is not shifted by the warm-up, so that the peak is slightly below 1.

    Args:
        step: From 0.
        num_steps: Length of the run.
        config: The schedule.
        steps_per_epoch: Needed for stepping by epoch.
    """
    if config.stepping == "epoch":
        progress = min(1.0, (step // steps_per_epoch) * steps_per_epoch / num_steps)
    else:
        progress = step / num_steps
    cosine = config.final_factor + (1 - config.final_factor) * 0.5 * (1 + math.cos(math.pi * progress))
    warmup_steps = round(config.warmup_share * num_steps)
    if step >= warmup_steps:
        return cosine
    return cosine * (config.warmup_start + (1 - config.warmup_start) * step / warmup_steps)


def is_decayed(name: str, parameter: nn.Parameter, *, decays_position_bias: bool = False) -> bool:
    """Whether weight decay applies: to matrices, less biases, norms and, unless they are asked for, position biases."""
    return parameter.ndim > 1 and (decays_position_bias or not name.endswith("position_bias"))


def layer_rate_factors(module: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """What the learning rate of weights of encoders is multiplied by; those that are not named learn at the full rate.

    Args:
        module: Encoders are the parts of it that give their ``layers_in_order()``, from the input to the output.
        decay: From each layer to the one below. Weights between two layers go with the lower one, weights after the
            last layer learn at the full rate, as do mask tokens and what Clover adds to an encoder of others.
    """
    factors: dict[nn.Parameter, float] = {}
    for encoder in (part for part in module.modules() if hasattr(part, "layers_in_order")):
        layers: list[nn.Module] = encoder.layers_in_order()  # type: ignore[operator]
        number_of = {weight: place for place, layer in enumerate(layers, 1) for weight in layer.parameters()}
        reached, mask_token = 0, getattr(encoder, "mask_token", None)
        for weight in getattr(encoder, "borrowed", encoder).parameters():
            if weight is not mask_token:
                own = number_of.get(weight)
                reached = max(reached, own or 0)  # Swin's mergings are listed after all of its blocks
                factors[weight] = decay ** (len(layers) - (own or reached))
    return factors


class Optimizer:
    """Clips, schedules and steps."""

    def __init__(self, module: nn.Module, config: OptimizerConfig, *, num_steps: int, steps_per_epoch: int = 1) -> None:
        if num_steps < 1:
            raise ConfigError(f"a run of {num_steps} steps trains nothing; give at least 1")
        self.config, self.num_steps, self.steps_per_epoch = config, num_steps, steps_per_epoch
        self.parameters = [weight for weight in module.parameters() if weight.requires_grad]
        if not self.parameters:
            raise ConfigError("nothing is left to be trained: freeze fewer parts")
        decayed_rates = layer_rate_factors(module, config.layer_rate_decay) if config.layer_rate_decay < 1 else {}
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                is_head = name.startswith(("answer_head.", "choice_head."))
                factor = config.head_rate_factor if is_head else decayed_rates.get(parameter, 1.0)
                decayed = is_decayed(name, parameter, decays_position_bias=config.decays_position_bias)
                groups.setdefault((decayed, factor), []).append(parameter)
        self.adam = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "weight_decay": config.weight_decay if decayed else 0.0,
                    "rate_factor": factor,
                }
                for (decayed, factor), parameters in groups.items()
            ],
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.epsilon,
            fused=True,
        )

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step (of parameters without a factor of their own)."""
        factor = schedule_factor(step, self.num_steps, self.config, steps_per_epoch=self.steps_per_epoch)
        return self.config.learning_rate * factor

    def clear(self) -> None:
        """Forget the gradients of the step before."""
        self.adam.zero_grad(set_to_none=True)

    def clip(self) -> float:
        """Scale the gradients down to the largest norm allowed.

        Returns:
            Their norm before, of all processes' shares; not a finite number where a gradient is none.
        """
        return whole(nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_norm)).item()

    def update(self, step: int) -> None:
        """Change the weights by the gradients that are in place."""
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate(step) * group["rate_factor"]
        self.adam.step()

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """Averages and step counts, by place of the parameter, for a checkpoint without pickles."""
        tensors = {}
        for place, state in self.adam.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"{place}.{name}"] = value
        return tensors

    def load_state_tensors(self, read: Callable[[str, torch.Tensor], torch.Tensor], names: Sequence[str]) -> None:
        """The inverse of `state_tensors`.

        Args:
            read: Name and parameter to the saved tensor, laid out as the parameter is.
            names: What was saved.
        """
        state: dict[int, dict[str, torch.Tensor]] = {}
        places = [parameter for group in self.adam.param_groups for parameter in group["params"]]
        for key in names:
            place, name = key.split(".", 1)
            model = places[int(place)] if name != "step" else torch.empty(())
            state.setdefault(int(place), {})[name] = read(key, model)
        groups = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": state, "param_groups": groups})
