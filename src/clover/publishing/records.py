"""What the records beside a checkpoint say of it: the run, its data, its measurements. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NOT_FIGURES = ("num_steps", "step", "stage")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number, with what it takes to read it."""

    task: str
    """retrieval, choice or answer."""
    dataset: str
    """Name of the benchmark or corpus."""
    split: str
    metric: str
    value: float
    """Recalls and accuracies in per cent."""
    interval: tuple[float, float] | None = None
    """95 % interval, where one was worked out."""
    chance: float | None = None
    """What guessing reaches (of open answers: the most frequent training answer)."""
    protocol: str = ""
    remarks: tuple[str, ...] = ()
    """All that a reader of the number should know."""


@dataclass(frozen=True, kw_only=True)
class Records:
    """All that is known of a checkpoint's making; empty where there is no record."""

    run: Mapping[str, Any] = field(default_factory=dict)
    """run.json; empty where there is none of this checkpoint."""
    evaluations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The last figures that every stage's log noted between steps, by stage."""
    measurements: tuple[Measurement, ...] = ()
    foreign: tuple[str, ...] = ()
    """Files that are of other weights or of another preprocessing, or cannot be read."""

    @property
    def sessions(self) -> list[Mapping[str, Any]]:
        """The run's starts."""
        sessions = self.run.get("sessions", [])
        return [one for one in sessions if isinstance(one, dict)] if isinstance(sessions, list) else []

    def setting(self, name: str) -> Any:
        """A setting of the run by dotted name; None where it is not recorded."""
        found: Any = self.run.get("experiment", {})
        for word in name.split("."):
            if not isinstance(found, dict):
                return None
            found = found.get(word)
        return found


def run_of(checkpoint: Path, fingerprint: str) -> dict[str, Any]:
    """What run.json, beside a checkpoint folder, says of the run that made it; nothing where it is of another.

    A run notes the fingerprint of its checkpoint when it is done. A record without one, of an earlier version, is taken
    to be of the folder that a finished run leaves, and of no other.

    Args:
        checkpoint: ``RUN/checkpoint``.
        fingerprint: Of the checkpoint.
    """
    run = run_beside(checkpoint)
    if "fingerprint" in run:
        return run if run["fingerprint"] == fingerprint else {}
    return run if Path(checkpoint).absolute().name == "checkpoint" and run.get("is_finished") else {}


def run_beside(checkpoint: Path) -> dict[str, Any]:
    """What run.json beside a checkpoint folder says, of whatever weights; nothing where it cannot be read."""
    return _read(Path(checkpoint).absolute().parent / "run.json")


def read_records(checkpoint: Path, fingerprint: str, is_own: Callable[[Mapping[str, Any]], bool]) -> Records:
    """Read what lies beside a checkpoint folder; what is not there, cannot be read or is of another is left out.

    Args:
        checkpoint: ``RUN/checkpoint``; the records are in RUN.
        fingerprint: Of the checkpoint.
        is_own: Whether the plain content of a result file is of this very checkpoint.
    """
    folder = Path(checkpoint).absolute().parent
    run = run_of(checkpoint, fingerprint)
    found: list[Measurement] = []
    foreign = [] if run or not (folder / "run.json").exists() else ["run.json"]
    for path in sorted(folder.glob("result*.json")):
        plain = _read(path)
        if plain and is_own(plain) and (one := _measured(plain)):
            found += one
        else:
            foreign.append(path.name)
    stages = run.get("stages") or {}
    evaluations = {
        name: figures for name in (stages if isinstance(stages, dict) else {}) if (figures := _last(folder / name))
    }
    return Records(run=run, evaluations=evaluations, measurements=tuple(found), foreign=tuple(foreign))


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _last(stage: Path) -> dict[str, float]:
    """The last value of every figure that a log noted between steps."""
    figures: dict[str, float] = {}
    try:
        lines = (stage / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and not {"step", "problem"} & set(row):
            figures |= {
                name: value for name, value in row.items() if name not in _NOT_FIGURES and type(value) in (int, float)
            }
    return figures


def _measured(plain: Mapping[str, Any]) -> Sequence[Measurement]:
    """A result file's figures; nothing where it is of another form."""
    try:
        main, figures = str(plain["metric"]), plain["figures"]
        task = "retrieval" if main.startswith("recall") else "choice" if plain.get("num_gallery", 99) <= 5 else "answer"
        names = [main, *(name for name in ("recall_at_5", "recall_at_10", "median_rank") if name in figures)]
        zero_shot = " (zero-shot)" if plain["is_zero_shot"] else ""
        incomplete = () if plain["is_complete"] else ("not every row of the split was evaluated",)
        chosen = (f"checkpoint chosen on: {plain['selected_on']}",)
        return [
            Measurement(
                task=task,
                dataset=str(plain["benchmark"]) + zero_shot,
                split=str(plain["split"]),
                metric=name,
                value=float(figures[name]),
                interval=(float(plain["interval"][0]), float(plain["interval"][1])) if name == main else None,
                chance=float(plain["chance"]) if name == main else None,
                protocol=str(plain["protocol"]),
                remarks=(*incomplete, *map(str, plain["remarks"]), *chosen),
            )
            for name in names
        ]
    except (KeyError, TypeError, ValueError, IndexError):
        return ()
