"""Models of Hugging Face's transformers: found in a folder, built from their config, read with every weight checked.

Nothing of a folder is run: model code comes from the installed library alone, and old ``.bin`` files are read as
tensors or refused.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clover.config import check_finite
from clover.errors import CheckpointError, ConfigError
from clover.files import is_hub_id
from clover.modeling.weight_files import PUBLISHED_WEIGHTS, check_packing, find_weights, shard_files, why_not

_PREFIX = "hf:"
_FORGOTTEN = {
    *("auto_map", "architectures", "_name_or_path", "transformers_version", "id2label", "label2id"),
    "transformers_weights",
    *("torch_dtype", "dtype", "attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
}
"""What a config says besides the architecture: code to be run, number formats, names of classes and files."""
_UNLISTED = {"metaclip_2_vision_model": "MetaClip2VisionModel", "blip_vision_model": "BlipVisionModel"}
"""Image halves of pairs that the library has a class for and leaves out of its list of models (AutoModel)."""
_HALVES = {"blip_vision_model": {r"^vision_model\.": ""}}
"""What stands before the names of an image half in a whole model's file, where its class does not know that itself."""
_UNREAD = {"vjepa2": ("predictor",)}
"""Parts of a model that no token comes from, by its type; they are left out."""
_BUFFERS = r"(.*\.)?(position_ids|token_type_ids|relative_position_index|masked_bias|inv_freq|mask_token)"
"""What older files hold beside the weights of a part: computed tables, and the token of a pre-training's masks."""
_MOST = {
    r".*(layers|depths?|blocks|stages|groups?)": 1_000,
    r"(image|crop|patch|tubelet|window)_size|num_frames|frames_per_clip": 10_000,
}
"""More than any model has, by what the config calls it; what is larger would be built until memory ends."""
_MOST_POSITIONS = 100_000_000
"""More numbers than any model has for the tokens of a clip: VideoMAE computes as many for its positions when made."""
_SMALL = 100_000_000
"""So many weights are made without asking; what is lacking is then said by name."""
_SECONDS = 10.0
"""How long the Hub may take to answer at all."""


def check_transformers() -> None:
    """Find out whether the library is there.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("transformers") is None:
        raise ConfigError("encoders of others need transformers: pip install 'clover-vl[hf]'")


def find_folder(source: str, *, option: str) -> Path:
    """The folder of a model that is named as ``hf:FOLDER``, or as ``hf:ORGANISATION/NAME`` of the Hub.

    Raises:
        ConfigError: it is named in another way, or transformers is not installed.
        CheckpointError: there is no such folder, and the Hub does not have it or cannot be reached.
    """
    name = source.removeprefix(_PREFIX)
    if not source.startswith(_PREFIX) or not name:
        raise ConfigError(f"{option} is {source!r}; give hf: and a folder of a transformers model, as in hf:FOLDER")
    check_transformers()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not is_hub_id(name) or folder.exists():
        raise CheckpointError(f"{folder} is not a folder; give one that holds a config.json and weights")
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    """A model of the Hub: from the cache where it is, else downloaded, without the code that may lie beside it."""
    from huggingface_hub import HfApi, snapshot_download

    wanted = ["*.json", "*.txt", "*.safetensors", "*.model"]
    try:
        cached = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except Exception:  # the library raises many kinds
        cached = None
    if cached is not None and _is_whole(cached):
        return cached
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        has = "it is not in the cache" if cached is None else "the cache holds a part only"
        raise CheckpointError(
            f"there is no folder {name}, and of the Hub {has} (HF_HUB_OFFLINE is set); give the folder of a copy"
        )
    try:
        files = HfApi().model_info(name, timeout=_SECONDS).siblings or []
        if not any(file.rfilename.endswith(".safetensors") for file in files):
            wanted.append("*.bin")
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        has = "" if cached is None else "; the cache holds a part only"
        raise CheckpointError(
            f"there is no folder {name}, and it cannot be had from the Hub ({_line(error)}{has}); give the folder of a "
            "copy"
        ) from error


def _is_whole(folder: Path) -> bool:
    """Whether a folder of the cache has config and weights; programs that look at a config alone leave no more."""
    if not (folder / "config.json").is_file():
        return False
    try:
        found = find_weights(folder)
        return found.suffix != ".json" or bool(shard_files(found))
    except CheckpointError:
        return False


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
        return CONFIG_MAPPING[kind].from_dict(values)
    except Exception as error:
        raise CheckpointError(f"{source}: transformers refuses this config of a {kind} ({_line(error)})") from error


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
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(0)
            model: nn.Module = cls(config, **({"add_pooling_layer": False} if takes_pooler else {}))
    except Exception as error:
        raise CheckpointError(f"transformers cannot build this {config.model_type} model ({_line(error)})") from error
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
        with _quiet():
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
        raise CheckpointError(f"{folder}: its weights cannot be read ({_line(error)}); copy them again") from error
    own, state = expected.state_dict(), model.state_dict()
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
            f"in its {config.model_type}, and without them it is another model than was trained; give one that it "
            "reads whole"
        )
    hollow = next((name for name in own if not bool(state[name].isfinite().all())), None)
    if hollow is not None:
        raise CheckpointError(f"{folder}: {hollow} holds numbers that are none (NaN or infinity); copy it again")
    return {name: state[name] for name in own}


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


def _numberless(name: str) -> str:
    """Of a weight: the same for all layers."""
    return re.sub(r"\d+", "#", name)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _line(error: BaseException) -> str:
    """The first line of a library's error, not too long."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
