"""Where a run's figures go besides its own log: TensorBoard, Weights & Biases, trackio. None of them can stop a run."""

from __future__ import annotations

import logging
import os
import queue
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from clover.errors import ConfigError
from clover.files import write_text

_log = logging.getLogger(__name__)

SinkName = Literal["tensorboard", "wandb", "trackio"]
"""Each is an extra of the package: pip install 'clover-vl[NAME]'."""

_MODULES: dict[SinkName, str] = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}
_PROJECT = "clover"
_MOST_WAITING = 10_000
_PATIENCE_SECONDS = 30.0


@runtime_checkable
class Sink(Protocol):
    """Something that takes figures."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take the figures of a step (from 0)."""

    def close(self) -> None:
        """Send what is not sent yet, and end."""


@dataclass(frozen=True, kw_only=True)
class LoggedStage:
    """What a sink is told of the stretch of training whose figures it gets."""

    folder: Path
    """Of the stage; local files go into it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The config, plain."""
    first_step: int = 0
    """Above 0 where an interrupted stage goes on."""

    @property
    def run_name(self) -> str:
        """Name of the run's folder, of the stage, and a few letters that no other run has; a resumed one keeps them."""
        path = self.folder / "sink-name"
        if self.first_step and path.is_file():
            return path.read_text(encoding="utf-8").strip()
        words = [*self.folder.resolve().parts[-2:], uuid.uuid4().hex[:8]]
        name = "-".join("".join(sign if sign.isalnum() or sign in "._" else "-" for sign in word) for word in words)
        write_text(path, name + "\n")
        return name


def open_sinks(names: Sequence[SinkName], stage: LoggedStage) -> list[Sink]:
    """Sinks by name, each filled by a thread of its own.

    Raises:
        ConfigError: the package of one is not installed.
    """
    for name in names:
        if find_spec(_MODULES[name]) is None:
            raise ConfigError(f"{name} is not installed: pip install 'clover-vl[{name}]', or leave it out of --log-to")
    makers: dict[SinkName, Callable[[LoggedStage], Sink]] = {
        "tensorboard": _TensorBoard,
        "wandb": _WeightsAndBiases,
        "trackio": _Trackio,
    }
    return [BackgroundSink(name, lambda make=makers[name]: make(stage)) for name in dict.fromkeys(names)]  # type: ignore[misc]


class BackgroundSink:
    """Fills another sink from a thread, so that a slow network costs the run nothing; what fails is dropped."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Sink],
        *,
        most_waiting: int = _MOST_WAITING,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        """Begin.

        Args:
            name: What the warning calls it.
            make: Opens the sink; called in the thread, for that may take long or fail too.
            most_waiting: With more rows than these still to be written, the sink is dropped.
            patience_seconds: How long closing waits for it.
        """
        self._name, self._make, self._patience = name, make, patience_seconds
        self._rows: queue.Queue[tuple[int, dict[str, float]] | None] = queue.Queue(most_waiting)
        self._is_dropped, self._dropping = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)
        self._thread.start()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the figures on; never waits, never fails."""
        if self._is_dropped.is_set():
            return
        try:
            self._rows.put_nowait((step, dict(values)))
        except queue.Full:
            self._drop(f"it is {self._rows.maxsize} rows behind")

    def close(self) -> None:
        """Wait a while until all is written."""
        if self._is_dropped.is_set():
            return
        try:
            self._rows.put(None, timeout=self._patience)
        except queue.Full:
            self._drop(f"it is {self._rows.maxsize} rows behind")
            return
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._drop(f"it did not end within {self._patience:g} seconds")

    def _work(self) -> None:
        try:
            sink = self._make()
            while (row := self._rows.get()) is not None:
                if self._is_dropped.is_set():
                    return
                sink.write(*row)
            sink.close()
        except (Exception, SystemExit) as error:  # whatever a foreign package raises: the run goes on
            self._drop(f"{type(error).__name__}: {' '.join(str(error).split())}")

    def _drop(self, reason: str) -> None:
        with self._dropping:
            if not self._is_dropped.is_set():
                _log.warning("%s gets no more of this run's figures (%s); log.jsonl has them all", self._name, reason)
            self._is_dropped.set()


class _TensorBoard:
    def __init__(self, stage: LoggedStage) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(stage.folder / "tensorboard"), purge_step=stage.first_step or None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """One run a stage; a resumed stage goes on in its run, and steps that are done again are drawn over."""

    def __init__(self, stage: LoggedStage) -> None:
        import wandb

        is_online = os.environ.get("WANDB_MODE", "online") == "online"
        if is_online and not wandb.login(prompt=False):  # else it would ask at the terminal
            raise ConfigError("no one is logged in: wandb login, or WANDB_MODE=offline")
        name = stage.run_name
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            dir=str(stage.folder),
            id=name,
            name=name,
            config=dict(stage.settings),
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """One run a stage, as with Weights & Biases, whose calls trackio has taken over."""

    def __init__(self, stage: LoggedStage) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(project=_PROJECT, name=stage.run_name, config=dict(stage.settings), resume="allow")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        self._trackio.finish()
