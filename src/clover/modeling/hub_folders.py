"""Where a model of Hugging Face's transformers lies: a folder of the user's, or one of the Hub."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from clover.errors import CheckpointError, ConfigError, first_line
from clover.files import is_hub_id
from clover.modeling.weight_files import find_weights, shard_files

_PREFIX = "hf:"
_SECONDS = 10.0
"""How long the Hub may take to answer at all."""


@dataclass(frozen=True, kw_only=True)
class Companion:
    """What an encoder comes with besides its config and its weights."""

    title: str
    """For messages."""
    files: tuple[str, ...]
    """Names that it has in folders, one or the other."""
    is_in: Callable[[Path], bool]
    """Whether a folder has it."""
    is_needed: bool
    """Whether nothing can be done without it."""


def check_transformers() -> None:
    """Find out whether the library is there.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("transformers") is None:
        raise ConfigError("encoders of others need transformers: pip install 'clover-vl[hf]'")


def find_folder(source: str, *, option: str, companion: Companion | None = None) -> Path:
    """The folder of a model that is named as ``hf:FOLDER``, or as ``hf:ORGANISATION/NAME`` of the Hub.

    Args:
        source: The name.
        option: For messages.
        companion: Of a model of the Hub, what the folder is to have besides; left out where neither the cache nor the
            Hub has it, and, if it is not needed, where ``HF_HUB_OFFLINE`` is set.

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
    return _from_hub(name, companion)


def _from_hub(name: str, companion: Companion | None) -> Path:
    """A model of the Hub: from the cache where it is, else downloaded, without the code that may lie beside it."""
    from huggingface_hub import HfApi, snapshot_download

    wanted = ["*.json", "*.txt", "*.safetensors", "*.model"]
    try:
        cached = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except Exception:  # the library raises many kinds
        cached = None
    whole = cached if cached is not None and _is_whole(cached) else None
    if whole is not None and (companion is None or companion.is_in(whole)):
        return whole
    part = "" if cached is None else _part(companion if whole is not None else None)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        if whole is not None and companion is not None and not companion.is_needed:
            return whole
        raise CheckpointError(
            f"there is no folder {name}, and of the Hub {part or 'it is not in the cache'} (HF_HUB_OFFLINE is set); "
            "give the folder of a copy"
        )
    try:
        files = {file.rfilename for file in HfApi().model_info(name, timeout=_SECONDS).siblings or []}
        if whole is not None and companion is not None and not _lacks(whole, files.intersection(companion.files)):
            return whole
        if not any(file.endswith(".safetensors") for file in files):
            wanted.append("*.bin")
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        can_do_without = whole is not None and companion is not None and not companion.is_needed
        raise CheckpointError(
            f"there is no folder {name}, and it cannot be had from the Hub "
            f"({first_line(error, named=True)}{part and f'; {part}'}); give the folder of a copy"
            f"{', or set HF_HUB_OFFLINE=1 to take what the cache holds' if can_do_without else ''}"
        ) from error


def _part(lacking: Companion | None) -> str:
    return "the cache holds a part only" + (f", without {lacking.title}" if lacking else "")


def _lacks(folder: Path, files: set[str]) -> bool:
    return any(not (folder / file).is_file() for file in files)


def _is_whole(folder: Path) -> bool:
    """Whether a folder of the cache has config and weights; programs that look at a config alone leave no more."""
    if not (folder / "config.json").is_file():
        return False
    try:
        found = find_weights(folder)
        return found.suffix != ".json" or bool(shard_files(found))
    except CheckpointError:
        return False
