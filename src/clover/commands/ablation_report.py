"""clover ablate report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from clover.ablation.claims import EVALUATIONS
from clover.ablation.folders import AblationFolder
from clover.ablation.summary import say_results, summarise
from clover.commands.options import parse


@dataclass(frozen=True, kw_only=True)
class AblationReportOptions:
    """Tables, plots and statistics of the runs that are whole; no model is run, and it may be called at any time."""

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """What clover ablate --out named."""


def report(arguments: Sequence[str]) -> None:
    """Run `clover ablate report FOLDER`."""
    options = parse(AblationReportOptions, arguments, command="ablate report")
    folder = Path(options.folder)
    judged, results = summarise(AblationFolder(folder))
    print("R@1 or accuracy: " + ", ".join(EVALUATIONS.values()))
    print("\n".join(say_results(judged, results)))
    print(f"look at {folder / 'report.html'}; figures are in {folder / 'ablation.json'}")
