"""Weights of a transformers folder: every one of them has its place, or the folder is refused.

Nothing of a folder is run: old ``.bin`` files are read as tensors or refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clover.errors import CheckpointError, first_line
from clover.modeling.huggingface import build, config_of, model_class, quiet_library
from clover.modeling.weight_files import PUBLISHED_WEIGHTS, check_packing, shard_files, why_not

_HALVES = {"blip_vision_model": {r"^vision_model\.": ""}}
"""What stands before the names of an image half in a whole model's file, where its class does not know that itself."""
_BUFFERS = r"(.*\.)?(position_ids|token_type_ids|relative_position_index|masked_bias|inv_freq|mask_token)"
"""What older files hold beside the weights of a part: computed tables, and the token of a pre-training's masks."""
_SMALL = 100_000_000
"""So many weights are made without asking; what is lacking is then said by name."""


def read_weights(folder: Path, plain: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a folder, under the names of the model that `build` makes from the same architecture.

    The library itself reads them, because it knows the names of older files; what it would leave to chance is an
    error here.

    Raises:
        CheckpointError: there are no weights, they are broken, hold code, or do not fit the architecture.
    """
    if not any((folder / name).is_file() for name in PUBLISHED_WEIGHTS):
        raise CheckpointError(f"{folder} holds no weights; it needs one of {', '.join(PUBLISHED_WEIGHTS)}")
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(f"{folder} holds adapters beside the model; merge them into it first")
    _check_files(folder, plain)
    expected = build(plain)
    config = config_of(plain)
    try:
        with quiet_library():
            model, found = model_class(config).from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
                dtype=torch.float32,
                key_mapping=_HALVES.get(config.model_type),
            )
    except Exception as error:
        if "weights_only" in str(error):  # whose advice is to let the file run what it holds
            files = ", ".join(name for name in PUBLISHED_WEIGHTS if (folder / name).is_file())
            raise CheckpointError(f"{folder}: {files} {why_not(error)}") from error
        raise CheckpointError(
            f"{folder}: its weights cannot be read ({first_line(error, named=True)}); copy them again"
        ) from error
    own, state = expected.state_dict(), model.state_dict()
    _check_places(folder, model, own, state, found)
    hollow = next((name for name in own if not bool(state[name].isfinite().all())), None)
    if hollow is not None:
        raise CheckpointError(f"{folder}: {hollow} holds numbers that are none (NaN or infinity); copy it again")
    return {name: state[name] for name in own}


def _check_places(
    folder: Path, model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor], found: Mapping[str, Any]
) -> None:
    """Whether weights and places for them are the same, by what the library says it did not take or did not find."""
    kind = getattr(model.config, "model_type", type(model).__name__)
    surplus, unknown = _not_taken(found["unexpected_keys"], own, f"{model.base_model_prefix}.")
    others = sorted(name for name, *_ in found["mismatched_keys"] if name in own)
    lacking = sorted(set(found["missing_keys"]) & set(own) | set(own) - set(state))
    wrong = {"lack": lacking, "have another shape at": others, "go on with": surplus}
    what = next((what for what, names in wrong.items() if names), None)
    if what is not None:
        names = wrong[what]
        raise CheckpointError(
            f"{folder}: its weights {what} {', '.join(names[:3])}{_more(len(names) - 3)}; they are of another "
            f"architecture than config.json says, or incomplete"
        )
    if unknown:
        raise CheckpointError(
            f"{folder}: the installed transformers has no place for {', '.join(unknown[:3])}{_more(len(unknown) - 3)} "
            f"in its {kind}, and without them it is another model than was trained; give one that "
            "it reads whole"
        )


def _not_taken(unexpected: Iterable[str], own: Iterable[str], prefix: str) -> tuple[list[str], list[str]]:
    """Weights of a file that a model has no place for: those of more layers, and those within one of its parts.

    What lies beside the model's parts (heads of tasks, a pooler, the other half of a pair) belongs to neither.
    """
    kinds = {_numberless(name) for name in own}
    parts = {kind[:end] for kind in kinds for end in (match.start() for match in re.finditer(r"\.", kind))}
    parts |= {"embeddings", "encoder"}  # as older files call them, whatever the model of today does
    surplus, unknown = [], []
    for name in sorted(unexpected):
        kind = _numberless(name.removeprefix(prefix))
        if kind in kinds:
            surplus.append(name)
        elif kind.partition(".")[0] in parts and not re.fullmatch(_BUFFERS, kind):
            unknown.append(name)
    return surplus, unknown


def _check_files(folder: Path, plain: Mapping[str, Any]) -> None:
    """Before anything is made: shards lie in the folder, and the files are neither packed nor too small."""
    found = next(folder / name for name in PUBLISHED_WEIGHTS if (folder / name).is_file())
    files = shard_files(found) if found.suffix == ".json" else [found]
    for file in files:
        if file.suffix != ".safetensors":
            check_packing(file)
    with torch.device("meta"):
        wanted = sum(weight.numel() for weight in build(plain).parameters())
    there = sum(file.stat().st_size for file in files)
    if wanted > max(there, _SMALL):  # a weight takes one byte at the least
        raise CheckpointError(
            f"{folder}: config.json describes a model of {wanted:,} weights, but the files have {there:,} bytes; "
            "they lack some, or are of another model"
        )


def _numberless(name: str) -> str:
    """Of a weight: the same for all layers."""
    return re.sub(r"\d+", "#", name)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""
