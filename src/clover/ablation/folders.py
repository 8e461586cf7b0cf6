"""Where everything of an ablation lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AblationFolder:
    """The folder of an ablation; what is copied elsewhere as a whole goes on there."""

    path: Path

    @property
    def corpus(self) -> Path:
        """The corpus of the experiment."""
        return self.path / "corpus"

    @property
    def warm_corpus(self) -> Path:
        """The corpus that the encoders are warmed on."""
        return self.path / "warm-corpus"

    @property
    def warm(self) -> Path:
        """The run that warmed the encoders."""
        return self.path / "warm"

    @property
    def warm_checkpoint(self) -> Path:
        """What every run starts from."""
        return self.warm / "checkpoint"

    @property
    def runs(self) -> Path:
        """Runs by system and seed."""
        return self.path / "runs"

    @property
    def sweeps(self) -> Path:
        """Runs by swept setting and value."""
        return self.path / "sweeps"
