"""Where a model of Hugging Face's transformers lies: a folder of the user's, or one of the Hub."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from clover.errors import CheckpointError, ConfigError, first_line
from clover.files import is_hub_id
from clover.modeling.weight_files import find_weights, shard_files

_PREFIX = "hf:"
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
            f"there is no folder {name}, and it cannot be had from the Hub "
            f"({first_line(error, named=True)}{has}); give the folder of a copy"
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
