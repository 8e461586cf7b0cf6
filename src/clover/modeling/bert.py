"""BERT from a folder of the Hub, under our names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clover.errors import CheckpointError
from clover.files import shell_word
from clover.modeling.dialects import DIALECTS
from clover.modeling.foreign import refuse_foreign
from clover.modeling.heads import MaskedWordHead
from clover.modeling.layers import TransformerConfig
from clover.modeling.published_config import check_settings, read_published
from clover.modeling.text_encoder import TextEncoder, TextEncoderConfig
from clover.modeling.weight_files import read_weights
from clover.modeling.weights import check_fit, from_official, official_names

_SIZES = {
    "vocab_size": "number of word pieces",
    "hidden_size": "width",
    "num_hidden_layers": "number of layers",
    "num_attention_heads": "number of heads",
    "intermediate_size": "feed-forward width",
    "max_position_embeddings": "number of positions",
}
_FIXED = {
    "model_type": ("bert", "another architecture"),
    "hidden_act": ("gelu", "another activation"),
    "position_embedding_type": ("absolute", "other positions"),
    "is_decoder": (False, "a decoder"),
    "add_cross_attention": (False, "a decoder"),
}
"""What config.json must say where it says something, and what it is otherwise."""
_TAKEN_WHOLE = ("model_type", "hidden_act")
"""What may be otherwise in an encoder that a pre-training takes from transformers."""
_UNUSED = {
    r"pooler\..*": "its pooler, read by no objective",
    r"cls\.seq_relationship\..*": "its head for the next sentence",
    r"embeddings\.position_ids": "a constant",
}
_BODY, _HEAD = "text_backbone.bert.", "mlm_head.predictions."
"""Before official Clover's names of BERT's encoder and of its masked-word head."""
_OF_HEAD = ("transform.dense.", "transform.LayerNorm.", "decoder.")


@dataclass(frozen=True, kw_only=True)
class TextImport:
    """A text encoder that somebody else trained, and its masked-word head where it came with one."""

    state: dict[str, Tensor]
    """Weights under our names, with ``text_encoder.`` or ``masked_word_head.`` before each."""
    config: TextEncoderConfig
    """Geometry; epsilon and dropout by config.json."""
    told: tuple[str, ...]
    """What was done with it: a line each."""
    path: Path
    """The file of weights that was read."""
    resized: tuple[str, ...] = ()
    """Tables that are not as they were in the file."""


def import_bert(place: str | Path) -> TextImport:
    """Take over BERT: weights (safetensors or bin) and config.json beside them.

    Raises:
        CheckpointError: a file is missing or broken, it is another architecture, or a weight is missing, too many or of
            another shape than config.json says.
    """
    file = read_weights(place)
    refuse_foreign(file.state, source=str(file.path), wanted="text")
    if any(dialect.is_of(file.state) for dialect in DIALECTS):
        raise CheckpointError(f"{file.path} is a Swin, and --text takes over BERT; give it with --video")
    config_path = file.path.parent / "config.json"
    plain = _read_config(config_path, file.path)
    config = _config(plain, config_path)
    source = str(file.path)
    names = _FileNames(state=file.state.keys(), prefix=file.prefix)
    state, told = _translated(file.state, names, source)
    _check_layers(state, config.transformer.num_layers, config_path)
    parts: dict[str, nn.Module] = {}
    with torch.device("meta"):
        parts["text_encoder."] = TextEncoder(config)
        if any(name.startswith("masked_word_head.") for name in state):
            width = config.transformer.width
            parts["masked_word_head."] = MaskedWordHead(width=width, vocabulary_size=config.vocabulary_size)
    for prefix, part in parts.items():
        bare = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        named = partial(names.of_ours, prefix)
        check_fit(part, bare, source=f"{source} (BERT by {config_path.name})", named=named)
    return TextImport(state=state, config=config, told=told, path=file.path)


def _read_config(path: Path, weights: Path) -> dict[str, Any]:
    try:
        return read_published(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{weights} has no config.json beside it, which tells the number of attention heads; give BERT's folder"
        ) from None


def _config(plain: Mapping[str, Any], path: Path) -> TextEncoderConfig:
    others = f", others a pre-training takes as they are: --text-encoder {shell_word(f'hf:{path.parent}')}"
    check_settings(plain, path, _FIXED, name="BERT", others=dict.fromkeys(_TAKEN_WHOLE, others))
    sizes = {}
    for name, what in _SIZES.items():
        value = plain.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000_000:
            raise CheckpointError(f"{path} gives no {what}: {name} is {value!r}")
        sizes[name] = value
    epsilon, dropout = plain.get("layer_norm_eps", 1e-12), plain.get("hidden_dropout_prob", 0.1)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise CheckpointError(f"{path}: layer_norm_eps is {epsilon!r}; it must be a small number above 0")
    if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout < 1:
        raise CheckpointError(f"{path}: hidden_dropout_prob is {dropout!r}; it must be 0 or more and below 1")
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise CheckpointError(
            f"{path} says num_attention_heads {sizes['num_attention_heads']}, of which hidden_size "
            f"{sizes['hidden_size']} is not a multiple; give the config.json that the weights were published with"
        )
    return TextEncoderConfig(
        vocabulary_size=sizes["vocab_size"],
        max_length=sizes["max_position_embeddings"],
        transformer=TransformerConfig(
            width=sizes["hidden_size"],
            num_layers=sizes["num_hidden_layers"],
            num_heads=sizes["num_attention_heads"],
            feed_forward_width=sizes["intermediate_size"],
            dropout=float(dropout),
            norm_epsilon=epsilon,
        ),
    )


def _check_layers(state: Mapping[str, Tensor], num_layers: int, path: Path) -> None:
    """Before a network of that many layers is made, which may be any number."""
    prefix = "text_encoder.transformer.layers."
    found = {name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)}
    if len(found) != num_layers:
        raise CheckpointError(
            f"{path} says num_hidden_layers {num_layers}, the weights beside it have {len(found)} layers"
        )


@dataclass(frozen=True, kw_only=True)
class _FileNames:
    """What the user's file calls a weight, also one that it lacks."""

    state: Collection[str]
    """Names in the file."""
    prefix: str
    """What was taken off each of them."""
    given: dict[str, str] = field(default_factory=dict)
    """By official Clover's name, of weights that are there."""

    def of(self, official: str) -> str:
        """By official Clover's name."""
        if official in self.given:
            return self.prefix + self.given[official]
        name = official.replace(_HEAD, "cls.predictions.")
        if official.startswith(_BODY):
            has_prefix = any(known.startswith("bert.") for known in self.state)
            name = ("bert." if has_prefix else "") + official.removeprefix(_BODY)
        if any(known.endswith("LayerNorm.gamma") for known in self.state):
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        return self.prefix + name.replace("cls.predictions.decoder.bias", "cls.predictions.bias")

    def of_ours(self, part: str, name: str) -> tuple[str, ...]:
        """By our name within a part, such as ``text_encoder.``."""
        return tuple(map(self.of, official_names(part + name)))


def _translated(
    state: Mapping[str, Tensor], names: _FileNames, source: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    official: dict[str, Tensor] = {}
    unused: dict[str, int] = {}
    for name, value in state.items():
        # TensorFlow's names in the first releases
        plain = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name.removeprefix("bert."))
        plain = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", plain)
        why = next((why for pattern, why in _UNUSED.items() if re.fullmatch(pattern, plain)), None)
        of_head = plain.removeprefix("cls.predictions.")
        if why is not None:
            unused[why] = unused.get(why, 0) + 1
            continue
        if plain == "cls.predictions.bias":
            new = f"{_HEAD}decoder.bias"
        elif of_head != plain and of_head.startswith(_OF_HEAD):
            new = _HEAD + of_head
        elif plain.startswith(("embeddings.", "encoder.layer.")):
            new = _BODY + plain
        else:
            raise CheckpointError(f"{source}: unknown weight {names.prefix + name!r}; BERT has none of this name")
        official[new], names.given[new] = value, name
    told = [f"not used: {', '.join(unused)}"] if unused else []
    has_head = any(name.startswith(_HEAD) for name in official)
    decoder, words = f"{_HEAD}decoder.weight", f"{_BODY}embeddings.word_embeddings.weight"
    if has_head and decoder not in official and words in official:
        official[decoder], names.given[decoder] = official[words].clone(), names.given[words]
        told.append("its masked-word head shares the word embeddings; here it gets a copy of them")
    elif not has_head:
        told.append("it has no masked-word head; a run begins with a fresh one")
    try:
        translated = from_official(official, named=names.of).state
    except CheckpointError as error:
        why = str(error).removesuffix(": this is not an official Clover state dict")
        raise CheckpointError(f"{source} is not BERT: {why}") from None
    return translated, tuple(told)
