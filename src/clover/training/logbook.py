"""What happens during a run: one JSON object a line in a file, a live display for a person watching."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from clover.files import cannot_write, write_text
from clover.training.sinks import LoggedStage, SinkName, open_sinks

_SMOOTHED_STEPS = 20
_SECONDS_BETWEEN_LINES = 15.0


class ShowProgress(Protocol):
    """Shows how far something is."""

    def __call__(self, done: int, total: int, share: float | None = None, /) -> None:
        """Take note; ``share`` (0 to 1) is the share of the work, where ``done`` of ``total`` does not tell it."""


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[ShowProgress]:
    """A progress bar with the time left, as a callback; plain lines now and then where there is no terminal."""
    if quiet:
        yield lambda done, total, share=None: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainProgress(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[shown]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, shown="")

        def show(done: int, total: int, share: float | None = None) -> None:
            bar.update(task, completed=_share(done, total, share), total=1.0, shown=f"{done}/{total}")

        yield show


def _share(done: int, total: int, share: float | None) -> float:
    if share is not None:
        return share
    return done / total if total else 1.0


class _PlainProgress:
    """One line every few seconds, and one at the end."""

    def __init__(self, title: str) -> None:
        self._title, self._begin = title, time.monotonic()
        self._next = self._begin + _SECONDS_BETWEEN_LINES

    def __call__(self, done: int, total: int, share: float | None = None, /) -> None:
        now = time.monotonic()
        if done != total and now < self._next:
            return
        self._next = now + _SECONDS_BETWEEN_LINES
        is_done = _share(done, total, share)
        left = f", {_clock((now - self._begin) * (1 - is_done) / is_done)} left" if done != total and is_done else ""
        print(f"{self._title}: {done}/{total}{left}", file=sys.stderr, flush=True)


class Logbook:
    """Writes steps to ``log.jsonl`` and to sinks, and shows them.

    Keys that begin with ``time_`` hold durations and speeds; all others are the same in every run of one seed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        total_steps: int,
        batch_size: int,
        first_step: int = 0,
        title: str = "training",
        log_to: Sequence[SinkName] = (),
        settings: Mapping[str, Any] | None = None,
        quiet: bool = False,
        writes: bool = True,
    ) -> None:
        """Open the log; lines of steps from ``first_step`` on, left by an interrupted run, are dropped.

        Args:
            folder: Gets the log.
            total_steps: Length of the whole run.
            batch_size: Samples a step.
            first_step: Above 0 where an interrupted run goes on.
            title: Shown with the progress.
            log_to: Sinks that get the figures too.
            settings: What sinks are told of the run, plain.
            quiet: Show nothing.
            writes: False, as on all processes but the first, writes and shows nothing.

        Raises:
            ConfigError: the package of a sink is not installed.
        """
        self.path = Path(folder) / "log.jsonl"
        self._total_steps, self._batch_size, self._first_step = total_steps, batch_size, first_step
        self._title, self._quiet, self._writes = title, quiet or not writes, writes
        self._recent: dict[str, deque[float]] = {}
        self._durations: deque[float] = deque(maxlen=_SMOOTHED_STEPS)
        self._waits: deque[float] = deque(maxlen=_SMOOTHED_STEPS)
        self._file: TextIO | None = None
        self._live: Live | None = None
        stage = LoggedStage(folder=Path(folder), settings=settings or {}, first_step=first_step)
        self._sinks = open_sinks(log_to, stage) if writes else []
        self._next_step = first_step
        self._last_write = self._last_line = time.monotonic()

    def __enter__(self) -> Logbook:
        if not self._writes:
            return self
        kept = [line for line in _lines(self.path) if _step_of(line) < self._first_step]
        write_text(self.path, "".join(line + "\n" for line in kept) if self._first_step else "")
        self._file = self.path.open("a", encoding="utf-8")
        console = Console(stderr=True)
        if not self._quiet and console.is_terminal:
            self._live = Live(console=console, refresh_per_second=4)
            self._live.start()
        elif not self._quiet:
            start = f", going on at step {self._first_step}" if self._first_step else ""
            line = f"{self._title}: {self._total_steps} steps of {self._batch_size}{start}"
            print(line, file=sys.stderr, flush=True)
        self._last_write = self._last_line = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._file is not None:
            self._file.close()
        for sink in self._sinks:
            sink.close()

    def write(self, step: int, losses: Mapping[str, float], *, learning_rate: float, waiting_seconds: float) -> None:
        """Record one step (from 0) with its named losses."""
        now = time.monotonic()
        self._durations.append(max(now - self._last_write, 1e-9))
        self._waits.append(waiting_seconds)
        self._last_write = now
        for name, value in losses.items():
            self._recent.setdefault(name, deque(maxlen=_SMOOTHED_STEPS)).append(value)
        row = {"step": step, **losses, "learning_rate": learning_rate}
        row |= {"time_samples_per_second": self.samples_per_second, "time_waiting_share": self.waiting_share}
        self._put(row)
        self._next_step = step + 1
        self._send({name: value for name, value in row.items() if name != "step"})
        self._show(step + 1, now)

    def note(self, **record: Any) -> None:
        """Record something that is not a step, such as an evaluation; a ``num_steps`` says after how many steps."""
        self._put(record)
        numbers = {name: value for name, value in record.items() if name not in ("step", "num_steps")}
        self._send({name: value for name, value in numbers.items() if type(value) in (int, float)})

    def _send(self, values: Mapping[str, float]) -> None:
        """To all sinks, as of the step that was written last."""
        for sink in self._sinks if values else ():
            sink.write(max(self._next_step - 1, 0), values)

    @property
    def samples_per_second(self) -> float:
        """Speed over the last steps."""
        return self._batch_size * len(self._durations) / sum(self._durations)

    @property
    def waiting_share(self) -> float:
        """Share of the last steps' time that was spent waiting for data, 0 to 1."""
        return min(1.0, sum(self._waits) / sum(self._durations))

    def _put(self, row: Mapping[str, Any]) -> None:
        if not self._writes:
            return
        if self._file is None:
            raise ValueError("the logbook is not open; use it in a with statement")
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _show(self, num_done: int, now: float) -> None:
        if self._quiet:
            return
        left = (self._total_steps - num_done) * sum(self._durations) / len(self._durations)
        speed = (
            f"{self.samples_per_second:.0f} samples/s, {_clock(left)} left, "
            f"{100 * self.waiting_share:.0f} % waiting for data"
        )
        means = {name: sum(values) / len(values) for name, values in self._recent.items()}
        if self._live is not None:
            self._live.update(_picture(self._title, num_done, self._total_steps, speed, means))
        elif num_done == self._total_steps or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            losses = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
            print(
                f"{self._title}: step {num_done}/{self._total_steps}  {losses}  {speed}",
                file=sys.stderr,
                flush=True,
            )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _step_of(line: str) -> float:
    """The step that a line is of, for a note the last one before it (none: before all); a half line is after all."""
    try:
        row = json.loads(line)
        return float(row.get("step", row.get("num_steps", 0) - 1))
    except ValueError:
        return math.inf


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _picture(title: str, num_done: int, total: int, speed: str, means: Mapping[str, float]) -> Group:
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(speed))
    bar.add_task(title, total=total, completed=num_done)
    table = Table.grid(padding=(0, 2))
    for name, value in means.items():
        table.add_row(f"  {name.replace('_', ' ')}", f"{value:8.3f}")
    return Group(bar, table)
