"""One network on one process, copied to many (DDP), or divided among many (FSDP)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from clover.distributed import Processes
from clover.training.gradient_cache import Caller, Outputs

BatchT = TypeVar("BatchT")

Parallel = Literal["ddp", "fsdp"]
"""Every process holds all weights, or a share of them."""


def caller_for(
    module: nn.Module,
    outputs: Callable[[BatchT], Outputs],
    processes: Processes,
    *,
    parallel: Parallel = "ddp",
) -> Caller[BatchT]:
    """How a module that is trained is called.

    Args:
        module: Holds the weights. With ``fsdp``, `shard` has divided it.
        outputs: Calls it.
        processes: Who holds it together.
        parallel: How.
    """
    if processes.count == 1:
        return _Alone(outputs)
    if parallel == "fsdp":
        return _Sharded(module, outputs)
    return _Copied(module, outputs)


@dataclass(frozen=True)
class _Alone(Generic[BatchT]):
    outputs: Callable[[BatchT], Outputs]

    def first(self, batch: BatchT) -> Outputs:
        return self.outputs(batch)

    def last(self, batch: BatchT) -> Outputs:
        return self.outputs(batch)

    def synchronised(self, is_last_part: bool) -> AbstractContextManager[None]:
        return nullcontext()


class _Called(nn.Module, Generic[BatchT]):
    """A module whose forward pass is a function that calls it somehow: what wrappers hook into."""

    def __init__(self, module: nn.Module, outputs: Callable[[BatchT], Outputs]) -> None:
        super().__init__()
        self.module, self._outputs = module, outputs

    def forward(self, batch: BatchT) -> Outputs:
        return self._outputs(batch)


class _Copied(Generic[BatchT]):
    """DDP: gradients are summed while the backward pass of the last part runs."""

    def __init__(self, module: nn.Module, outputs: Callable[[BatchT], Outputs]) -> None:
        self._outputs = outputs
        self._wrapped = DistributedDataParallel(
            _Called(module, outputs), broadcast_buffers=False, find_unused_parameters=True
        )
        self._wrapped.register_comm_hook(None, _sum_of_bucket)

    def first(self, batch: BatchT) -> Outputs:
        return self._outputs(batch)

    def last(self, batch: BatchT) -> Outputs:
        outputs: Outputs = self._wrapped(batch)
        return outputs

    def synchronised(self, is_last_part: bool) -> AbstractContextManager[None]:
        return nullcontext() if is_last_part else self._wrapped.no_sync()


def _sum_of_bucket(_: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Sum in place of DDP's mean: every process' loss is the whole batch's already."""
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


class _Sharded(Generic[BatchT]):
    """FSDP: weights are gathered layer by layer as they are needed, and gradients are summed and divided."""

    def __init__(self, module: nn.Module, outputs: Callable[[BatchT], Outputs]) -> None:
        self._wrapped = _Called(module, outputs)
        fully_shard(self._wrapped, mesh=_mesh())
        _sum_gradients(self._wrapped)

    def first(self, batch: BatchT) -> Outputs:
        outputs: Outputs = self._wrapped(batch)
        return outputs

    last = first

    def synchronised(self, is_last_part: bool) -> AbstractContextManager[None]:
        return nullcontext()


_LAYERS = ("SwinBlock", "TransformerLayer")


def _mesh() -> Any:
    return init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (dist.get_world_size(),))


def _sum_gradients(module: nn.Module) -> None:
    for each in module.modules():
        if isinstance(each, FSDPModule):
            each.set_gradient_divide_factor(1.0)
            each.set_force_sum_reduction_for_comms(True)
