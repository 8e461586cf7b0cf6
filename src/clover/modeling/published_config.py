"""The config.json that a folder of the Hub has beside its weights, as far as an import must understand it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clover.config import check_finite
from clover.errors import CheckpointError
from clover.files import shell_word

_SWIN = {
    "model_type": ("swin", "another architecture"),
    "hidden_act": ("gelu", "another activation"),
    # the library uses it in the blocks and at the end, and always this one before them and at the mergings
    "layer_norm_eps": (1e-5, "another epsilon in some of its layer norms"),
    "use_absolute_embeddings": (False, "positions that are added to the patches"),
    "qkv_bias": (True, "attention without biases"),
}
"""What config.json of a Swin must say where it says something, and what it is otherwise."""


def read_published(path: Path) -> dict[str, Any]:
    """A config.json as plain values.

    Raises:
        FileNotFoundError: there is none.
        CheckpointError: it is not readable, or no config.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); download it again") from error
    if not isinstance(plain, dict):
        raise CheckpointError(f"{path} is not a configuration of a model: it is no JSON object")
    check_finite(plain, path)
    return plain


def check_settings(
    plain: Mapping[str, Any],
    path: Path,
    fixed: Mapping[str, tuple[object, str]],
    *,
    name: str,
    others: Mapping[str, str],
) -> None:
    """Find out whether a config says what an import takes for granted.

    Args:
        plain: The config.
        path: Where it is from, for messages.
        fixed: By setting, what it must say where it says something, and what a model is that has it otherwise.
        name: What users call the model.
        others: By setting, what takes a model that has it otherwise.

    Raises:
        CheckpointError: it says something else.
    """
    for setting, (expected, otherwise) in fixed.items():
        if plain.get(setting, expected) != expected:
            raise CheckpointError(
                f"{path} says {setting} {plain[setting]!r}, {otherwise}; {name} with {setting} {expected!r} is "
                f"imported{others.get(setting, '')}"
            )


def check_swin(folder: Path) -> None:
    """Find out whether a folder's Swin is one that weights alone describe; without config.json it is taken for one.

    Raises:
        CheckpointError: config.json says otherwise, or is not readable.
    """
    path = folder / "config.json"
    if not path.exists():
        return
    others = f", others a pre-training takes as they are: --video-encoder {shell_word(f'hf:{folder}')}"
    check_settings(read_published(path), path, _SWIN, name="Swin", others=dict.fromkeys(_SWIN, others))
