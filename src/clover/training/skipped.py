"""What a run could not read, listed in ``skipped.jsonl`` of its folder as it is found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clover.distributed import ALONE, Processes
from clover.files import cannot_write, write_text

LIST_NAME = "skipped.jsonl"


class SkippedSamples:
    """Samples that a run leaves out, each once, of all processes; the first of these writes them down.

    Every line is an object: ``path`` (or what else messages call the sample), ``reason``, and where it was found first:
    ``stage`` and ``step``, from 0, both null for what was known before the first step.
    """

    def __init__(self, folder: Path, reasons: dict[str, str], processes: Processes = ALONE) -> None:
        """Nothing is written yet.

        Args:
            folder: Of the run; gets the list.
            reasons: Path and reason of each sample, those that are known to begin with; gets those that are found.
            processes: Who reads.
        """
        self.path, self.reasons = Path(folder) / LIST_NAME, reasons
        self._processes = processes

    def begin(self, *, resume: bool) -> None:
        """Start the list anew, or go on with that of an interrupted run.

        Raises:
            WriteError: the folder cannot be written.
        """
        if self._processes.is_first:
            rows = _rows(self.path) if resume else []
            listed = {row["path"]: row["reason"] for row in rows}
            rows += [_row(path, reason) for path, reason in self.reasons.items() if path not in listed]
            if rows:
                write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))
            else:
                self.path.unlink(missing_ok=True)
            self.reasons.update(listed)
        self.reasons.update(self._processes.from_first(self.reasons))

    def new_of(self, batch: Any) -> dict[str, str]:
        """Samples that could not be read for a batch and are not in the list yet."""
        found: Iterable[tuple[str, str]] = getattr(batch, "skipped", ())
        return {path: reason for path, reason in found if path not in self.reasons}

    def add(self, new: Mapping[str, str], *, stage: str, step: int) -> None:
        """List what the processes found in a step; where one has found something, all must call.

        Raises:
            WriteError: the list cannot be written.
        """
        found = {path: reason for each in self._processes.told(dict(new)) for path, reason in each.items()}
        self.reasons.update(found)
        if self._processes.is_first:
            self._append(found, stage, step)

    def add_last(self, found: Iterable[tuple[str, str]], *, stage: str, step: int | None) -> None:
        """List what stops the run; the process that found it writes itself, for the others do not know of it yet.

        Raises:
            WriteError: the list cannot be written.
        """
        new = {path: reason for path, reason in found if path not in self.reasons}
        self.reasons.update(new)
        self._append(new, stage, step)

    def _append(self, found: Mapping[str, str], stage: str, step: int | None) -> None:
        lines = [json.dumps(_row(path, reason, stage, step)) + "\n" for path, reason in found.items()]
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError as error:
            raise cannot_write(self.path, error) from error


def _row(path: str, reason: str, stage: str | None = None, step: int | None = None) -> dict[str, Any]:
    return {"path": path, "reason": reason, "stage": stage, "step": step}


def _rows(path: Path) -> list[dict[str, Any]]:
    """Of a list; a line that a killed run left half-written is not there."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"path", "reason"} <= row.keys():
            rows.append(row)
    return rows
