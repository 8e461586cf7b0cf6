"""clover report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from clover.commands.options import parse
from clover.errors import ConfigError
from clover.report.benchmarks import compare, read_result, write_tables


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Results of benchmarks beside the published ones, as one page."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN ...")] = ()
    """Folders of runs that were evaluated, or their checkpoints, or result files."""
    out: str = "report.html"
    """The page."""
    compare: tuple[str, ...] = ()
    """Two predictions files of one benchmark (clover evaluate --predictions): shows where the two differ."""
    most: int = 8
    """Most pictures."""


def report(arguments: Sequence[str]) -> None:
    """Run `clover report`."""
    options = parse(ReportOptions, arguments, command="report")
    if not options.runs and not options.compare:
        raise ConfigError("nothing to report; name the folders of evaluated runs")
    if options.compare and len(options.compare) != 2:
        raise ConfigError(f"--compare takes two predictions files, not {len(options.compare)}")
    results = [read_result(Path(run)) for run in options.runs]
    comparison = compare(*map(Path, options.compare), most=options.most) if options.compare else None
    write_tables(Path(options.out), results, comparison)
    if comparison is not None:
        print(f"the two differ in {comparison.num_differing:,} of {comparison.num_rows:,} rows")
    print(f"report: {options.out}")
