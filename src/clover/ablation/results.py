"""What the runs of an ablation measured: per query from their folders, per run as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clover.ablation.folders import AblationFolder
from clover.ablation.jobs import DONE
from clover.ablation.measures import read_figures, read_queries
from clover.ablation.settings import AblationConfig, stored
from clover.config import from_plain
from clover.errors import ConfigError, DataError
from clover.files import shell_word
from clover.recipes.ablation import SYSTEMS
from clover.report.pictures import read_log

_KEPT = ("system", "seed", "swept", "seconds", "device", "environment")
"""What a run says of itself."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure of one evaluation, as a mean over queries."""

    evaluation: str
    metric: str
    source: str
    """File of the run."""
    values: Callable[[Arrays], np.ndarray]
    """Per query; percent, or a cosine."""
    groups: str
    """Name of the array that says what each query is about."""


def _recall(name: str, k: int) -> Measure:
    return Measure(
        evaluation=name,
        metric=f"recall_at_{k}",
        source="zero_shot.json",
        values=lambda arrays: 100.0 * (arrays[f"{name}_rank"] <= k),
        groups=f"{name}_group",
    )


def _similarity(metric: str) -> Measure:
    return Measure(
        evaluation="similarity",
        metric=metric,
        source="zero_shot.json",
        values=lambda arrays: similarities(arrays)[metric],
        groups="paragraphs_group",  # like the first captions, one a video, in the order of the videos
    )


def similarities(arrays: Arrays) -> dict[str, np.ndarray]:
    """Of the first caption of every video: cosine with its video, with the others on average, and their distance."""
    scores = arrays["captions_scores"].astype(np.float64)
    positive = np.diag(scores)
    negative = (scores.sum(axis=1) - positive) / max(1, len(scores) - 1)
    return {"positive": positive, "negative": negative, "margin": positive - negative}


def _answers(name: str) -> Measure:
    return Measure(
        evaluation=name,
        metric="accuracy",
        source=f"{name}.json",
        values=lambda arrays: 100.0 * arrays["right"],
        groups="group",
    )


MEASURES: tuple[Measure, ...] = (
    *(_recall(name, k) for name in ("captions", "paragraphs") for k in (1, 5, 10)),
    _answers("open"),
    _answers("choice"),
    Measure(
        evaluation="probes",
        metric="accuracy",
        source="zero_shot.json",
        values=lambda arrays: 100.0 * arrays["probes_right"],
        groups="probes_group",
    ),
    _similarity("positive"),
    _similarity("margin"),
)
"""What is compared query by query."""


def measure(evaluation: str, metric: str) -> Measure:
    """By its names."""
    return next(each for each in MEASURES if (each.evaluation, each.metric) == (evaluation, metric))


@dataclass(frozen=True)
class RunResult:
    """One run that is whole."""

    folder: Path
    about: dict[str, Any] = field(repr=False)
    """Its done.json."""

    @property
    def system(self) -> str:
        """Name of its system."""
        return str(self.about["system"])

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.about["seed"])

    @property
    def seconds(self) -> dict[str, float]:
        """Time of its parts."""
        return dict(self.about["seconds"])

    @cached_property
    def figures(self) -> dict[str, dict[str, Any]]:
        """By evaluation."""
        found = dict(read_figures(self.folder / "zero_shot.json"))
        return found | {name: read_figures(self.folder / f"{name}.json") for name in ("open", "choice")}

    @cached_property
    def _queries(self) -> dict[str, Arrays]:
        return {name: read_queries(self.folder / name) for name in ("zero_shot.json", "open.json", "choice.json")}

    def queries(self, source: str) -> Arrays:
        """What was measured of every query in one file."""
        return self._queries[source]

    @property
    def log(self) -> list[dict[str, int | float]]:
        """Steps of its pre-training."""
        return read_log(self.folder / "pretraining" / "pretraining" / "log.jsonl")

    @cached_property
    def start(self) -> str:
        """Fingerprint of the warm encoders; empty from nothing."""
        record = read_figures(self.folder / "pretraining" / "run.json")
        return str(record.get("starting_checkpoint", ""))

    def rows(self) -> Iterator[dict[str, Any]]:
        """All its figures, one a row."""
        own = {"system": self.system, "seed": self.seed}
        for evaluation, figures in self.figures.items():
            for metric, value in _single(figures):
                yield own | {"evaluation": evaluation, "metric": metric, "value": round(value, 4)}
        found = similarities(self.queries("zero_shot.json"))
        for metric in ("positive", "margin"):
            value = round(float(found[metric].mean()), 4)
            yield own | {"evaluation": "similarity", "metric": metric, "value": value}


def _single(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Figures by name, those of kinds of questions as ``accuracy: KIND``; counts are none."""
    for metric, value in figures.items():
        if metric == "by_type":
            yield from ((f"accuracy: {kind}", float(each)) for kind, each in value.items())
        elif not metric.startswith("num_"):
            yield metric, float(value)


@dataclass(frozen=True)
class Results:
    """All runs that are whole."""

    runs: dict[tuple[str, int], RunResult]
    """By system and seed."""
    sweeps: dict[tuple[str, str], RunResult]
    """By setting and value."""

    @property
    def systems(self) -> list[str]:
        """Those with a run, in the order of the tables."""
        return [name for name in SYSTEMS if any(system == name for system, _ in self.runs)]

    def seeds(self, *systems: str) -> list[int]:
        """Seeds that all of these systems have."""
        per_system = [{seed for name, seed in self.runs if name == system} for system in systems]
        return sorted(set.intersection(*per_system)) if per_system else []

    def values(self, system: str, seeds: Sequence[int], what: Measure) -> np.ndarray:
        """Per seed and query.

        Raises:
            DataError: runs were evaluated on other queries than one another.
        """
        rows = [what.values(self.runs[system, seed].queries(what.source)) for seed in seeds]
        if len({len(row) for row in rows}) > 1:
            raise DataError(f"runs of {system} were evaluated on different numbers of queries; do them again")
        return np.stack(rows).astype(np.float64)

    def groups(self, system: str, seed: int, what: Measure) -> np.ndarray:
        """What each query is about."""
        found: np.ndarray = self.runs[system, seed].queries(what.source)[what.groups]
        return found


def read_results(folder: AblationFolder) -> Results:
    """Read every whole run of an ablation.

    Raises:
        DataError: there is none, one is broken, or they do not start from the same warm encoders or are of other
            settings than the folder's.
    """
    if not folder.path.is_dir():
        raise DataError(f"{folder.path} is not a folder; give the one that clover ablate --out named")
    runs = [_read(path) for path in sorted(folder.runs.glob(f"*/seed-*/{DONE}"))]
    if not runs:
        raise DataError(
            f"{folder.path} holds no run that is whole; run clover ablate --out {shell_word(folder.path)} first"
        )
    sweeps = [_read(path) for path in sorted(folder.sweeps.glob(f"*/*/seed-*/{DONE}"))]
    config = stored(folder.path)
    for run in (*runs, *sweeps):
        if config is not None and not _is_of(run, config):
            raise DataError(f"{run.folder} was done with other settings than {folder.path}; take it out")
    starts = {run.start: run for run in (*runs, *sweeps) if SYSTEMS[run.system].is_warm}
    if len(starts) > 1:
        first, second = list(starts.values())[:2]
        raise DataError(
            f"{first.folder} and {second.folder} start from different warm encoders and do not compare: remove the "
            "runs of one of them"
        )
    return Results({(run.system, run.seed): run for run in runs}, {tuple(run.about["swept"]): run for run in sweeps})


def _is_of(run: RunResult, config: AblationConfig) -> bool:
    """Whether a run was done with these settings; what was done before settings were kept has none.

    A run of an earlier version says nothing of settings that there were not then: those had their default.
    """
    if "settings" not in run.about:
        return True
    try:
        return from_plain(AblationConfig, run.about["settings"], where=str(run.folder)) == config
    except ConfigError:
        return False


def _read(path: Path) -> RunResult:
    about = read_figures(path)
    missing = [name for name in _KEPT if name not in about]
    if missing or about["system"] not in SYSTEMS:
        raise DataError(
            f"{path} is not of a run of this ablation ({', '.join(missing) or 'unknown system'}); remove it"
        )
    return RunResult(path.parent, about)
