"""Training less than everything: parts that stay as they are, low-rank adapters in place of whole matrices (LoRA)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import nn

from clover.errors import ConfigError
from clover.modeling.cross_layers import GatedLayer

ModuleT = TypeVar("ModuleT", bound=nn.Module)

Part = Literal["video_encoder", "text_encoder", "fusion", "projections", "masked_words"]
"""A part of the network; the heads of the task belong to none and are always trained."""

PARTS: tuple[Part, ...] = get_args(Part)
"""All of them."""

MODULES: dict[Part, tuple[str, ...]] = {
    "video_encoder": ("video_encoder",),
    "text_encoder": ("text_encoder",),
    "fusion": ("fusion_encoder",),
    "projections": ("video_projection", "text_projection", "fused_video_projection", "fused_text_projection"),
    "masked_words": ("masked_word_head",),
}
"""Names of the modules of `CloverModel` that make each part."""
_HEADS = ("answer_head", "choice_head")

WARMED: Mapping[str, tuple[Part, ...]] = {
    "video_warm_start": ("video_encoder",),
    "text_warm_start": ("text_encoder", "masked_words"),
}
"""Parts that the warm starts of a pre-training train."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): in place of a matrix W, only B and A of W + BA learn.

    They are merged into the checkpoint, which is like any other.
    """

    rank: int = 0
    """Rank of the adapters; 0 uses none. With adapters, only they, gates beside them and the task's head learn."""
    alpha: float = 16.0
    """Adapters are scaled by this over the rank."""
    dropout: float = 0.0
    """Dropout in front of the adapters."""
    parts: tuple[Part, ...] = ("video_encoder", "text_encoder", "fusion", "projections")
    """Parts of the network that get adapters, less those that are frozen."""
    targets: tuple[str, ...] = ()
    """Linear layers of these parts that get them, by the last word of their names, such as query_key_value, output,
    expand, contract; empty takes all."""

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ConfigError(f"lora.rank is {self.rank}; give 1 or more, or 0 for no adapters")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout is {self.dropout}; give 0 or more, below 1")


def prepare(
    network: nn.Module, frozen: Sequence[Part], lora: LoraConfig, *, seed: int, is_pretraining: bool = False
) -> None:
    """Mark what is trained, and put adapters in; `merge_adapters` takes them out again.

    Args:
        network: A `CloverModel`; changed in place.
        frozen: Parts that stay as they are, to the bit.
        lora: The adapters.
        seed: Of their initial values; they change nothing before the first step.
        is_pretraining: Parts without adapters learn whole, where fine-tuning trains adapters and head alone; and what
            Clover adds to an encoder of others (mask token, mixing over time) learns, whatever is done with that.

    Raises:
        ConfigError: peft is not installed, or no layer fits what the adapters are for.
    """
    for name in _roots(network, frozen, is_pretraining):
        network.get_submodule(name).requires_grad_(False)
    if not lora.rank:
        return
    roots = _roots(network, [part for part in lora.parts if part not in frozen], is_pretraining)
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    adapted = {weight for root in roots for weight in network.get_submodule(root).parameters()}
    _add_adapters(network, roots, lora, seed)
    if is_pretraining:  # injecting has frozen everything
        for weight in learning:
            weight.requires_grad_(weight not in adapted)
    for module in (module for root in roots for module in network.get_submodule(root).modules()):
        if isinstance(module, GatedLayer):  # behind a closed gate an adapter would never learn
            module.gates.requires_grad_(True)


def _roots(network: nn.Module, parts: Sequence[Part], is_pretraining: bool) -> list[str]:
    """Names of the modules of parts; in pre-training, of an encoder of others that encoder alone."""
    names = [name for part in parts for name in MODULES[part]]
    if not is_pretraining:
        return names
    return [f"{name}.borrowed" if hasattr(network.get_submodule(name), "borrowed") else name for name in names]


def _add_adapters(network: nn.Module, roots: Sequence[str], lora: LoraConfig, seed: int) -> None:
    if find_spec("peft") is None:
        raise ConfigError("adapters need peft: pip install 'clover-vl[lora]', or use --lora.rank 0")
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    linear = _linear_layers(network, roots)
    known = sorted({name.rpartition(".")[2] for name in linear})
    wrong = [target for target in lora.targets if target not in known]
    if not linear or wrong:
        parts = [part for part, names in MODULES.items() if any(root.partition(".")[0] in names for root in roots)]
        found = f"{', '.join(parts)} with {', '.join(known)}" if linear else "none: all of its parts are frozen"
        raise ConfigError(f"lora: no linear layer {', '.join(wrong) or 'is left'}; there is {found}")
    chosen = [name for name in linear if not lora.targets or name.rpartition(".")[2] in lora.targets]
    settings = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=chosen)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, network)
    for name in _HEADS:  # injecting has frozen everything else
        head = getattr(network, name)
        if head is not None:
            head.requires_grad_(True)


def _linear_layers(network: nn.Module, roots: Sequence[str]) -> list[str]:
    """Names of the linear layers below some modules of a network."""
    return [
        f"{root}.{name}"
        for root in roots
        for name, module in network.get_submodule(root).named_modules()
        if isinstance(module, nn.Linear)
    ]


def merge_adapters(network: nn.Module) -> None:
    """Add every adapter to its matrix, and leave the network as it was before adapters were put in."""
    for name, layer in _adapted(network):
        parent, _, last = name.rpartition(".")
        layer.merge()
        setattr(network.get_submodule(parent), last, layer.get_base_layer())
    if hasattr(network, "peft_config"):
        del network.peft_config
    network.requires_grad_(True)


def without_adapters(network: ModuleT) -> ModuleT:
    """The network with its adapters merged: a copy, or where it has none, the network itself."""
    if not _adapted(network):
        return network
    merged = copy.deepcopy(network)
    merge_adapters(merged)
    return merged


def _adapted(network: nn.Module) -> list[tuple[str, Any]]:
    """Layers with an adapter; none unless peft has put some in."""
    return [(name, module) for name, module in network.named_modules() if hasattr(module, "get_base_layer")]
