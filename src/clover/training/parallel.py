"""One network on one process, copied to many (DDP), or divided among many (FSDP)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from clover.distributed import Processes, whole
from clover.modeling.cross_layers import CrossLayer
from clover.modeling.layers import TransformerLayer
from clover.modeling.video_swin import SwinBlock
from clover.training.gradient_cache import Caller, Outputs
from clover.types import Parallel

BatchT = TypeVar("BatchT")
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def caller_for(
    module: nn.Module,
    outputs: Callable[[BatchT], Outputs],
    processes: Processes,
    *,
    parallel: Parallel = "ddp",
) -> Caller[BatchT]:
    """How a module that is trained is called.

    Args:
        module: Holds the weights; with ``fsdp``, they are divided from now on: make the optimiser after this.
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

    def prepare(self, batch: BatchT) -> None:
        pass

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
        self._called, self._outputs = _Called(module, outputs), outputs
        self._made: DistributedDataParallel | None = None

    def prepare(self, batch: BatchT) -> None:
        """The first batch shows whether weights are left unused: to look for them in every step takes time."""
        if self._made is None:
            with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
                used = _weights_behind(self._outputs(batch))
            is_unused = any(weight.requires_grad and weight not in used for weight in self._called.parameters())
            self._made = DistributedDataParallel(self._called, find_unused_parameters=is_unused)
            self._made.register_comm_hook(None, _sum_of_bucket)

    @property
    def _wrapped(self) -> DistributedDataParallel:
        assert self._made is not None, "prepare comes first"
        return self._made

    def first(self, batch: BatchT) -> Outputs:
        return self._outputs(batch)

    def last(self, batch: BatchT) -> Outputs:
        outputs: Outputs = self._wrapped(batch)
        return outputs

    def synchronised(self, is_last_part: bool) -> AbstractContextManager[None]:
        return nullcontext() if is_last_part else self._wrapped.no_sync()


def _weights_behind(outputs: Outputs) -> set[torch.Tensor]:
    """Leaves of the graph that ends in these outputs."""
    waiting = [value.grad_fn for value in outputs.values() if value.grad_fn is not None]
    seen, leaves = set(waiting), set()
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return leaves


def _sum_of_bucket(_, bucket):  # type: ignore[no-untyped-def]  # DDP reads the annotations, and not as text
    """Sum in place of DDP's mean: every process' loss is the whole batch's already."""
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


class _Sharded(Generic[BatchT]):
    """FSDP: weights are gathered layer by layer as they are needed, and gradients are summed and divided."""

    def __init__(self, module: nn.Module, outputs: Callable[[BatchT], Outputs]) -> None:
        def copied(batch: BatchT) -> Outputs:  # the wrapper warns of outputs that are views
            return {name: value.clone() for name, value in outputs(batch).items()}

        self._wrapped: _Called[BatchT] = _Called(module, copied)
        mesh = init_device_mesh(next(module.parameters()).device.type, (dist.get_world_size(),))
        for each in module.modules():
            if isinstance(each, SwinBlock | TransformerLayer | CrossLayer):
                fully_shard(each, mesh=mesh)
        fully_shard(self._wrapped, mesh=mesh)
        for each in self._wrapped.modules():
            if isinstance(each, FSDPModule):
                each.set_gradient_divide_factor(1.0)
                each.set_force_sum_reduction_for_comms(True)

    def prepare(self, batch: BatchT) -> None:
        pass

    def first(self, batch: BatchT) -> Outputs:
        outputs: Outputs = self._wrapped(batch)
        return outputs

    last = first

    def synchronised(self, is_last_part: bool) -> AbstractContextManager[None]:
        return nullcontext()


def gathered(module: nn.Module, plain: ModuleT) -> ModuleT:
    """A plain module of the same kind with the weights of one that is shared out; all processes must call."""
    plain.load_state_dict({name: whole(value) for name, value in module.state_dict().items()})
    return plain
