"""What benchmarks share that train: runs that are done once and gone on with, and differences in plain figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from clover.evaluation.statistics import Difference


def check_settings(out: Path, settings: Mapping[str, object]) -> None:
    """Runs of other lengths, or on other videos, are no company."""
    note = out / "settings.json"
    out.mkdir(parents=True, exist_ok=True)
    if note.exists() and json.loads(note.read_text()) != settings:
        raise SystemExit(f"{out} holds runs of other settings ({note.read_text().strip()}); give another --out")
    note.write_text(json.dumps(settings) + "\n")


def once(folder: Path, make: Callable[[Path], None]) -> None:
    """Do a piece of work unless it is done."""
    if not (folder / "done").exists():
        make(folder)
        (folder / "done").touch()


def is_begun(folder: Path) -> bool:
    """Whether a run left a state to go on from."""
    return any(folder.glob("**/states/step-*/state.json"))


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """What a run said to every query."""
    with path.open("wb") as file:
        np.savez(file, **arrays)


def percent(values: np.ndarray) -> float:
    """Mean of what is right."""
    return round(100 * float(values.mean()), 2)


def told(difference: Difference) -> dict[str, object]:
    """In percentage points; an interval of one seed has no ends."""
    found: dict[str, object] = {"verdict": difference.verdict}
    for name, value in asdict(difference).items():
        if name == "num_queries":
            found[name] = value
        elif isinstance(value, tuple):
            found[name] = [round(100 * end, 2) if math.isfinite(end) else None for end in value]
        else:
            found[name] = round(100 * value, 2)
    return found
