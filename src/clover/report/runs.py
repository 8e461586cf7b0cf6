"""Runs beside one another, from what their folders hold: the record, the logs, results of evaluations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clover.config import flat
from clover.errors import DataError
from clover.training.records import RECORD_NAME

ABSENT = object()
"""Value of a name that only the other run has."""

_SMOOTHED_STEPS = 20
_TAIL_BYTES = 1 << 16
_NOT_LOSSES = ("step", "learning_rate", "gradient_norm")


@dataclass(frozen=True, kw_only=True)
class StageLog:
    """What the log of one stage says."""

    num_steps: int
    """Steps done."""
    total_steps: int
    """Steps that the stage has; 0 where that is not recorded."""
    losses: dict[str, float]
    """Means over the last steps, at most 20, by name."""
    samples_per_second: float | None
    waiting_share: float | None
    """Share of the time spent waiting for data, 0 to 1."""
    evaluations: dict[str, float]
    """The last value of every figure that was noted between steps."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run's folder, read."""

    folder: Path
    record: dict[str, Any]
    """run.json."""
    stages: dict[str, StageLog]
    """By folder, relative to the run's."""
    results: dict[str, dict[str, float]]
    """Figures of the result files that evaluations wrote beside the checkpoint, by file."""

    @property
    def title(self) -> str:
        """What kind of run it is."""
        known = self.record.get("title") or self.record.get("benchmark")
        return str(known) if known else "run"

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """Its starts, the first and those after interruptions."""
        return list(self.record.get("sessions", []))

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end; records of the first version were written at the end only."""
        return bool(self.record.get("is_finished", True))

    @property
    def started(self) -> str | None:
        """When it was started first (ISO 8601, UTC)."""
        return self.sessions[0].get("time_started") if self.sessions else None

    @property
    def last_sign(self) -> float:
        """When something was last written to its record or logs, in seconds of the system's clock."""
        paths = [self.folder / RECORD_NAME, *(self.folder / stage / "log.jsonl" for stage in self.stages)]
        return max(path.stat().st_mtime for path in paths if path.is_file())


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where two runs differ: by name, what the first and the second have (`ABSENT`: it lacks the name)."""

    settings: dict[str, tuple[Any, Any]]
    code: dict[str, tuple[Any, Any]]
    environment: dict[str, tuple[Any, Any]]
    data: dict[str, tuple[Any, Any]]
    results: dict[str, tuple[Any, Any]]
    """Steps, losses and evaluations, those that are the same included."""
    speed: dict[str, tuple[Any, Any]]
    """Samples per second and per cent of the time spent waiting for data; no reason to call two runs different."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing but speed differs."""
        causes = (self.settings, self.code, self.environment, self.data)
        return not any(causes) and all(repr(a) == repr(b) for a, b in self.results.values())  # NaN is NaN


def read_run(folder: Path, *, whole_logs: bool = True) -> Run:
    """Read a run's folder.

    Args:
        folder: What ``--out`` named.
        whole_logs: Read logs from their beginning, for figures that were noted long ago; else their last lines.

    Raises:
        DataError: there is no record, or none that can be read.
    """
    folder = Path(folder)
    path = folder / RECORD_NAME
    if not path.is_file():
        raise DataError(f"{folder} is not the folder of a run: it has no {RECORD_NAME}; give what --out named")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable record of a run ({error}); restore it from a copy") from error
    if problem := _problem(record):
        raise DataError(f"{path} is not the record of a run: {problem}; give what --out named")
    totals = record.get("stages") or {".": record.get("num_steps", 0)}
    logs = {
        stage: _read_log(folder / stage / "log.jsonl", total, is_whole=whole_logs) for stage, total in totals.items()
    }
    return Run(folder=folder, record=record, stages=logs, results=_results(folder))


def _problem(record: Any) -> str | None:
    """What keeps a JSON value from being a record."""
    if not isinstance(record, dict) or "experiment" not in record:
        return "it lacks the field 'experiment'"
    if not isinstance(record["experiment"], dict):
        return "its 'experiment' is no object"
    sessions, stages = record.get("sessions", []), record.get("stages", {})
    if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
        return "its 'sessions' is no list of objects"
    if not isinstance(stages, dict) or not all(_is_number(count) for count in stages.values()):
        return "its 'stages' is no object of numbers"
    return None


def find_runs(folder: Path) -> list[Run]:
    """All runs in a folder and below it, oldest first; what is inside a run is not looked at.

    Raises:
        DataError: the folder does not exist, or holds no run.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{folder} is not a folder; give one that holds runs")
    runs = []
    for place, names, files in os.walk(folder):
        if RECORD_NAME in files:
            names.clear()
            runs.append(read_run(Path(place), whole_logs=False))
        names[:] = sorted(name for name in names if not name.startswith("."))
    if not runs:
        raise DataError(f"{folder} holds no run (no {RECORD_NAME} at any depth)")
    return sorted(runs, key=lambda run: (run.started or "", str(run.folder)))


def difference(first: Run, second: Run) -> Difference:
    """Compare two runs."""
    return Difference(
        settings=_unlike(flat(first.record["experiment"]), flat(second.record["experiment"]))
        | _unlike(*({"starting_checkpoint": run.record.get("starting_checkpoint")} for run in (first, second))),
        code=_unlike(*(_over_sessions(run, "code") for run in (first, second))),
        environment=_unlike(*(_over_sessions(run, "environment") for run in (first, second))),
        data=_unlike(*(_over_sessions(run, "data") for run in (first, second))),
        results=_beside(*map(_outcome, (first, second))),
        speed=_beside(*map(_speed, (first, second))),
    )


def _beside(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (first.get(name, ABSENT), second.get(name, ABSENT)) for name in dict.fromkeys([*first, *second])}


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: pair for name, pair in _beside(first, second).items() if pair[0] != pair[1]}


def _over_sessions(run: Run, part: str) -> dict[str, Any]:
    """A part of the sessions' notes by dotted name; where sessions differ, their values one after another."""
    values: dict[str, list[Any]] = {}
    for session in run.sessions:
        for name, value in flat(session.get(part, {})).items():
            row = values.setdefault(name, [])
            if not row or row[-1] != value:
                row.append(value)
    return {name: row[0] if len(row) == 1 else " then ".join(map(shown, row)) for name, row in values.items()}


def _outcome(run: Run) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for stage, log in run.stages.items():
        prefix = "" if stage == "." else f"{stage}."
        rows[f"{prefix}steps"] = log.num_steps
        rows |= {f"{prefix}{name}": value for name, value in (log.losses | log.evaluations).items()}
    for file, figures in run.results.items():
        rows |= {f"{file}.{name}": value for name, value in figures.items()}
    return rows


def _speed(run: Run) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for stage, log in run.stages.items():
        prefix = "" if stage == "." else f"{stage}."
        if log.samples_per_second is not None:
            rows[f"{prefix}samples_per_second"] = log.samples_per_second
            rows[f"{prefix}waiting_percent"] = 100 * (log.waiting_share or 0.0)
    return rows


def shown(value: Any) -> str:
    """A value as people read it: numbers to four digits."""
    if value is ABSENT:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _read_log(path: Path, total_steps: int, *, is_whole: bool) -> StageLog:
    steps: list[dict[str, Any]] = []
    evaluations: dict[str, float] = {}
    for row in _rows(path, is_whole=is_whole):
        if "problem" in row:  # a bad step that changed nothing
            continue
        if "step" in row:
            steps = [*steps[-(_SMOOTHED_STEPS - 1) :], row]
        else:
            evaluations |= {name: value for name, value in row.items() if name != "num_steps" and _is_number(value)}
    last = steps[-1] if steps else {}
    names = [name for name in last if name not in _NOT_LOSSES and not name.startswith("time_")]
    return StageLog(
        num_steps=int(last.get("step", -1)) + 1,
        total_steps=total_steps,
        losses={name: _mean([row[name] for row in steps if _is_number(row.get(name))]) for name in names},
        samples_per_second=last.get("time_samples_per_second"),
        waiting_share=last.get("time_waiting_share"),
        evaluations=evaluations,
    )


def _rows(path: Path, *, is_whole: bool) -> Iterator[dict[str, Any]]:
    """The lines of a log; one that is being written, or was cut, is passed over."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        if not is_whole:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def _results(folder: Path) -> dict[str, dict[str, float]]:
    found = {}
    for path in sorted(folder.glob("result*.json")):
        try:
            figures = json.loads(path.read_text(encoding="utf-8")).get("figures", {})
        except (OSError, ValueError, AttributeError):
            continue
        found[path.stem] = {name: value for name, value in figures.items() if _is_number(value)}
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
