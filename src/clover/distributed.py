"""The processes of a run: who is who, and what they tell each other. One process alone talks to nobody."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from clover.errors import ConfigError, TrainingError, first_line

_TIMEOUT = timedelta(days=2)
"""The first process may be alone for long: it decodes, tags and evaluates for all. One that ends, torchrun notices."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The processes of a run, seen from one of them."""

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether this one writes what is written once."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first goes through the block before the others: what it leaves on disk, they find."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def sum(self, values: Sequence[float], device: torch.device | None = None) -> list[float]:
        """Sums over the processes, in float64."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(list(values), dtype=torch.float64, device=device)
        dist.all_reduce(sums)
        return sums.tolist()

    def total(self, value: Tensor) -> Tensor:
        """The sum of the processes' tensors, of one shape, in place and without a graph."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def told(self, value: Any) -> list[Any]:
        """What every process has to say, in their order; small plain objects."""
        if self.count == 1:
            return [value]
        said: list[Any] = [None] * self.count
        dist.all_gather_object(said, value)
        return said

    def from_first(self, value: Any) -> Any:
        """What the first process has to say; a small plain object."""
        if self.count == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def each(self, values: Sequence[int], device: torch.device | None = None) -> list[list[int]]:
        """The numbers of every process, in their order."""
        if self.count == 1:
            return [list(values)]
        own = torch.tensor(list(values), device=device)
        parts = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(parts, own)
        return [part.tolist() for part in parts]

    def rows(self, local: Tensor, sizes: Sequence[int]) -> Tensor:
        """The rows of all processes, in their order, without a graph.

        Args:
            local: ``[b …]``, of one shape but for ``b``.
            sizes: ``b`` of every process.
        """
        if self.count == 1:
            return local
        padded = local.new_zeros((max(sizes), *local.shape[1:]))
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def whole(value: Tensor) -> Tensor:
    """A tensor with the shares of all processes; where it is shared out, all must call."""
    return value.full_tensor() if isinstance(value, DTensor) else value


ALONE = Processes()
"""A run of one process."""


def current() -> Processes:
    """The processes that this one was started with and that `together` has joined."""
    if dist.is_available() and dist.is_initialized():
        return Processes(rank=dist.get_rank(), count=dist.get_world_size())
    return ALONE


def local_rank() -> int:
    """Number of this process among those of its machine: which GPU it takes."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_first_process() -> bool:
    """Whether this process, by what torchrun said, writes and shows what is written and shown once."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def together() -> Iterator[Processes]:
    """Join the processes that torchrun started; without torchrun, or in a group that is joined already, nothing.

    Raises:
        ConfigError: torchrun's environment is incomplete, or the others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield current()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if local_rank() < torch.cuda.device_count():
        torch.cuda.set_device(local_rank())
    try:
        dist.init_process_group(backend, timeout=_TIMEOUT)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"the processes cannot be joined ({first_line(error)}); "
            "start them with torchrun --nproc-per-node N -m clover …"
        ) from error
    try:
        yield current()
        gc.collect()  # what still talks to the others ends before the group does
        dist.barrier()
    except RuntimeError as error:
        if "Connection" not in str(error) and not isinstance(error, dist.DistBackendError):
            raise
        raise TrainingError("another process of this run has ended; what it said is above") from error
    finally:
        dist.destroy_process_group()
