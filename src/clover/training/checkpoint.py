"""The states of a run: without pickles, written aside, verified, renamed; the last few and the best are kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from clover.distributed import ALONE, Processes
from clover.errors import CheckpointError, ConfigError
from clover.files import WriteError, cannot_write, write_text
from clover.modeling.weights import save_tensors
from clover.training.health import Health
from clover.training.optimizer import Optimizer
from clover.training.shards import ShardedTensors, local_rows

_FORMAT = "clover-training-state-3"
_DESCRIPTION = "state.json"


@dataclass(frozen=True, kw_only=True)
class KeepConfig:
    """Which saved states of a run are kept."""

    last: int = 2
    """So many of the last."""
    best_by: str = ""
    """Also keep the state with the lowest mean of this logged number since the state before, such as total or
    masked_words, or the best by an evaluation, such as validation_recall_at_1, after each of which a state is saved;
    empty keeps none for that."""

    def __post_init__(self) -> None:
        if self.last < 1:
            raise ConfigError(f"keep.last is {self.last}; give 1 or more states")


@dataclass(kw_only=True)
class TrainingStates:
    """Where the parts of a run's state live; saved and restored together, on any number of processes."""

    folder: Path
    """Gets a folder ``step-N`` a state."""
    run: str
    """Description of the run (JSON); a state of another run is refused."""
    module: nn.Module
    """Whose weights are trained."""
    optimizer: Optimizer
    """Its averages."""
    seed: int = 0
    """Draws fresh random numbers for processes that the saved run did not have."""
    health: Health = field(default_factory=Health)
    keep: KeepConfig = field(default_factory=KeepConfig)
    evaluated: tuple[str, ...] = ()
    """Figures that evaluations give, beside the numbers of every step."""
    processes: Processes = ALONE
    owes_occasional: bool = False
    """Whether the run was stopped before it did what was due after the step that is saved."""
    _values: dict[str, list[float]] = field(default_factory=dict)
    _saved_step: int = -1

    def remember(self, values: Mapping[str, float]) -> None:
        """Logged numbers of a step, for the choice of the best state.

        Raises:
            ConfigError: the number to choose by is not among them.
        """
        if not self.keep.best_by or self.keep.best_by in self.evaluated:
            return
        if self.keep.best_by not in values:
            raise ConfigError(f"keep.best_by is {self.keep.best_by!r}; a step logs {', '.join(values)}")
        self._values.setdefault(self.keep.best_by, []).append(values[self.keep.best_by])

    def judge(self, figures: Mapping[str, float], next_step: int) -> bool:
        """Figures of an evaluation; gives whether the best state is chosen by them, and one must be saved now.

        Where the state of this step is saved already (the run was stopped before it was evaluated), it gets them.
        """
        name = self.keep.best_by
        if name not in self.evaluated or name not in figures:
            return False
        if next_step != self._saved_step:
            self._values[name] = [figures[name]]
            return True
        if self.processes.is_first:
            path = self.folder / f"step-{next_step:08d}" / _DESCRIPTION
            description = json.loads(path.read_text(encoding="utf-8")) | {"means": {name: figures[name]}}
            write_text(path, json.dumps(description, indent=1))
        return False

    def save(self, next_step: int, *, owes_occasional: bool = False) -> None:
        """Write weights, averages, random states and the next step; every process writes what it holds.

        Args:
            next_step: The step to go on with; a state that is saved already is not written again.
            owes_occasional: What is due after the last step was not done.

        Raises:
            WriteError: the place cannot be written; the states before are then still there.
        """
        if next_step == self._saved_step:
            return
        target = self.folder / f"step-{next_step:08d}"
        aside = self.folder / f".{target.name}.part"
        try:
            with self.processes.first_alone():
                if self.processes.is_first:
                    shutil.rmtree(aside, ignore_errors=True)
                    aside.mkdir(parents=True)
            name = f"part-{self.processes.rank:05d}.safetensors"
            checksums = self.processes.told((name, _written(aside / name, self._tensors())))
            if self.processes.is_first:
                description = {"format": _FORMAT, "run": self.run, "next_step": next_step}
                description |= self._means(owes_occasional) | {"owes_occasional": owes_occasional}
                write_text(aside / _DESCRIPTION, json.dumps(description | {"parts": dict(checksums)}, indent=1))
                _take_the_place(aside, target)
                self._forget_old()
        except OSError as error:
            raise cannot_write(target, error) from error
        finally:
            if self.processes.is_first:
                with suppress(OSError):
                    shutil.rmtree(aside)
        self._values.clear()
        self._saved_step = next_step
        self.processes.wait()

    def _means(self, is_interrupted: bool) -> dict[str, Any]:
        """Means since the state before; of an interrupted run their parts, for few steps are not compared with many."""
        if is_interrupted:
            return {"means": {}, "values_since": self._values}
        means = {name: sum(values) / len(values) for name, values in self._values.items()}
        return {"means": means, "values_since": {}}

    def restore(self) -> int:
        """Put everything back as it was saved, from the last state that is whole.

        Returns:
            The step to go on with.

        Raises:
            CheckpointError: there is no state, all are broken, or they are another run's.
        """
        found = self.processes.from_first(self._last_whole() if self.processes.is_first else None)
        if isinstance(found, str):
            raise CheckpointError(found)
        path, description = found
        if description["run"] != self.run:
            raise CheckpointError(
                f"{path} belongs to a run with other settings ({_difference(description['run'], self.run)}); "
                "resume with the same settings, or start in another folder"
            )
        with ShardedTensors([path / name for name in description["parts"]]) as saved:
            weights = {name: saved.like(f"weights.{name}", value) for name, value in self.module.state_dict().items()}
            self.module.load_state_dict(weights)
            self.optimizer.load_state_tensors(
                lambda name, value: saved.like(f"optimizer.{name}", value),
                [name.removeprefix("optimizer.") for name in saved.names if name.startswith("optimizer.")],
            )
            self.health.restore(saved.whole("health"))
            own = f"random.{self.processes.rank}"
            if own in saved.names:
                torch.set_rng_state(saved.whole(own))
                if f"{own}.cuda" in saved.names and torch.cuda.is_available():
                    torch.cuda.set_rng_state(saved.whole(f"{own}.cuda"))
            else:
                torch.manual_seed(hash((self.seed, self.processes.rank, description["next_step"])))
        self._saved_step = int(description["next_step"])
        self.owes_occasional = bool(description["owes_occasional"])
        self._values = description["values_since"]
        return self._saved_step

    def _tensors(self) -> dict[str, Tensor]:
        """What this process writes: the first everything that all hold, each its rows of what is shared out."""
        tensors: dict[str, Tensor] = {f"weights.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state_tensors().items()}
        tensors["health"] = self.health.state()
        if not self.processes.is_first:
            tensors = {name: value for name, value in tensors.items() if isinstance(value, DTensor)}
        tensors[f"random.{self.processes.rank}"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors[f"random.{self.processes.rank}.cuda"] = torch.cuda.get_rng_state()
        return tensors

    def _last_whole(self) -> tuple[Path, dict[str, Any]] | str:
        """The last state that is as it was written, or why there is none."""
        problems = []
        for path in reversed(saved_states(self.folder)):
            try:
                return path, _read_description(path)
            except (OSError, ValueError, KeyError) as error:
                problems.append(f"{path} is not a whole training state ({error})")
                print(f"clover: {problems[-1]}; trying the one before", file=sys.stderr)
        if problems:
            return f"{problems[0]}; start without --resume"
        return f"nothing to resume: no state in {self.folder}; start without --resume"

    def _forget_old(self) -> None:
        states = saved_states(self.folder)
        best = best_state(self.folder, self.keep.best_by) if self.keep.best_by else None
        left_behind = [*self.folder.glob(".step-*.part"), *self.folder.glob(".step-*.old")]
        for path in [*states[: -self.keep.last], *left_behind]:
            if path != best:
                shutil.rmtree(path, ignore_errors=True)


def saved_states(folder: Path) -> list[Path]:
    """Folders of states, the earliest first."""
    return sorted(path for path in folder.glob("step-*") if (path / _DESCRIPTION).is_file())


def forget_states(folder: Path) -> None:
    """Remove the folder of all states of a run, or of its best moment.

    Raises:
        WriteError: they cannot be removed.
    """
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise WriteError(f"cannot remove {folder}: {error.strerror}; choose another folder for the run") from error


def best_state(folder: Path, name: str) -> Path | None:
    """The state with the lowest mean of a logged number, or with the highest recall; the first of several."""
    means: dict[Path, float] = {}
    for path in saved_states(folder):
        description = json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))
        if name in description["means"]:
            means[path] = description["means"][name]
    sign = -1 if "recall" in name else 1
    return min(means, key=lambda path: sign * means[path]) if means else None


def _take_the_place(aside: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        target.rename(old)
    aside.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _written(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a part, read it again, and give its checksum.

    Raises:
        OSError: what is read is not what was written.
    """
    rows = {name: local_rows(value) for name, value in tensors.items()}
    starts = {name: str(start) for name, (_, start) in rows.items()}
    save_tensors(path, {name: value for name, (value, _) in rows.items()}, starts)
    try:
        with safe_open(path, "pt") as file:
            for name, (value, _) in rows.items():
                read = file.get_tensor(name)
                if not torch.equal(_bytes(read), _bytes(value)):
                    raise OSError(f"{path.name} reads {name} otherwise than it was written")
    except SafetensorError as error:
        raise OSError(f"{path.name} cannot be read again ({error})") from error
    return _checksum(path)


def _bytes(value: Tensor) -> Tensor:
    """Values as they are stored: numbers that are none compare equal too."""
    return value.detach().cpu().contiguous().flatten().view(torch.uint8)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_description(path: Path) -> dict[str, Any]:
    """Of a state, once all its parts are found whole.

    Raises:
        ValueError: they are not.
    """
    description: dict[str, Any] = json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))
    if description["format"] != _FORMAT:
        raise ValueError(f"its format is {description['format']}, this version reads {_FORMAT}")
    for name, checksum in description["parts"].items():
        if not (path / name).is_file() or _checksum(path / name) != checksum:
            raise ValueError(f"{name} is missing or damaged")
    return description


def _difference(saved: str, wanted: str) -> str:
    """The first few settings that differ between two JSON objects, by name."""

    def flat(value: object, path: str = "") -> dict[str, object]:
        if not isinstance(value, dict):
            return {path: value}
        return {name: leaf for key, part in value.items() for name, leaf in flat(part, f"{path}.{key}").items()}

    before, after = flat(json.loads(saved)), flat(json.loads(wanted))
    names = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return "; ".join(f"{name.lstrip('.')}: {before.get(name)} there, {after.get(name)} here" for name in names[:3])
