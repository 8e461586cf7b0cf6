"""Which device a process works on, and how batches get there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from clover.distributed import local_rank
from clover.errors import ConfigError

BatchT = TypeVar("BatchT")


def choose_device(name: str = "auto") -> torch.device:
    """The device of this process.

    Args:
        name: ``auto`` (a GPU where there is one, else the processor), ``cpu``, ``cuda``, a GPU by number as in
            ``cuda:1``, or another device that this PyTorch knows. Of several processes that torchrun started, each
            takes the GPU of its own number (``LOCAL_RANK``) for ``auto`` and ``cuda``.

    Raises:
        ConfigError: there is no such device, or several processes would share one GPU.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(("cuda" if num_gpus else "cpu") if name == "auto" else name)
    except RuntimeError as error:
        raise ConfigError(f"{name!r} is no device; give auto, cpu, cuda, or a GPU by number as in cuda:0") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        return _other_device(device)
    if not num_gpus:
        raise ConfigError(f"device {name}: this machine has no GPU that PyTorch {torch.__version__} can use; give cpu")
    num_beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.index is not None and num_beside > 1:
        raise ConfigError(f"device {name}: {num_beside} processes would share it; give cuda, and each takes its own")
    index = local_rank() if device.index is None else device.index
    if index >= num_gpus:
        wanted = f"cuda:{index}" + (f", of process {index} on this machine" if device.index is None else "")
        raise ConfigError(f"device {wanted}: there are only {num_gpus} GPUs here, counted from 0")
    return torch.device("cuda", index)


def _other_device(device: torch.device) -> torch.device:
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise ConfigError(f"device {device}: not available on this machine; give auto or cpu") from error
    return device


def to_device(batch: BatchT, device: torch.device) -> BatchT:
    """A batch with all its tensors on the device; names and numbers in it stay as they are.

    Clips stay uint8: a quarter of float32's bytes travel, and the network normalises them. Tensors go to a GPU from
    page-locked memory without waiting.

    Args:
        batch: A tensor, or a dataclass, tuple, list or mapping of batches.
        device: Where to.
    """
    value: Any = batch
    if isinstance(value, Tensor):
        is_waiting_needed = device.type != "cuda" or value.device.type != "cpu"
        moved: Any = value.to(device) if is_waiting_needed else value.pin_memory().to(device, non_blocking=True)
    elif is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        moved = replace(value, **{name: to_device(part, device) for name, part in parts.items()})
    elif isinstance(value, (tuple, list)):
        moved = type(value)(to_device(part, device) for part in value)
    elif isinstance(value, dict):
        moved = {name: to_device(part, device) for name, part in value.items()}
    else:
        moved = value
    return cast(BatchT, moved)


def on_device(batches: Iterable[BatchT], device: torch.device) -> Iterator[BatchT]:
    """The same batches on the device; on a GPU the next one travels, on a stream of its own, while one is worked on.

    What the batches' iterator raises is raised where its batch would have come.
    """
    if device.type == "cuda":
        yield from prefetched(batches, device)
    else:
        for batch in batches:
            yield to_device(batch, device)


def prefetched(batches: Iterable[BatchT], device: torch.device) -> Iterator[BatchT]:
    """`on_device` with one batch ahead, fetched and page-locked by a thread of its own."""
    streams = torch.get_device_module(device)
    side = streams.Stream(device) if device.type == "cuda" else streams.Stream()
    iterator, end = iter(batches), object()

    def fetch() -> Any:
        batch = next(iterator, end)
        if batch is end:
            return end
        with streams.stream(side):
            return to_device(batch, device)

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(fetch)
        while (batch := coming.result()) is not end:
            here = streams.current_stream(device) if device.type == "cuda" else streams.current_stream()
            here.wait_stream(side)
            _keep_until_used(batch, here)
            coming = thread.submit(fetch)
            yield batch


def _keep_until_used(batch: Any, stream: Any) -> None:
    """Tell the allocator that tensors made on another stream are used on this one."""
    if isinstance(batch, Tensor):
        if batch.is_cuda:
            batch.record_stream(stream)
    elif is_dataclass(batch):
        for field in fields(batch):
            _keep_until_used(getattr(batch, field.name), stream)
    elif isinstance(batch, (tuple, list)):
        for part in batch:
            _keep_until_used(part, stream)
    elif isinstance(batch, dict):
        for part in batch.values():
            _keep_until_used(part, stream)
