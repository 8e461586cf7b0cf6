"""Published names of weights to ours and back; every key is used or listed, every shape checked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import EinopsError, rearrange
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from clover.errors import CheckpointError

_BLOCK = ("backbone.layers.{i}.blocks.{j}.", "video_encoder.stages.{i}.{j}.")
_TEXT = ("text_backbone.bert.", "text_encoder.")
_TEXT_LAYER = ("text_backbone.bert.encoder.layer.{i}.", "text_encoder.transformer.layers.{i}.")
_FUSION = ("multimodal_backbone.", "fusion_encoder.")
_FUSION_LAYER = ("multimodal_backbone.bert_encoder.layer.{i}.", "fusion_encoder.transformer.layers.{i}.")

_BERT_LAYER = {
    "attention.self.{part}.{p}": "attention.query_key_value.{p}",
    "attention.output.dense.{p}": "attention.output.{p}",
    "attention.output.LayerNorm.{p}": "attention_norm.{p}",
    "intermediate.dense.{p}": "expand.{p}",
    "output.dense.{p}": "contract.{p}",
    "output.LayerNorm.{p}": "output_norm.{p}",
}

_NAMES: dict[tuple[str, str], dict[str, str]] = {
    ("backbone.", "video_encoder."): {
        "patch_embed.proj.{p}": "patch_embedding.{p}",
        "patch_embed.norm.{p}": "patch_embedding.norm.{p}",
        "mask_token": "mask_token",
        "layers.{i}.downsample.norm.{p}": "mergings.{i}.norm.{p}",
        "layers.{i}.downsample.reduction.weight": "mergings.{i}.reduction.weight",
        "norm.{p}": "norm.{p}",
    },
    _BLOCK: {
        "norm1.{p}": "attention_norm.{p}",
        "norm2.{p}": "feed_forward_norm.{p}",
        "attn.qkv.{p}": "attention.query_key_value.{p}",
        "attn.proj.{p}": "attention.output.{p}",
        "attn.relative_position_bias_table": "attention.position_bias",
        "mlp.fc1.{p}": "expand.{p}",
        "mlp.fc2.{p}": "contract.{p}",
    },
    _TEXT: {
        "embeddings.word_embeddings.weight": "word_embedding.weight",
        "embeddings.position_embeddings.weight": "position_embedding.weight",
        "embeddings.token_type_embeddings.weight": "type_embedding.weight",
        "embeddings.LayerNorm.{p}": "norm.{p}",
    },
    _TEXT_LAYER: _BERT_LAYER,
    _FUSION: {
        "fc_in.{p}": "video_input.{p}",
        "norm.{p}": "video_norm.{p}",
        "token_type_embeddings.weight": "type_embedding.weight",
        "vis_space_pos": "spatial_position",
        "vis_tempor_pos": "temporal_position",
        "all_cls_token": "own_cls",
    },
    _FUSION_LAYER: _BERT_LAYER,
    ("ssl_head.", ""): {
        "img_projector.0.{p}": "video_projection.expand.{p}",
        "img_projector.1.{p}": "video_projection.hidden_norm.{p}",
        "img_projector.3.{p}": "video_projection.contract.{p}",
        "img_projector.4.{p}": "video_projection.output_norm.{p}",
        "text_projector.0.{p}": "text_projection.expand.{p}",
        "text_projector.2.{p}": "text_projection.contract.{p}",
    },
    ("mlm_ssl_V_head.", "fused_video_projection."): {
        "img_fc1.{p}": "expand.{p}",
        "img_bn1.{p}": "hidden_norm.{p}",
        "img_fc2.{p}": "contract.{p}",
        "img_bn2.{p}": "output_norm.{p}",
    },
    ("mlm_ssl_T_head.", "fused_text_projection."): {"fc1.{p}": "expand.{p}", "fc2.{p}": "contract.{p}"},
    ("mlm_head.predictions.", "masked_word_head."): {
        "transform.dense.{p}": "transform.{p}",
        "transform.LayerNorm.{p}": "norm.{p}",
        "decoder.{p}": "decoder.{p}",
    },
    ("qa_head.", ""): {
        "vqa_classifier.1.{p}": "answer_head.hidden.{p}",
        "vqa_classifier.2.{p}": "answer_head.norm.{p}",
        "vqa_classifier.4.{p}": "answer_head.scores.{p}",
        "mc_vqa_classifier.1.{p}": "choice_head.hidden.{p}",
        "mc_vqa_classifier.2.{p}": "choice_head.norm.{p}",
        "mc_vqa_classifier.4.{p}": "choice_head.scores.{p}",
    },
}
"""(published prefix, our prefix) to the names below them; ``{p}`` is weight or bias, ``{i} {j}`` are numbers,
``{part}`` is query, key or value, three published matrices that are one of ours."""

_SHAPES = {
    "backbone.mask_token": ("d", "1 d 1 1 1"),
    "multimodal_backbone.vis_space_pos": ("s d", "1 1 s d"),
    "multimodal_backbone.vis_tempor_pos": ("t d", "1 t 1 d"),
    "multimodal_backbone.all_cls_token": ("d", "1 1 d"),
}
"""Published name to (our axes, published axes), where a published shape has axes of length one to spare."""

UNUSED = {
    r".*\.relative_position_index": "a constant that is computed here",
    r".*\.position_ids": "a constant that is computed here",
    r"text_backbone\.bert\.pooler\..*": "BERT's pooler, read by no objective",
    r"multimodal_backbone\.bert_embedding\..*": "word embeddings of the fusion encoder, read by no released task",
    r"itm_head\..*": "matching head, used by no released task",
}
"""Published keys that have no place here (as patterns), and why; none of them ever gets a gradient."""

_PARTS = ("query", "key", "value")
_FIELDS = {
    "{i}": r"(?P<i>\d+)",
    "{j}": r"(?P<j>\d+)",
    "{p}": r"(?P<p>weight|bias)",
    "{part}": "(?P<part>query|key|value)",
}


@dataclass(frozen=True)
class _Rule:
    published: str
    ours: str


def _rules() -> Iterator[_Rule]:
    for (published_prefix, our_prefix), names in _NAMES.items():
        for published, ours in names.items():
            yield _Rule(published_prefix + published, our_prefix + ours)


def _compile(template: str) -> re.Pattern[str]:
    pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    for name, expression in _FIELDS.items():
        pattern = pattern.replace(name, expression)
    return re.compile(pattern)


_BY_PUBLISHED = [(_compile(rule.published), rule) for rule in _rules()]
_BY_OURS = [(_compile(rule.ours), rule) for rule in _rules()]


@dataclass(frozen=True, kw_only=True)
class Translation:
    """Published weights under our names."""

    state: dict[str, Tensor]
    unused: dict[str, str]
    """Published keys that have no place here, and why."""


def from_official(state: Mapping[str, Tensor], *, named: Callable[[str], str] = str) -> Translation:
    """Translate an official Clover state dict (or one component of it, with its prefix) to our names.

    Args:
        state: Weights by official names.
        named: What a message calls a weight, by its official name: what it is called in the user's file.

    Raises:
        CheckpointError: a key that is neither known nor listed as unused, a third of a query-key-value matrix, or axes
            other than the published ones.
    """
    translated: dict[str, Tensor] = {}
    unused: dict[str, str] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        reason = next((why for pattern, why in UNUSED.items() if re.fullmatch(pattern, key)), None)
        if reason is not None:
            unused[key] = reason
            continue
        found = next(((match, rule) for pattern, rule in _BY_PUBLISHED if (match := pattern.fullmatch(key))), None)
        if found is None:
            raise CheckpointError(f"unknown weight {named(key)!r}: this is not an official Clover state dict")
        match, rule = found
        ours = rule.ours.format(**match.groupdict())
        if "part" in match.groupdict():
            thirds.setdefault(ours, {})[match["part"]] = tensor
        elif key in _SHAPES:
            our_axes, published_axes = _SHAPES[key]
            try:
                translated[ours] = rearrange(tensor, f"{published_axes} -> {our_axes}")
            except EinopsError:
                raise CheckpointError(f"{named(key)} is {list(tensor.shape)}, expected axes {published_axes}") from None
        else:
            translated[ours] = tensor
    for ours, parts in thirds.items():
        names = [named(name) for name in official_names(ours)]
        translated[ours] = joined({name: parts.get(part) for name, part in zip(names, _PARTS, strict=True)})
    return Translation(state=translated, unused=unused)


def joined(parts: Mapping[str, Tensor | None]) -> Tensor:
    """Query, key and value by their names in a file, as one matrix (or one bias).

    Raises:
        CheckpointError: one is not there, or of another shape than the others.
    """
    missing = [name for name, part in parts.items() if part is None]
    found = {name: part for name, part in parts.items() if part is not None}
    if missing:
        raise CheckpointError(f"{missing[0]} is missing, but {next(iter(found))} is there")
    if len({part.shape for part in found.values()}) > 1 or not all(part.ndim for part in found.values()):
        shapes = ", ".join(f"{name} is {list(part.shape)}" for name, part in found.items())
        raise CheckpointError(f"{shapes}: query, key and value must be matrices, or lists, of one shape")
    return torch.cat(list(found.values()))


def official_names(name: str) -> tuple[str, ...]:
    """What official Clover calls a weight of ours; three names, of query, key and value where we have one matrix.

    Raises:
        CheckpointError: it has no such weight.
    """
    found = next(((match, rule) for pattern, rule in _BY_OURS if (match := pattern.fullmatch(name))), None)
    if found is None:
        raise CheckpointError(f"weight {name!r} has no counterpart in official Clover")
    match, rule = found
    parts = _PARTS if "{part}" in rule.published else ("",)
    return tuple(rule.published.format(**match.groupdict(), part=part) for part in parts)


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate our state dict (or gradients by parameter name) to official names; exact inverse.

    Raises:
        CheckpointError: a name that has no official counterpart.
    """
    translated: dict[str, Tensor] = {}
    for key, tensor in state.items():
        names = official_names(key)
        if len(names) > 1:
            translated |= zip(names, tensor.chunk(len(names)), strict=True)
            continue
        (published,) = names
        if published in _SHAPES:
            our_axes, published_axes = _SHAPES[published]
            tensor = rearrange(tensor, f"{our_axes} -> {published_axes}")
        translated[published] = tensor
    return translated


Named = Callable[[str], Sequence[str]]
"""What the user's file calls a weight of ours: one name, or those of the matrices that are one of ours."""


def _as_ours(name: str) -> Sequence[str]:
    return (name,)


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], *, source: str, may_lack: str = "", named: Named = _as_ours
) -> list[str]:
    """Load weights, with every key used and every shape checked.

    Args:
        module: Where the weights go.
        state: Weights under our names.
        source: Name of the file they come from, for messages.
        may_lack: Pattern of names that the state may lack; those keep their initial value.
        named: What a message calls a weight, by our name.

    Returns:
        The names that were lacking.

    Raises:
        CheckpointError: a name too many or too few, another shape, or whole numbers for weights.
    """
    missing = check_fit(module, state, source=source, may_lack=may_lack, named=named)
    module.load_state_dict(dict(state), strict=False)
    return missing


def check_fit(
    module: nn.Module, state: Mapping[str, Tensor], *, source: str, may_lack: str = "", named: Named = _as_ours
) -> list[str]:
    """Whether `load_strictly` would load; its arguments, what it gives and what it raises. Nothing is loaded."""
    own = module.state_dict()
    extra = sorted(set(state) - set(own))
    missing = sorted(set(own) - set(state))
    wanted = [theirs for name in missing if not (may_lack and re.fullmatch(may_lack, name)) for theirs in named(name)]
    shapes = [
        f"{_shaped(named(name), tensor)}, expected {_shape(own[name], len(named(name)))}"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    shapes += [
        f"{named(name)[0]} is of type {tensor.dtype}, expected {own[name].dtype}"
        for name, tensor in state.items()
        if name in own and tensor.is_floating_point() != own[name].is_floating_point()
    ]
    problems = [f"unknown {named(name)[0]}" for name in extra[:3]] + [f"missing {name}" for name in wanted[:3]]
    problems += shapes[:3]
    if problems:
        total = len(extra) + len(wanted) + len(shapes)
        more = f" and {total - len(problems)} more" if total > len(problems) else ""
        raise CheckpointError(f"{source} does not fit this model: {'; '.join(problems)}{more}")
    return missing


def _shaped(names: Sequence[str], tensor: Tensor) -> str:
    return f"{names[0]} is {_shape(tensor, len(names))}"


def _shape(tensor: Tensor, num_parts: int) -> list[int]:
    """Of one of the parts that were joined along the first axis."""
    return [tensor.shape[0] // num_parts, *tensor.shape[1:]] if num_parts > 1 else list(tensor.shape)


def fingerprint_of(settings: Any, words: str, state: Mapping[str, Tensor]) -> str:
    """A short name of weights with the settings (plain values) and the words (their fingerprint) that go with them."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(words.encode())
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file; call it where the file is written aside.

    Raises:
        OSError: it cannot be written; the library's own error says so in no form that can be caught with others.
    """
    try:
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(0o644)  # the library leaves it to the owner alone
    _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """The library writes metadata in an order that differs from run to run; runs alike are to leave files alike."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        plain = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(plain) <= size:  # as long as before, up to the spaces at its end
            file.seek(8)
            file.write(plain.ljust(size))
