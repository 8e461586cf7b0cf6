"""Exact gradients of a large contrastive batch in the memory of a small one.

Every sample's loss looks at the embeddings of the whole batch, but the network's part of the gradient needs only the
loss's gradient on the sample's own embeddings (Gao et al. 2021, arXiv 2101.06983). So every micro-batch goes through
the network twice: once for its embeddings, and once more, with the same random numbers, to send their gradients back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from clover.data.loader import PretrainingBatch
from clover.modeling.model import Embeddings, PretrainingOutput
from clover.objectives.pretraining import (
    Losses,
    PretrainingObjectiveConfig,
    WeightedTerm,
    embedding_terms,
    weighted_sum,
    word_terms,
)
from clover.types import IGNORED

Forward = Callable[[PretrainingBatch], PretrainingOutput]
"""Micro-batch to what the objectives look at; calls the network."""

_NAMES = [field.name for field in fields(Embeddings)]


def cached_gradients(
    batch: PretrainingBatch,
    forward: Forward,
    objective: PretrainingObjectiveConfig,
    *,
    micro_batch_size: int,
    ranking_scale: float = 1.0,
) -> Losses:
    """Add the gradients of a whole batch to the weights', holding one micro-batch's activations at a time.

    They are those of `pretraining_losses` on the whole batch, up to the order of sums; with one micro-batch, to the
    bit. Autocast is the caller's. The random state is left where one pass over the batch leaves it.

    Args:
        batch: The whole batch.
        forward: Called twice with every micro-batch, or once where no term compares embeddings.
        objective: Weights and constants.
        micro_batch_size: Samples that go through the network together; the last may be fewer.
        ranking_scale: Multiplies the ranking weight.

    Returns:
        The losses of the whole batch, without a graph.

    Raises:
        ConfigError: no term has a weight above 0.
    """
    parts = batch.micro_batches(micro_batch_size)
    num_places = max(1, int((batch.targets != IGNORED).sum()))
    terms: dict[str, WeightedTerm] = {}
    ends: list[tuple[Tensor, Tensor | None]]
    gradients: dict[str, Sequence[Tensor]] = {}
    states: list[_RandomState] = []
    if objective.compares_embeddings:
        embeddings, states = _embed(parts, forward)
        compared = embedding_terms(embeddings, objective, ranking_scale=ranking_scale)
        weighted_sum(compared).total.backward()
        terms = _added({}, compared)
        found = {name: getattr(embeddings, name).grad for name in _NAMES}
        gradients = {name: each.split(micro_batch_size) for name, each in found.items() if each is not None}
    for place, part in enumerate(parts):
        if states:
            states[place].restore()
        output = forward(part)
        words = word_terms(output.word_scores, part.targets[part.targets != IGNORED], objective, num_places=num_places)
        ends = [(getattr(output.embeddings, name), each[place]) for name, each in gradients.items()]
        ends += [(term.value * term.weight, None) for term in words.values()]
        _backward([(end, gradient) for end, gradient in ends if end.requires_grad])
        terms = _added(terms, words)
    return weighted_sum(terms)


def _embed(parts: Sequence[PretrainingBatch], forward: Forward) -> tuple[Embeddings, list[_RandomState]]:
    """The embeddings of all parts as leaves, and the random state before each part.

    The graph is built, but what it would hold is let go at once: without gradients, attention and dropout may run
    other kernels, which round otherwise and draw other random numbers.
    """
    states, columns = [], []
    with saved_tensors_hooks(lambda _: None, _refuse):
        for part in parts:
            states.append(_RandomState())
            embeddings = forward(part).embeddings
            columns.append([getattr(embeddings, name).detach() for name in _NAMES])
    joined = [torch.cat(column).requires_grad_() for column in zip(*columns, strict=True)]
    return Embeddings(**dict(zip(_NAMES, joined, strict=True))), states


def _backward(ends: Sequence[tuple[Tensor, Tensor | None]]) -> None:
    if ends:
        torch.autograd.backward([end for end, _ in ends], [gradient for _, gradient in ends])


def _refuse(_: None) -> Tensor:
    raise AssertionError("nothing goes back through the first pass")


def _added(terms: dict[str, WeightedTerm], more: dict[str, WeightedTerm]) -> dict[str, WeightedTerm]:
    """Sums without a graph, by name."""
    sums = dict(terms)
    for name, term in more.items():
        value = term.value.detach()
        sums[name] = WeightedTerm(value=sums[name].value + value if name in sums else value, weight=term.weight)
    return sums


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
