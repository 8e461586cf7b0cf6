"""One run of the ablation: a system and a seed, pre-trained, evaluated, fine-tuned twice, evaluated again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clover.ablation.folders import AblationFolder
from clover.ablation.measures import EvaluationData, measure_choices, measure_open_answers, measure_zero_shot
from clover.ablation.preparation import resumed
from clover.ablation.settings import AblationConfig
from clover.ablation.tuning import tune_answers, tune_choices
from clover.config import to_plain
from clover.data.collators import ClipReader
from clover.experiment.configs import PretrainingExperiment
from clover.experiment.pieces import cache_folder, captioned_videos, clip_reader
from clover.experiment.pretraining import Pretraining
from clover.files import write_text
from clover.pipeline import Clover
from clover.recipes.ablation import SWEEPS, SYSTEMS, System, compute_factor, step_flops
from clover.training.checkpoint import forget_states
from clover.training.compute import ComputeConfig
from clover.training.devices import choose_device
from clover.training.records import environment

DONE = "done.json"
"""In the folder of a run that is whole: seconds of its parts, and on what it ran."""

_MEASURED = ("zero_shot", "open", "choice")
"""Parts of a run that leave figures."""

_TUNING_SHARE = 0.5
"""Cost of fine-tuning and evaluating over that of pre-training Clover, for the time left."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that is to be done."""

    system: str
    seed: int
    swept: tuple[str, str] = ("", "")
    """Name and value of a setting in which the run differs from its system; empty: in none."""

    def folder(self, ablation: AblationFolder) -> Path:
        """Where it is done."""
        name, value = self.swept
        place = ablation.sweeps / name / value if name else ablation.runs / self.system
        return place / f"seed-{self.seed}"

    def is_done(self, ablation: AblationFolder) -> bool:
        """Whether it is whole; figures that a user has removed, because they were broken, are made again."""
        folder = self.folder(ablation)
        return all((folder / name).is_file() for name in (DONE, *(f"{name}.json" for name in _MEASURED)))

    @property
    def title(self) -> str:
        """For messages."""
        name, value = self.swept
        return f"{SYSTEMS[self.system].title}, seed {self.seed}" + (f", {name} {value}" if name else "")

    @property
    def cost(self) -> float:
        """Time it takes over that of pre-training Clover, by its operations."""
        system, whole = SYSTEMS[self.system], step_flops(SYSTEMS["clover"].recipe())
        return _TUNING_SHARE + compute_factor(system) * step_flops(system.recipe()) / whole

    def experiment(
        self, ablation: AblationFolder, config: AblationConfig, compute: ComputeConfig
    ) -> PretrainingExperiment:
        """The pre-training: the system's recipe on the experiment's corpus, for the settings' number of steps."""
        system = SYSTEMS[self.system]
        recipe = system.recipe()
        training = replace(
            recipe.training, num_steps=round(config.num_steps * compute_factor(system)), batch_size=config.batch_size
        )
        data = replace(recipe.data, corpus=str(ablation.corpus))
        name, value = self.swept
        experiment = replace(
            recipe, seed=self.seed, training=training, ranking_ramp=config.ranking_ramp, data=data, compute=compute
        )
        experiment = SWEEPS[name].values[value](experiment) if name else experiment
        return _started(experiment, system, str(ablation.warm_checkpoint))


def _started(experiment: PretrainingExperiment, system: System, warm: str) -> PretrainingExperiment:
    """From the warm encoders, or with their words alone."""
    if system.is_warm:
        return replace(experiment, init=warm)
    return replace(experiment, data=replace(experiment.data, tokenizer=warm))


def jobs_of(systems: Sequence[str], num_seeds: int) -> list[Job]:
    """All systems of the first seed, then of the next: whatever is done can be compared; footnotes come last."""
    footnotes = [name for name in systems if SYSTEMS[name].is_footnote]
    first = [name for name in systems if name not in footnotes]
    return [Job(system=name, seed=seed) for names in (first, footnotes) for seed in range(num_seeds) for name in names]


def sweep_jobs(names: Sequence[str]) -> list[Job]:
    """One run of Clover, of the first seed, for each value of each swept setting; Clover's own values are done."""
    return [Job(system="clover", seed=0, swept=(name, value)) for name in names for value in SWEEPS[name].values]


@dataclass(frozen=True, kw_only=True)
class Doing:
    """A job at work in its folder: what an interrupted one has finished is not done again."""

    job: Job
    ablation: AblationFolder
    config: AblationConfig
    compute: ComputeConfig

    def run(self) -> None:
        """Do what is left to do.

        Raises:
            CloverError: something is missing, broken, or cannot be written.
        """
        folder, seconds = self.job.folder(self.ablation), _Seconds(self.job.folder(self.ablation))
        with seconds.of("pretraining"):
            clover = self._pretrained(folder / "pretraining")
        data = EvaluationData.open(
            self.ablation.corpus, self.config.corpus, self.config.evaluated_split, clover, folder
        )
        read = self._training_reader(clover, folder)
        with seconds.of("zero_shot"):
            self._once(folder / "zero_shot.json", lambda path: measure_zero_shot(clover, data, path))
        steps: list[tuple[str, Any, Any, Any]] = [
            ("open", tune_answers, self.config.open_answers, measure_open_answers),
            ("choice", tune_choices, self.config.choices, measure_choices),
        ]
        for name, tune, tuning, measure in steps:

            def tuned(
                path: Path, name: str = name, tune: Any = tune, tuning: Any = tuning, measure: Any = measure
            ) -> None:
                model = tune(
                    clover,
                    self.ablation.corpus,
                    tuning,
                    folder / name,
                    read=read,
                    seed=self.job.seed,
                    compute=self.compute,
                )
                measure(model, data, path)

            with seconds.of(name):
                self._once(folder / f"{name}.json", tuned)
        about = {"system": self.job.system, "seed": self.job.seed, "swept": list(self.job.swept)}
        about["settings"] = to_plain(self.config)
        machine = {"device": str(clover.device), "environment": environment()}
        write_text(folder / DONE, json.dumps(about | {"seconds": seconds.known()} | machine, indent=2) + "\n")

    def _pretrained(self, folder: Path) -> Clover:
        checkpoint, states = folder / "checkpoint", folder / "pretraining" / "states"
        if not (checkpoint / "config.json").is_file():
            experiment = self.job.experiment(self.ablation, self.config, self.compute)
            resumed(lambda: Pretraining(experiment, folder, quiet=True))
        forget_states(states)
        return Clover.from_pretrained(checkpoint, device=choose_device(self.compute.device))

    def _training_reader(self, clover: Clover, folder: Path) -> ClipReader:
        """The frames that pre-training has read, in the same file."""
        corpus = self.ablation.corpus
        videos = [video.video for video in captioned_videos(corpus, "train")]
        data = SYSTEMS[self.job.system].recipe().data
        return clip_reader(data, clover.config.inputs, videos, cache=cache_folder(corpus, folder), quiet=True)[0]

    @staticmethod
    def _once(path: Path, make: Callable[[Path], None]) -> None:
        if not path.is_file():
            make(path)


class _Seconds:
    """Time of the parts of a run, summed over its sittings; a sitting that was killed outright is not in it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "seconds.json"
        self._name, self._begin = "", 0.0

    def known(self) -> dict[str, float]:
        """Seconds by part."""
        if not self._path.is_file():
            return {}
        found: dict[str, float] = json.loads(self._path.read_text(encoding="utf-8"))
        return found

    def of(self, name: str) -> _Seconds:
        """Measure a part in a with statement."""
        self._name = name
        return self

    def __enter__(self) -> None:
        self._begin = time.monotonic()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        known = self.known()
        known[self._name] = round(known.get(self._name, 0.0) + time.monotonic() - self._begin, 1)
        write_text(self._path, json.dumps(known) + "\n")
