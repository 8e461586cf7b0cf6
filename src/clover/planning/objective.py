"""What the objective costs: it compares every sample of the batch with every other."""

from __future__ import annotations

from dataclasses import dataclass

from clover.objectives.contrastive import MOST_PAIRS

NUM_EMBEDDINGS = 6
"""Of a sample: video, text, both masked, both fusions."""
FLOAT_BYTES = 4
"""The objective works in float32."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveCost:
    """Of the alignment and ranking terms on the embeddings of a whole batch."""

    num_tables: int
    """Tables of similarities; each is the square of the batch."""
    held_per_pair: float
    """Numbers that autograd holds for every pair of samples."""
    working_per_pair: float
    """Numbers besides while the largest of its steps runs."""
    held_per_sample: int
    """Numbers for every sample and place of an embedding: the embeddings, normalised copies, gradients."""

    def peak_bytes(self, batch_size: int, embedding_width: int, *, num_devices: int = 1) -> float:
        """Most memory of a device at a time: it compares its share of the samples with all, some rows at a time."""
        num_pairs = min(batch_size**2 / num_devices, max(MOST_PAIRS, batch_size))
        pairs = (self.held_per_pair + self.working_per_pair) * num_pairs
        return FLOAT_BYTES * (pairs + self.held_per_sample * batch_size * embedding_width)

    def flops(self, batch_size: int, embedding_width: int) -> int:
        """Operations, forward and backward."""
        return 3 * self.num_tables * 2 * batch_size**2 * embedding_width


OBJECTIVES = {
    "tri-modal": ObjectiveCost(num_tables=12, held_per_pair=18.5, working_per_pair=3.0, held_per_sample=38),
    "pair-wise": ObjectiveCost(num_tables=1, held_per_pair=1.0, working_per_pair=1.0, held_per_sample=14),
    "none": ObjectiveCost(num_tables=0, held_per_pair=0.0, working_per_pair=0.0, held_per_sample=12),
}
"""By alignment. What autograd holds is counted in `tests/planning`; the working part is three tables (one), and the
sum agrees with the growth of a process: 21.7 numbers a pair between batches of 2,048 and 4,096."""
