"""Exact gradients of a large contrastive batch in the memory of a small one, on one process or many.

Every sample's loss looks at the embeddings of the whole batch, but the network's part of the gradient needs only the
loss's gradient on the sample's own embeddings (Gao et al. 2021, arXiv 2101.06983). So a batch that is too large goes
through the network twice, micro-batch by micro-batch: once for its embeddings, and once more, with the same random
numbers, to send their gradients back. Between the two, processes exchange embeddings: each compares its own samples
with the whole batch, the gradients on the embeddings are summed, each sends back those of its own samples, and the
weights' gradients are summed over processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from clover.data.batches import device_of, micro_batches, num_samples
from clover.distributed import ALONE, Processes
from clover.objectives.contrastive import row_blocks
from clover.objectives.pretraining import Losses, WeightedTerm, weighted_sum

BatchT = TypeVar("BatchT")
CalledT = TypeVar("CalledT", contravariant=True)

Outputs = dict[str, Tensor]
"""What a loss looks at, by name; the network's doing."""


@dataclass(frozen=True, kw_only=True)
class SplitLoss(Generic[BatchT]):
    """A loss in two kinds of terms: those that compare a whole batch, and those that are sums over its samples."""

    outputs: Callable[[BatchT], Outputs]
    """Calls the network; gives exactly what the terms use."""
    compared: tuple[str, ...] = ()
    """Which outputs, of shape ``[b d]``, are compared over the whole batch."""
    compare: Callable[[Outputs, int, slice | None], dict[str, WeightedTerm]] = lambda _outputs, _step, _rows: {}
    """Those of the whole batch, the step, and a range of samples, to terms: what these samples add to each; None stands
    for all of them."""
    add_up: Callable[[Outputs, BatchT, int], dict[str, WeightedTerm]] = lambda _outputs, _batch, _count: {}
    """Outputs of a part, the part, and the count of the whole batch, to terms that add up over the parts."""
    count: Callable[[BatchT], int] = num_samples
    """What these sums are divided by: samples, or masked words."""


@runtime_checkable
class Caller(Protocol[CalledT]):
    """How the network is called where several processes, each with samples of its own, hold it together."""

    def prepare(self, batch: CalledT) -> None:
        """Called before every step, with some of its samples."""

    def first(self, batch: CalledT) -> Outputs:
        """Outputs through which no gradient will flow."""

    def last(self, batch: CalledT) -> Outputs:
        """Outputs through which it will."""

    def synchronised(self, is_last_part: bool) -> AbstractContextManager[None]:
        """Surrounds forward and backward pass of one part; after the last, the processes' gradients are summed."""


def exact_gradients(
    batch: BatchT,
    loss: SplitLoss[BatchT],
    caller: Caller[BatchT],
    *,
    step: int = 0,
    micro_batch_size: int = 0,
    processes: Processes = ALONE,
) -> Losses:
    """Add the gradients of a whole batch to the weights', holding one micro-batch's activations at a time.

    They are those of one pass over the batches of all processes joined, up to the order of sums; with one process and
    one micro-batch, to the bit. Autocast is the caller's. The random state is left where one pass over the batch
    leaves it.

    Args:
        batch: This process' samples; their number may differ from the others'.
        loss: What is minimised.
        caller: Calls the network, twice with every micro-batch, or once where one is enough.
        step: Number of the step.
        micro_batch_size: Samples that go through the network together; the last may be fewer; 0 takes all.
        processes: Who takes part.

    Returns:
        The losses of the batch of all processes, without a graph; the same on all.

    Raises:
        ConfigError: no term has a weight above 0.
    """
    parts = micro_batches(batch, micro_batch_size)
    caller.prepare(parts[0])
    numbers = processes.each([num_samples(batch), loss.count(batch), len(parts)], device_of(batch))
    sizes, counts, turns = zip(*numbers, strict=True)
    ahead: Outputs | None = None
    states: list[_RandomState] = []
    terms: dict[str, WeightedTerm] = {}
    gradients: dict[str, Sequence[Tensor]] = {}
    if loss.compared:
        if max(turns) == 1:
            ahead = caller.last(batch)
            local = {name: ahead[name].detach() for name in loss.compared}
        else:
            local, states = _embed(parts, loss, caller, max(turns))
        terms, found = _compare(local, loss, step, sizes, processes)
        gradients = {name: each.split(micro_batch_size or max(sizes)) for name, each in found.items()}
    sums: dict[str, WeightedTerm] = {}
    for turn in range(max(turns)):
        with caller.synchronised(turn == max(turns) - 1):
            if turn >= len(parts):
                _take_part(caller.last(parts[0]))
                continue
            if states:
                states[turn].restore()
            outputs = ahead if ahead is not None else caller.last(parts[turn])
            added = loss.add_up(outputs, parts[turn], max(1, sum(counts)))
            ends: list[tuple[Tensor, Tensor | None]] = [(outputs[name], each[turn]) for name, each in gradients.items()]
            ends += [(term.value * term.weight, None) for term in added.values()]
            _backward([(end, gradient) for end, gradient in ends if end.requires_grad])
        sums = _added(sums, added)
    return weighted_sum(_over(processes, terms | sums))


def share_of_mean(mean: Tensor, num_samples: int, count: int) -> WeightedTerm:
    """A mean over some of a batch's samples, as what it adds to the mean over all."""
    return WeightedTerm(value=mean * (num_samples / count), weight=1.0)


def _compare(
    local: Outputs, loss: SplitLoss[BatchT], step: int, sizes: Sequence[int], processes: Processes
) -> tuple[dict[str, WeightedTerm], dict[str, Tensor]]:
    """What this process' rows add to the terms, without a graph, and the whole batch's gradients on these rows."""
    widths = [value.shape[1] for value in local.values()]
    if processes.count == 1:
        joined = [value.requires_grad_() for value in local.values()]
    else:
        columns = processes.rows(torch.cat(list(local.values()), dim=1), sizes).split(widths, dim=1)
        joined = [column.contiguous().requires_grad_() for column in columns]
    leaves = dict(zip(local, joined, strict=True))
    terms: dict[str, WeightedTerm] = {}
    start = sum(sizes[: processes.rank])
    own = slice(start, start + sizes[processes.rank])
    for rows in row_blocks(own, sum(sizes)):
        added = loss.compare(leaves, step, rows)
        if not added:
            return {}, {}
        weighted_sum(added).total.backward()
        terms = _added(terms, added)
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    if processes.count > 1:
        wide = processes.total(torch.cat(list(gradients.values()), dim=1))
        columns = wide[own].split([value.shape[1] for value in gradients.values()], dim=1)
        gradients = dict(zip(gradients, columns, strict=True))
    return terms, gradients


def _embed(
    parts: Sequence[BatchT], loss: SplitLoss[BatchT], caller: Caller[BatchT], num_turns: int
) -> tuple[Outputs, list[_RandomState]]:
    """The compared outputs of all parts, and the random state before each part.

    The graph is built, but what it would hold is let go at once: without gradients, attention and dropout may run
    other kernels, which round otherwise and draw other random numbers.
    """
    states, columns = [], []
    with saved_tensors_hooks(lambda _: None, _refuse):
        for part in parts:
            states.append(_RandomState())
            outputs = caller.first(part)
            columns.append([outputs[name].detach() for name in loss.compared])
        for _ in range(num_turns - len(parts)):  # where weights are shared out, all must call for them
            caller.first(parts[0])
    joined = [torch.cat(column) for column in zip(*columns, strict=True)]
    return dict(zip(loss.compared, joined, strict=True)), states


def _take_part(outputs: Outputs) -> None:
    """Go through the motions with a gradient of zero, for other processes that have more parts."""
    _backward([(value, torch.zeros_like(value)) for value in outputs.values() if value.requires_grad])


def _backward(ends: Sequence[tuple[Tensor, Tensor | None]]) -> None:
    if ends:
        torch.autograd.backward([end for end, _ in ends], [gradient for _, gradient in ends])


def _refuse(_: None) -> Tensor:
    raise AssertionError("nothing goes back through the first pass")


def _added(terms: Mapping[str, WeightedTerm], more: Mapping[str, WeightedTerm]) -> dict[str, WeightedTerm]:
    """Sums without a graph, by name."""
    sums = dict(terms)
    for name, term in more.items():
        value = term.value.detach()
        sums[name] = WeightedTerm(value=sums[name].value + value if name in sums else value, weight=term.weight)
    return sums


def _over(processes: Processes, terms: dict[str, WeightedTerm]) -> dict[str, WeightedTerm]:
    """Sums over the processes."""
    if processes.count == 1 or not terms:
        return terms
    device = next(iter(terms.values())).value.device
    sums = processes.sum(torch.stack([term.value.double() for term in terms.values()]).tolist(), device)
    return {
        name: WeightedTerm(value=torch.tensor(value, dtype=term.value.dtype, device=device), weight=term.weight)
        for (name, term), value in zip(terms.items(), sums, strict=True)
    }


class _RandomState:
    """The random state of now, of the processor and of the GPU that is in use."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None

    def restore(self) -> None:
        """Go back to it."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda)
