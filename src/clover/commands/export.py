"""clover export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from clover.commands.options import parse
from clover.errors import ConfigError
from clover.experiment.official import save_official
from clover.pipeline import Clover


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Give a checkpoint to other programs."""

    checkpoint: tyro.conf.Positional[str]
    """Checkpoint folder."""
    out: tyro.conf.Positional[str]
    """What to write."""
    to: Literal["official"]
    """For whom: official, the authors' code (a .pth file)."""
    task: Literal["auto", "pre-training", "retrieval", "multiple-choice", "open-answers", "fill-in-the-blank"] = "auto"
    """With --to official: the class that it is for; auto takes that of the checkpoint's head, else pre-training."""
    overwrite: bool = False
    """Replace what is there."""


def _to_official(clover: Clover, options: ExportOptions) -> list[str]:
    return save_official(clover, Path(options.out), None if options.task == "auto" else options.task)


_TARGETS: dict[str, Callable[[Clover, ExportOptions], list[str]]] = {"official": _to_official}
"""Each writes ``options.out`` and gives lines that say what was written."""


def export(arguments: Sequence[str]) -> None:
    """Run `clover export CHECKPOINT --to TARGET OUT`."""
    options = parse(ExportOptions, arguments, command="export")
    if Path(options.out).exists() and not options.overwrite:
        raise ConfigError(f"{options.out} is there already; give another place, or --overwrite")
    clover = Clover.from_pretrained(options.checkpoint)
    told = _TARGETS[options.to](clover, options)
    print("\n".join([*told, f"exported: {options.out}"]))
