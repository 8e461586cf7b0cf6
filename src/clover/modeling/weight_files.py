"""Files of weights that others wrote, read without ever running what is in them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clover.errors import CheckpointError
from clover.files import checksum, refused_address
from clover.modeling.plain_numbers import STANDING_IN

_CONTAINERS = ("state_dict", "model", "module")
"""Where training programs put the weights among other things: mmcv's, Microsoft Swin's, DeepSpeed's name for it."""
_WRAPPER = "module."
"""What data-parallel training puts before every name."""
_INDEX = ".index.json"
"""End of the name of a file that lists the files (shards) in which large weights lie."""
PUBLISHED_WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{_INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{_INDEX}",
)
"""What a folder of the Hub calls its weights; the first that is there is read."""
_NOT_WEIGHTS = {
    b"<": "a page of the web, not weights: the server sent it in place of the file; download the file itself",
    b"version https://git-lfs": "a Git LFS pointer, not weights; fetch the file itself (git lfs pull)",
    b"{": "JSON text, not weights",
}
"""First bytes of what is often saved under the name of a file of weights."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Number formats of weights; narrower ones mean something only together with scales that lie elsewhere."""
_TRUST = threading.Lock()
"""Held while what PyTorch lets a file name is changed, which it keeps for the whole process."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """Weights by the names of whoever wrote them."""

    path: Path
    """The file that was read, also where a folder was given; of weights in shards, the index that lists them."""
    state: dict[str, Tensor]
    """Name to tensor, on the processor; floating-point ones as float32."""
    meta: Mapping[str, Any]
    """What the file says of itself, where it does (mmcv's ``meta``); plain values, not to be trusted."""
    prefix: str = ""
    """What was taken off every name, for messages that name what stands in the file."""


def find_weights(place: str | Path) -> Path:
    """The file of weights that a path means: itself, or the one in a folder of the Hub.

    Raises:
        CheckpointError: there is no such file or folder, or the folder holds no weights.
    """
    path = Path(place)
    if not path.exists():
        if refused := refused_address(place):
            raise CheckpointError(refused)
        raise CheckpointError(f"{path} does not exist; give a file of weights or a folder (nothing is downloaded)")
    if path.is_file():
        return path
    found = next((path / name for name in PUBLISHED_WEIGHTS if (path / name).is_file()), None)
    if found is None:
        raise CheckpointError(
            f"{path} holds no weights: it needs model.safetensors or pytorch_model.bin, or the {_INDEX} of either and "
            "its shards"
        )
    return found


def shard_files(index: Path) -> list[Path]:
    """The files that an index of weights lists, by name.

    Raises:
        CheckpointError: it lists none, one that lies elsewhere, or one that is not there.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [index.parent / name for name in names]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} lists no files of weights ({type(error).__name__}: {str(error)[:200]}); copy it again"
        ) from error
    if not files:
        raise CheckpointError(f"{index} lists no files of weights; copy it again")
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise CheckpointError(f"{index} names {outside[0]!r}, which is not in its folder; copy the model again")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(f"{index.parent} lacks {', '.join(missing[:3])}{more}; copy it again")
    return files


def weights_checksum(path: Path) -> str:
    """SHA-256 of a file of weights; of an index, over the digits of its shards', in the order of their names."""
    if not path.name.endswith(_INDEX):
        return checksum(path)
    return hashlib.sha256("".join(map(checksum, shard_files(path))).encode()).hexdigest()


def read_weights(place: str | Path) -> WeightFile:
    """Read a safetensors file or a PyTorch file (``weights_only``); of a folder, its file of weights or its shards.

    Args:
        place: The file, or a folder of the Hub. Dictionaries around the weights (mmcv's ``state_dict``, Swin's
            ``model``) and the prefix of data-parallel training are taken off.

    Raises:
        CheckpointError: there is no such file; it is empty, cut short or no weights; it would run code; or it holds
            something else than tensors, or numbers that are none.
    """
    path = find_weights(place)
    if path.name.endswith(_INDEX):
        return WeightFile(path=path, state=_read_shards(path), meta={})
    return _read_one(path)


def _read_shards(index: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for path in shard_files(index):
        shard = _read_one(path).state
        twice = sorted(state.keys() & shard.keys())
        if twice:
            raise CheckpointError(f"{path} holds {twice[0]}, which an earlier shard of {index.name} holds too")
        state |= shard
    return state


def _read_one(path: Path) -> WeightFile:
    _check_beginning(path)
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    meta = loaded.get("meta")
    state = _checked(_unwrapped(loaded, path), path)
    prefix = _WRAPPER if all(name.startswith(_WRAPPER) for name in state) else ""
    return WeightFile(
        path=path,
        state={name.removeprefix(prefix): value for name, value in state.items()},
        meta=meta if isinstance(meta, Mapping) else {},
        prefix=prefix,
    )


def _check_beginning(path: Path) -> None:
    try:
        with path.open("rb") as file:
            beginning = file.read(64)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if not beginning:
        raise CheckpointError(f"{path} is empty; download or copy it again")
    if b"\0" in beginning[:8]:
        return  # no text; a safetensors file may begin with any letter, but its eighth byte is 0
    for start, what in _NOT_WEIGHTS.items():
        if beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(start):
            raise CheckpointError(f"{path} is {what}")


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); download or copy it again") from error


def read_whole(path: Path) -> Mapping[Any, Any]:
    """What a PyTorch file holds at its outermost, read with ``weights_only`` and not checked further.

    Raises:
        CheckpointError: it is missing, empty or no PyTorch file, or it would run code.
    """
    _check_beginning(path)
    return _read_pickle(path)


def _read_pickle(path: Path) -> Mapping[Any, Any]:
    is_archive = check_packing(path)
    try:
        with _trusting_numbers_alone(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # a file that somebody made can raise anything
        raise CheckpointError(f"{path} {why_not(error)}") from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not weights by name")
    return loaded


@contextmanager
def _trusting_numbers_alone() -> Iterator[None]:
    """Let a file name what stands in for NumPy's numbers, and nothing else; one thread at a time.

    What the program itself trusts is put aside: it may give the same names to other things, and the files are not its
    own. It is there again afterwards, with whatever was added meanwhile.
    """
    with _TRUST:
        own = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(STANDING_IN)
        try:
            yield
        finally:
            added = [entry for entry in torch.serialization.get_safe_globals() if entry not in STANDING_IN]
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals([*own, *added])


def check_packing(path: Path) -> bool:
    """Find out whether a PyTorch file is an archive, as all but old ones are, and of the size that it seems.

    PyTorch stores what is in its archives as it is; one that is packed may unpack to any size.

    Raises:
        CheckpointError: it is packed, or broken.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            is_packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except Exception as error:  # a file that somebody made can raise anything
        raise CheckpointError(f"{path} is cut short or damaged; download or copy it again") from error
    if is_packed:
        raise CheckpointError(f"{path} is a compressed archive, not weights that PyTorch wrote; unpack it first")
    return True


def why_not(error: Exception) -> str:
    """What is wrong with a PyTorch file that was not loaded."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    if found:
        return (
            f"holds more than weights: loading it would run {found[1]}, which is refused; if you trust where it comes "
            "from, save its state_dict alone (torch.save) where it was made"
        )
    if isinstance(error, EOFError) or re.search(r"EOF|zip archive|central directory|corrupt", str(error)):
        return "is cut short or damaged; download or copy it again"
    return "is not a file of weights that PyTorch or safetensors wrote; give one"


def _unwrapped(loaded: Mapping[Any, Any], path: Path) -> Mapping[Any, Any]:
    inner = next((loaded[name] for name in _CONTAINERS if isinstance(loaded.get(name), Mapping)), None)
    state = loaded if inner is None else inner
    if not state:
        raise CheckpointError(f"{path} holds no weights: it is an empty dictionary")
    return state


def _checked(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    checked: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            what = f"a {type(value).__name__} under {name!r}"
            raise CheckpointError(f"{path} holds {what} where tensors by name are expected; it is no state dict")
        _check_kind(name, value, path)
        if not value.numel():
            raise CheckpointError(f"{path}: {name} is {list(value.shape)}, without a single number; it is damaged")
        if value.is_floating_point():
            value = value.detach().float()
            if not bool(value.isfinite().all()):
                raise CheckpointError(f"{path}: {name} holds numbers that are none (NaN or infinity); it is damaged")
        storage = value.untyped_storage().data_ptr()
        # tied matrices lie in one place, which safetensors refuses to write
        checked[name] = value.clone() if storage in storages else value
        storages.add(storage)
    return checked


def _check_kind(name: str, value: Tensor, path: Path) -> None:
    """Whether a tensor is what weights are: numbers, all of which lie in the file."""
    if value.layout != torch.strided or value.is_nested:
        raise CheckpointError(f"{path}: {name} is a sparse or nested tensor; weights are dense ones")
    is_odd = value.is_floating_point() and value.dtype not in _FLOATS
    if is_odd or value.is_complex() or value.is_quantized:
        raise CheckpointError(f"{path}: {name} is of type {value.dtype}; weights are floating-point numbers")
    if value.is_meta:
        raise CheckpointError(f"{path}: {name} has a shape and no numbers (device meta); save it from another device")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise CheckpointError(f"{path}: {name} is {list(value.shape)}, more numbers than the file has; it is damaged")
