"""Memory of one device in training: what is always there, and what grows with the micro-batch and with the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clover.planning.network import Block
from clover.planning.objective import FLOAT_BYTES, ObjectiveCost
from clover.types import Parallel

Precision = Literal["bfloat16", "float32"]

_ADAM_NUMBERS = 2
"""AdamW keeps two averages of every weight."""


@dataclass(frozen=True, kw_only=True)
class MemoryNeeds:
    """What decides the memory of one device."""

    blocks: Sequence[Block]
    """Of the larger kind of sample."""
    clip_bytes: int
    """One sample as it comes to the device, in bytes of a pixel."""
    objective: ObjectiveCost
    embedding_width: int
    batch_size: int
    """Samples of a step on all devices: the objective compares each device's with all."""
    batch_per_device: int
    num_devices: int
    parallel: Parallel
    precision: Precision
    recomputes_blocks: bool
    """Activation checkpointing: of every block only the input is held."""

    @property
    def num_weights(self) -> int:
        """Parameters of the network."""
        return sum(block.num_weights for block in self.blocks)

    @property
    def held_bytes(self) -> int:
        """Held for the backward pass, by one sample."""
        if not self.recomputes_blocks:
            return sum(block.held_bytes for block in self.blocks)
        held = sum(block.input_bytes if block.is_repeatable else block.held_bytes for block in self.blocks)
        return held + max(block.held_bytes for block in self.blocks)

    @property
    def working_bytes(self) -> int:
        """Gradients while the largest block's backward pass runs, by one sample: as much as it holds, and the bias'."""
        return max(block.held_bytes + block.bias_bytes for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device, by what they hold.

    With the gradient cache, network and objective take turns, and the peak counts the larger; else both.
    """

    weights: float
    gradients: float
    buckets: float
    """Second copy of the gradients, which ddp sends."""
    optimizer: float
    narrow_weights: float
    """Copies of the weights in the narrow number format."""
    clips: float
    """The device's batch, and the next one."""
    activations: float
    """Held for the backward pass of one micro-batch."""
    working: float
    """Gradients of the block that goes back."""
    objective: float
    """Embeddings of the whole batch, and similarities of the device's own with them."""
    peak: float


def memory_of(needs: MemoryNeeds, micro_batch_size: int, *, is_cached: bool) -> Memory:
    """Memory with micro-batches of a size.

    Args:
        needs: Everything else.
        micro_batch_size: Samples that go through the network together, at least 1.
        is_cached: Whether the gradient cache holds network and objective apart.
    """
    shards = needs.num_devices if needs.parallel == "fsdp" else 1
    weights = needs.num_weights * FLOAT_BYTES / shards
    narrow = 2.0 * needs.num_weights if needs.precision == "bfloat16" else 0.0
    if needs.parallel == "fsdp" and needs.precision == "float32":
        narrow = float(needs.num_weights * FLOAT_BYTES)  # gathered whole
    clips = 2.0 * needs.clip_bytes * needs.batch_per_device
    activations = float(needs.held_bytes * micro_batch_size)
    working = float(needs.working_bytes * micro_batch_size)
    objective = float(
        needs.objective.peak_bytes(needs.batch_size, needs.embedding_width, num_devices=needs.num_devices)
    )
    buckets = weights if needs.parallel == "ddp" and needs.num_devices > 1 else 0.0
    always = (2 + _ADAM_NUMBERS) * weights + buckets + narrow + clips
    if is_cached:  # between the passes only the embeddings remain
        peak = always + max(activations + working, objective)
    else:
        peak = always + activations + max(working, objective)
    return Memory(
        weights=weights,
        gradients=weights,
        buckets=buckets,
        optimizer=_ADAM_NUMBERS * weights,
        narrow_weights=narrow,
        clips=clips,
        activations=activations,
        working=working,
        objective=objective,
        peak=peak,
    )


def largest_micro_batch(needs: MemoryNeeds, usable_bytes: float, *, has_cache: bool) -> int:
    """Most samples that fit through the network together: the device's whole batch, or what fits beside it; 0 if none.

    Args:
        needs: Everything else.
        usable_bytes: Memory of the device that may be used.
        has_cache: Whether fewer than the whole batch go through the gradient cache.
    """

    def fits(size: int) -> bool:
        is_cached = has_cache and size < needs.batch_per_device
        return memory_of(needs, size, is_cached=is_cached).peak <= usable_bytes

    if fits(needs.batch_per_device):
        return needs.batch_per_device
    low, high = 0, needs.batch_per_device  # low fits (or is none), high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
