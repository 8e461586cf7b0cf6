"""Golden files: reading one, and comparing with it at the stated tolerance."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

DEFAULT_FOLDER = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-5


def folder() -> Path:
    """Where the golden files are: `tests/golden`, or `CLOVER_GOLDEN_DIR`."""
    return Path(os.environ.get("CLOVER_GOLDEN_DIR") or DEFAULT_FOLDER)


@dataclass(frozen=True)
class Golden:
    """One golden file and its entry in the manifest."""

    name: str
    config: dict
    tensors: dict[str, Tensor]

    @classmethod
    def load(cls, path: Path) -> "Golden":
        manifest = json.loads((path.parent / "manifest.json").read_text())
        return cls(path.stem, manifest["cases"][path.stem]["config"], load_file(path))

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors below a prefix, the prefix taken off."""
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    def without(self, prefixes: dict[str, str]) -> "Golden":
        """The file less what is named as not covered (prefix to reason)."""
        kept = {key: value for key, value in self.tensors.items() if not key.startswith(tuple(prefixes))}
        return Golden(self.name, self.config, kept)

    def weights(self, prefix: str = "") -> dict[str, Tensor]:
        """The official state dict, each key with a prefix put on."""
        return {prefix + key: value for key, value in self.group("weight.").items()}


def compare(golden: Golden, group: str, ours: dict[str, Tensor], *, tolerance: float = TOLERANCE) -> None:
    """Every tensor of a group must be there and be close, on the scale of the group's largest value."""
    expected = golden.group(group)
    assert set(ours) == set(expected), f"{group}: {sorted(set(ours) ^ set(expected))}"
    scale = max(value.abs().max().item() for value in expected.values())
    for key, value in expected.items():
        assert ours[key].shape == value.shape, f"{group}{key}: {list(ours[key].shape)}, not {list(value.shape)}"
        difference = (ours[key].detach().double() - value.double()).abs().max().item()
        assert difference <= tolerance * scale, f"{group}{key} differs by {difference:.3g}, scale {scale:.3g}"


def compare_gradients(golden: Golden, gradients: dict[str, Tensor], *, prefix: str = "") -> None:
    """Compare full gradients and gradient norms, by official names with a prefix taken off.

    A parameter without an entry in the golden file must have had no gradient, and the other way round.
    """
    named = {key.removeprefix(prefix): value for key, value in gradients.items()}
    full = golden.group("grad.")
    compare(golden, "grad.", {key: named[key] for key in full})
    norms = {key: value.norm() for key, value in named.items()}
    compare(golden, "gradnorm.", norms)
    assert torch.stack(list(norms.values())).isfinite().all()
