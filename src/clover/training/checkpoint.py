"""The state of a run in one file without pickles, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from clover.errors import CheckpointError
from clover.files import written_aside
from clover.modeling.weights import save_tensors
from clover.training.optimizer import Optimizer

_FORMAT = "clover-training-state-1"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Where the parts of a run's state live; saved and restored together."""

    path: Path
    """The file."""
    run: str
    """Description of the run; a state of another run is refused."""
    module: nn.Module
    """Whose weights are trained."""
    optimizer: Optimizer
    """Its averages."""

    def save(self, next_step: int) -> None:
        """Write weights, averages, the random state and the next step.

        Raises:
            WriteError: the place cannot be written; the previous state is then still there.
        """
        tensors = {f"weights.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state_tensors().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        description = {"format": _FORMAT, "run": self.run, "next_step": str(next_step)}
        with written_aside(self.path) as aside:
            save_tensors(aside, tensors, description)

    def restore(self) -> int:
        """Put everything back as it was saved.

        Returns:
            The step to go on with.

        Raises:
            CheckpointError: there is no state, it is broken, or it is another run's.
        """
        if not self.path.is_file():
            raise CheckpointError(f"nothing to resume: {self.path} does not exist; start without --resume")
        try:
            with safe_open(self.path, "pt") as file:
                description = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path} is not a readable training state ({error})") from error
        if description.get("format") != _FORMAT:
            raise CheckpointError(f"{self.path} is not a training state of this version; start without --resume")
        if description["run"] != self.run:
            raise CheckpointError(
                f"{self.path} belongs to a run with other settings ({_difference(description['run'], self.run)}); "
                "resume with the same settings, or start in another folder"
            )
        self.module.load_state_dict(_below(tensors, "weights."))
        self.optimizer.load_state_tensors(_below(tensors, "optimizer."))
        torch.set_rng_state(tensors["random.cpu"])
        return int(description["next_step"])


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _difference(saved: str, wanted: str) -> str:
    """The first few settings that differ between two JSON objects, by name."""

    def flat(value: object, path: str = "") -> dict[str, object]:
        if not isinstance(value, dict):
            return {path: value}
        return {name: leaf for key, part in value.items() for name, leaf in flat(part, f"{path}.{key}").items()}

    before, after = flat(json.loads(saved)), flat(json.loads(wanted))
    names = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return "; ".join(f"{name.lstrip('.')}: {before.get(name)} there, {after.get(name)} here" for name in names[:3])
