"""clover export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from clover.commands.options import parse
from clover.data.shapes.corpus import read_pairs
from clover.errors import ConfigError
from clover.evaluation.retrieval import one_text_per_video
from clover.experiment.official import save_official
from clover.export.folder import export_onnx, export_torch
from clover.export.hub_folder import export_hub
from clover.pipeline import Clover
from clover.training.logbook import progress
from clover.types import Pair


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Give a checkpoint to other programs."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint folder."""
    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """What to write."""
    to: Literal["onnx", "torch", "hub", "official"]
    """For whom: onnx (ONNX Runtime), torch (torch.export programs), hub (a folder for the Hugging Face Hub), official
    (the authors' code, a .pth file)."""
    int8: bool = False
    """With --to onnx: write the graphs with weights of 8 bits too, and measure what that costs."""
    corpus: str = ""
    """Corpus whose test videos the graphs are checked on, and 8 bits measured; with --to hub, what is measured for the
    card."""
    license: str = ""
    """With --to hub: licence of the weights, as the Hub abbreviates it (apache-2.0); empty: unknown, or as the card
    (README.md) of the checkpoint says, which is kept where neither this nor --corpus is given."""
    task: Literal["auto", "pre-training", "retrieval", "multiple-choice", "open-answers", "fill-in-the-blank"] = "auto"
    """With --to official: the class that it is for; auto takes that of the checkpoint's head, else
    of the file it was imported from and not trained since, else pre-training."""
    overwrite: bool = False
    """Replace what an earlier export for the same program wrote there; anything else is refused."""


def _pairs(options: ExportOptions) -> list[Pair]:
    return one_text_per_video(read_pairs(Path(options.corpus), "test")) if options.corpus else []


def _to_onnx(clover: Clover, options: ExportOptions) -> list[str]:
    with progress("measuring 8 bits", quiet=not options.int8) as report:
        return export_onnx(clover, Path(options.out), int8=options.int8, pairs=_pairs(options), progress=report)


def _to_torch(clover: Clover, options: ExportOptions) -> list[str]:
    return export_torch(clover, Path(options.out), pairs=_pairs(options))


def _to_hub(clover: Clover, options: ExportOptions) -> list[str]:
    with progress("measuring", quiet=not options.corpus) as report:
        corpus = Path(options.corpus) if options.corpus else None
        return export_hub(clover, Path(options.out), corpus=corpus, license_name=options.license, progress=report)


def _to_official(clover: Clover, options: ExportOptions) -> list[str]:
    return save_official(clover, Path(options.out), None if options.task == "auto" else options.task)


_TARGETS: dict[str, Callable[[Clover, ExportOptions], list[str]]] = {
    "onnx": _to_onnx,
    "torch": _to_torch,
    "hub": _to_hub,
    "official": _to_official,
}
"""Each writes ``options.out`` and gives lines that say what was written."""

_OWN_OPTIONS = {
    "int8": ("onnx",),
    "corpus": ("onnx", "torch", "hub"),
    "license": ("hub",),
    "task": ("official",),
}
"""Options that mean something for some targets only."""


def export(arguments: Sequence[str]) -> None:
    """Run `clover export CHECKPOINT --to TARGET OUT`."""
    options = parse(ExportOptions, arguments, command="export")
    for name, targets in _OWN_OPTIONS.items():
        if getattr(options, name) not in (False, "", "auto") and options.to not in targets:
            raise ConfigError(f"--{name} is for --to {' and '.join(targets)}, not for {options.to}; leave it out")
    if Path(options.out).exists() and not options.overwrite:
        raise ConfigError(f"{options.out} is there already; give another place, or --overwrite")
    clover = Clover.from_pretrained(options.checkpoint)
    told = _TARGETS[options.to](clover, options)
    print("\n".join([*told, f"exported: {options.out}"]))
