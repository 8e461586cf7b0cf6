"""clover runs diff, clover runs list."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clover.commands.options import parse
from clover.errors import ConfigError
from clover.report.runs import ABSENT, Difference, Run, difference, find_runs, read_run, shown

_USAGE = "usage: clover runs diff RUN RUN | clover runs list [FOLDER]    (--help lists the options of each)"
_CAUSES = ("settings", "code", "environment", "data")


def runs(arguments: Sequence[str]) -> None:
    """Run `clover runs diff` or `clover runs list`."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(_USAGE)
    elif arguments and arguments[0] == "diff":
        _diff(arguments[1:])
    elif arguments and arguments[0] == "list":
        _list(arguments[1:])
    else:
        raise ConfigError(f"unknown runs command {arguments[0] if arguments else ''!r}; {_USAGE}")


@dataclass(frozen=True, kw_only=True)
class DiffOptions:
    """What differs between two runs: settings, code, environment, data, results; status 1 if anything does."""

    first: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FIRST")]
    """Folder of a run."""
    second: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SECOND")]
    """Folder of another."""
    json: bool = False
    """Print one JSON object; a name that a run lacks is left out of its side."""


def _diff(arguments: Sequence[str]) -> None:
    options = parse(DiffOptions, arguments, command="runs diff")
    found = difference(read_run(Path(options.first)), read_run(Path(options.second)))
    if options.json:
        parts = {part: getattr(found, part) for part in (*_CAUSES, "results", "speed")}
        print(json.dumps({"is_same": found.is_empty} | {part: _sides(rows) for part, rows in parts.items()}))
    else:
        _show_difference(found, options.first, options.second)
    if not found.is_empty:
        raise SystemExit(1)


def _sides(rows: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            side: value
            for side, value in zip(("first", "second"), _plain_pair(pair), strict=True)
            if value is not ABSENT
        }
        for name, pair in rows.items()
    }


def _plain_pair(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """JSON knows no NaN."""
    first, second = (str(value) if isinstance(value, float) and not math.isfinite(value) else value for value in pair)
    return first, second


def _show_difference(found: Difference, first: str, second: str) -> None:
    console = Console()
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for folder in (first, second):
        table.add_column(escape(folder), overflow="fold")
    for part in _CAUSES:
        _add_section(table, part, getattr(found, part))
    _add_section(table, "results (mean of the last steps, 20 at most)", found.results)
    _add_section(table, "speed", found.speed)
    console.print(table)
    if same := [part for part in _CAUSES if not getattr(found, part)]:
        print(f"the same in both: {', '.join(same)}")


def _add_section(table: Table, heading: str, rows: Mapping[str, tuple[Any, Any]]) -> None:
    if not rows:
        return
    table.add_section()
    table.add_row(f"[bold]{heading}[/bold]")
    for name, (first, second) in rows.items():
        texts = shown(first), shown(second)
        if texts[0] == texts[1] and first != second:  # the difference is in later digits
            texts = repr(first), repr(second)
        table.add_row(f"  {name}", *map(escape, texts))


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """The runs in a folder and below it, oldest first."""

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")] = "."
    """Where to look."""
    json: bool = False
    """Print one JSON object a line."""


def _list(arguments: Sequence[str]) -> None:
    options = parse(ListOptions, arguments, command="runs list")
    found = find_runs(Path(options.folder))
    if options.json:
        for run in found:
            print(json.dumps(_summary(run)))
        return
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in ("run", "what", "steps", "last loss", "started (UTC)", "state"):
        table.add_column(name, justify="right" if name in ("steps", "last loss") else "left", overflow="fold")
    for run in found:
        summary = _summary(run)
        loss = summary["loss"]
        started = str(summary["started"] or "").replace("T", " ")[:16]
        state = summary["state"] if run.is_finished else f"{summary['state']}, last sign {_ago(run.last_sign)}"
        steps = f"{summary['num_steps']:,} of {summary['total_steps']:,}"
        name = str(run.folder.relative_to(options.folder)) if run.folder != Path(options.folder) else str(run.folder)
        table.add_row(escape(name), run.title, steps, "" if loss is None else shown(loss), started, state)
    Console().print(table)


def _summary(run: Run) -> dict[str, Any]:
    """One run in a few words; the loss is the mean over the last steps of the last stage that has begun."""
    begun = [log for log in run.stages.values() if log.num_steps]
    loss = begun[-1].losses.get("total") if begun else None
    return {
        "folder": str(run.folder),
        "title": run.title,
        "num_steps": sum(log.num_steps for log in run.stages.values()),
        "total_steps": sum(log.total_steps for log in run.stages.values()),
        "loss": loss if loss is None or math.isfinite(loss) else str(loss),
        "started": run.started,
        "state": "finished" if run.is_finished else "unfinished",
    }


def _ago(moment: float) -> str:
    """How long ago, to its leading unit."""
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
