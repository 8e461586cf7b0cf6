"""Bytes that each device sends in one step, by ring algorithms: what every collective library does at these sizes."""

from __future__ import annotations

from dataclasses import dataclass

from clover.planning.objective import FLOAT_BYTES, NUM_EMBEDDINGS
from clover.types import Parallel


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes that one device sends in one step."""

    gradients: float
    """Sums of the gradients: all-reduce (ddp) or reduce-scatter (fsdp)."""
    weights: float
    """Gathers of the sharded weights (fsdp)."""
    embeddings: float
    """The other devices' embeddings, and the sum of the gradients on all."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.gradients + self.weights + self.embeddings


def traffic_of(
    *,
    num_weights: int,
    embedding_width: int,
    batch_size: int,
    num_devices: int,
    parallel: Parallel,
    num_micro_batches: int,
    uses_gradient_cache: bool,
) -> Traffic:
    """Bytes of one step.

    Gradients and weights travel in float32. With fsdp every pass through the network gathers the weights again, and the
    gradients of every micro-batch are summed at once; with ddp they are summed once a step.
    """
    others = (num_devices - 1) / num_devices
    weight_bytes = others * num_weights * FLOAT_BYTES
    num_gathers = num_micro_batches * (3 if uses_gradient_cache else 2)
    is_sharded = parallel == "fsdp"
    return Traffic(
        gradients=num_micro_batches * weight_bytes if is_sharded else 2 * weight_bytes,
        weights=num_gathers * weight_bytes if is_sharded else 0.0,
        embeddings=3 * others * NUM_EMBEDDINGS * batch_size * embedding_width * FLOAT_BYTES,
    )
