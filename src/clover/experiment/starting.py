"""What a pre-training starts from: the tokenizer and the weights of some parts of an earlier checkpoint."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from clover.modeling.model import CloverModel, ModelConfig
from clover.modeling.weights import load_strictly
from clover.pipeline import Clover, InputConfig
from clover.training.adapters import MODULES, Part


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights of another run's checkpoint, by part."""

    source: str
    """The checkpoint's folder, for messages."""
    fingerprint: str
    """Of the whole checkpoint."""
    weights: dict[Part, dict[str, Tensor]]
    """By part, under our names."""
    model: ModelConfig
    """Its network."""
    inputs: InputConfig
    """What its network takes."""

    @classmethod
    def read(cls, folder: str | Path, parts: Sequence[Part]) -> Start:
        """Read a checkpoint folder.

        Raises:
            CheckpointError: it is none, or broken.
        """
        clover = Clover.from_pretrained(folder)
        state = clover.network.state_dict()
        weights = {
            part: {name: value for name, value in state.items() if name.partition(".")[0] in MODULES[part]}
            for part in dict.fromkeys(parts)
        }
        config = clover.config
        return cls(
            source=str(folder),
            fingerprint=clover.fingerprint,
            weights=weights,
            model=config.model,
            inputs=config.inputs,
        )

    def put_into(self, network: CloverModel, *, quiet: bool = False) -> dict[str, int]:
        """Replace a network's weights, part by part, and say how many; all other weights stay as they are.

        Returns:
            Number of weight tensors by part.

        Raises:
            CheckpointError: a weight is missing, too many, or has another shape.
        """
        taken = "|".join(re.escape(name) for part in self.weights for name in MODULES[part])
        state = {name: value for part in self.weights.values() for name, value in part.items()}
        load_strictly(network, state, source=self.source, may_lack=rf"(?!(?:{taken})\.).*")
        counts = {str(part): len(names) for part, names in self.weights.items()}
        if not quiet:
            told = ", ".join(f"{count} of {part}" for part, count in counts.items())
            print(f"weights from {self.source}: {told}", file=sys.stderr)
        return counts
