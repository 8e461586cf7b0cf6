"""Models of Hugging Face's transformers, built from their config: as the installed library has them.

Nothing of a folder is run: model code comes from that library alone.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clover.config import check_finite
from clover.errors import CheckpointError, ConfigError, first_line
from clover.modeling.hub_folders import check_transformers

_FORGOTTEN = {
    *("auto_map", "architectures", "_name_or_path", "transformers_version", "id2label", "label2id"),
    "transformers_weights",
    *("torch_dtype", "dtype", "attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
}
"""What a config says besides the architecture: code to be run, number formats, names of classes and files."""
_UNLISTED = {"metaclip_2_vision_model": "MetaClip2VisionModel", "blip_vision_model": "BlipVisionModel"}
"""Image halves of pairs that the library has a class for and leaves out of its list of models (AutoModel)."""
_UNREAD = {"vjepa2": ("predictor",)}
"""Parts of a model that no token comes from, by its type; they are left out."""
_MOST = {
    r".*(layers|depths?|blocks|stages|groups?)": 1_000,
    r"(image|crop|patch|tubelet|window)_size|num_frames|frames_per_clip": 10_000,
}
"""More than any model has, by what the config calls it; what is larger would be built until memory ends."""
_MOST_POSITIONS = 100_000_000
"""More numbers than any model has for the tokens of a clip: VideoMAE computes as many for its positions when made."""


def read_config(folder: Path) -> dict[str, Any]:
    """The architecture that a folder's config.json describes, as plain values.

    Raises:
        CheckpointError: there is none, or it is of a kind that the installed library does not know.
    """
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no config.json; give the folder of a transformers model")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); copy it again") from error
    kind = plain.get("model_type") if isinstance(plain, dict) else None
    if not isinstance(kind, str):
        raise CheckpointError(f"{path} names no model_type: it is not the config of a transformers model")
    if kind not in CONFIG_MAPPING:
        raise CheckpointError(f"{path}: model_type {kind!r} is unknown to transformers; code of others is never run")
    check_finite(plain, path)
    if plain.get("quantization_config"):
        raise CheckpointError(f"{path}: the weights are quantised; give the model they were made from")
    return plain


def architecture(config: Any) -> dict[str, Any]:
    """What is kept of a library's config: all that `build` needs, as JSON values."""
    plain = {name: value for name, value in config.to_dict().items() if name not in _FORGOTTEN}
    kept: dict[str, Any] = json.loads(json.dumps(plain))
    return kept


def config_of(plain: Mapping[str, Any], *, source: str = "config.json") -> Any:
    """The library's config object.

    Args:
        plain: Its values.
        source: Where they are from, for messages.

    Raises:
        CheckpointError: the installed library does not know it, or refuses a value.
    """
    check_transformers()
    from transformers import CONFIG_MAPPING

    values = {name: value for name, value in plain.items() if name not in _FORGOTTEN}
    kind = values.pop("model_type", None)
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise CheckpointError(f"{source}: model_type {kind!r} is unknown to transformers; install a newer one")
    _check_extents(values, source)
    try:
        with quiet_library():
            return CONFIG_MAPPING[kind].from_dict(values)
    except Exception as error:
        raise CheckpointError(
            f"{source}: transformers refuses this config of a {kind} ({first_line(error, named=True)})"
        ) from error


def _check_extents(values: Mapping[str, Any], source: str) -> None:
    for name, value in values.items():
        most = next((most for pattern, most in _MOST.items() if re.fullmatch(pattern, name)), None)
        numbers = value if isinstance(value, list) else [value]
        if most and any(isinstance(number, int) and not 0 <= number <= most for number in numbers):
            raise CheckpointError(f"{source}: {name} is {str(value)[:40]}; it must be from 0 to {most}")
    sizes = [_whole(values.get(name)) for name in ("image_size", "patch_size", "num_frames", "hidden_size")]
    image, patch, frames, width = sizes
    total = (image // patch) ** 2 * frames * width
    if total > _MOST_POSITIONS:
        raise CheckpointError(
            f"{source}: image_size {image} in patches of {patch}, num_frames {frames} and hidden_size {width} take "
            f"{total:,} numbers for one clip; at most {_MOST_POSITIONS:,} are taken"
        )


def _whole(value: Any) -> int:
    """A size that a config gives, as a whole number of 1 or more; the first of several."""
    first = value[0] if isinstance(value, list) and value else value
    return max(1, first) if isinstance(first, int) else 1


def build(plain: Mapping[str, Any]) -> nn.Module:
    """A model with the library's own fresh weights, always the same, in float32, less parts that nobody reads.

    It is built as it stands, never on the meta device: tables that are in no file are then computed (a model that is
    loaded there comes back with garbage in them).

    Raises:
        CheckpointError: the library has no encoder of this kind.
    """
    config = config_of(plain)
    cls = model_class(config)
    takes_pooler = "add_pooling_layer" in inspect.signature(cls.__init__).parameters
    try:
        with torch.random.fork_rng(devices=[]), quiet_library():
            torch.manual_seed(0)
            model: nn.Module = cls(config, **({"add_pooling_layer": False} if takes_pooler else {}))
    except Exception as error:
        raise CheckpointError(
            f"transformers cannot build this {config.model_type} model ({first_line(error, named=True)})"
        ) from error
    for name in _UNREAD.get(config.model_type, ()):
        delattr(model, name)
    return model


def model_class(config: Any) -> Any:
    """The library's class of encoder for a config.

    Raises:
        CheckpointError: there is none.
    """
    import transformers

    found: Any = transformers.MODEL_MAPPING.get(type(config), None)
    if found is None and config.model_type in _UNLISTED:
        found = getattr(transformers, _UNLISTED[config.model_type], None)
    if not isinstance(found, type):
        raise CheckpointError(
            f"the installed transformers lists no encoder of model_type {config.model_type!r} (AutoModel), nor is it "
            "known here; give one that it lists, such as CLIP, SigLIP, DINOv2 or BERT"
        )
    return found


def checkpointing(model: nn.Module) -> None:
    """Let a model keep the inputs of its layers only, and compute the rest again for the gradients.

    Raises:
        ConfigError: the library cannot do so with it.
    """
    settings = {"use_reentrant": False}
    try:
        now: Any = getattr(model, "activation_checkpointing_enable", None)
        before: Any = getattr(model, "gradient_checkpointing_enable", None)  # its older name
        if now is not None:
            now(activation_checkpointing_kwargs=settings)
        else:
            before(gradient_checkpointing_kwargs=settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{type(model).__name__} cannot compute activations again; leave that out") from error


class Borrowed(nn.Module):
    """A model of the library as a part of ours; its weights are its own affair, also when ours are drawn anew."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = build(plain)

    def train(self, mode: bool = True) -> Borrowed:
        """A model of which nothing learns stays in evaluation mode: without dropout."""
        super().train(mode)
        if mode and not any(weight.requires_grad for weight in self.model.parameters()):
            self.model.eval()
        return self

    def layers_in_order(self) -> list[nn.Module]:
        """The layers, from the input to the output: the items of the innermost lists of modules."""
        lists = [part for part in self.model.modules() if isinstance(part, nn.ModuleList)]
        inner = [part for part in lists if not any(isinstance(below, nn.ModuleList) for below in _below(part))]
        return [layer for part in inner for layer in part]


def _below(part: nn.Module) -> Iterator[nn.Module]:
    return (module for module in part.modules() if module is not part)


@contextlib.contextmanager
def quiet_library() -> Iterator[None]:
    """Without the library's progress bars and remarks."""
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()
