"""clover ablate, and its prepare, sweep and report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from clover.ablation.folders import AblationFolder
from clover.ablation.jobs import Job, jobs_of, sweep_jobs
from clover.ablation.preparation import check_prepared, prepare
from clover.ablation.runner import Part, run_jobs
from clover.ablation.settings import AblationConfig, keep, quick, stored
from clover.allocator import keep_freed_memory
from clover.commands.options import parse
from clover.errors import ConfigError
from clover.files import check_writable, shell_word
from clover.recipes.ablation import SWEEPS, SYSTEMS
from clover.training.compute import Compute, ComputeConfig
from clover.training.interruption import InterruptedRunError
from clover.training.records import num_cpus

_USAGE = """usage: clover ablate [OPTIONS]            the seven systems of the paper, several seeds, four evaluations
       clover ablate prepare [OPTIONS]    only what all runs share: corpora and warm encoders
       clover ablate sweep [OPTIONS]      one seed of Clover for every value of its settings
       clover ablate report FOLDER        tables, plots and statistics of what is done

clover ablate --options lists the options of the first three; all of them go on where they stopped"""


@dataclass(frozen=True, kw_only=True)
class AblateOptions:
    """The paper's ablations on the generated corpus; begun again, it goes on where it stopped."""

    out: str = "ablation"
    """Folder for everything."""
    seeds: int = 5
    """Seeds of every system; with --quick one, unless another number is given."""
    systems: tuple[str, ...] = tuple(name for name, system in SYSTEMS.items() if not system.is_footnote)
    """Which; besides the seven of the paper ind-a-compute, ind-f-compute and comb-compute, which get Clover's compute,
    comb-fresh and clover-fresh, which start from nothing, and tma-sm-adjectives, which masks adjectives too."""
    settings: tuple[str, ...] = tuple(SWEEPS)
    """Which settings clover ablate sweep changes, one at a time."""
    part: str = "1/1"
    """Which share of the runs, for one of several machines; prepare the folder first and copy it to all of them."""
    jobs: int = 0
    """Runs side by side, each with its share of the cores; 0 takes one for each core, on a GPU one."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device and number format; a GPU where there is one."""
    config: Annotated[AblationConfig, tyro.conf.arg(name="")] = field(default_factory=AblationConfig)
    """What the results depend on; kept in the folder."""
    quick: bool = False
    """A few videos and steps: shows that everything runs, learns little."""


def ablate(arguments: Sequence[str]) -> None:
    """Run `clover ablate`."""
    words = list(arguments)
    if words and words[0] in ("-h", "--help"):
        print(_USAGE)
        return
    words = ["--help" if word == "--options" else word for word in words]
    name = words.pop(0) if words and not words[0].startswith("-") else ""
    if name not in ("", "prepare", "sweep", "report"):
        raise ConfigError(f"unknown ablate command {name!r}; choose prepare, sweep or report, or none to run it")
    if name == "report":
        from clover.commands.ablation_report import report

        report(words)
        return
    _run(name, words)


def _run(name: str, words: Sequence[str]) -> None:
    options = parse(AblateOptions, words, command=f"ablate {name}".strip(), default=_defaults(words))
    jobs, compute = _jobs(name, options), Compute(options.compute)
    part = Part.read(options.part)
    folder = AblationFolder(Path(options.out))
    check_writable(folder.path)
    keep(folder.path, options.config)
    keep_freed_memory()
    if part.count > 1:
        check_prepared(folder)
    side_by_side = options.jobs or (num_cpus() if compute.device.type == "cpu" else 1)
    try:
        prepare(folder, options.config, options.compute, say=_say, quiet=False)
        if name != "prepare":
            run_jobs(part.of(jobs), folder, options.config, options.compute, num_processes=side_by_side, say=_say)
    except InterruptedRunError as error:
        number = error.exit_status - 128
        raise InterruptedRunError("asked to stop; all steps are kept: go on with the same command", number) from error
    if name != "prepare":
        print(f"look at them with: clover ablate report {shell_word(folder.path)}")


def _defaults(words: Sequence[str]) -> AblateOptions:
    """Those of the folder that is gone on with; of a new one the full or the quick experiment."""
    out = next((words[place + 1] for place, word in enumerate(words[:-1]) if word == "--out"), "")
    out = next((word.removeprefix("--out=") for word in words if word.startswith("--out=")), out) or AblateOptions().out
    before, is_quick = stored(Path(out)), "--quick" in words
    if before is not None and is_quick and before != quick():
        raise ConfigError(
            f"{out} holds an ablation that is not the quick one; leave --quick out, or give another --out"
        )
    config = before or (quick() if is_quick else AblationConfig())
    return AblateOptions(config=config, seeds=1 if is_quick else AblateOptions().seeds)


def _jobs(name: str, options: AblateOptions) -> list[Job]:
    if options.seeds < 1 or options.jobs < 0:
        raise ConfigError(f"{options.seeds} seeds, {options.jobs} jobs: give 1 or more seeds and 0 or more jobs")
    if name == "sweep":
        _check(options.settings, tuple(SWEEPS), "setting to sweep")
        return sweep_jobs(options.settings)
    _check(options.systems, tuple(SYSTEMS), "system")
    return jobs_of(options.systems, options.seeds)


def _check(chosen: Sequence[str], known: Sequence[str], what: str) -> None:
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ConfigError(
            f"unknown {what} {', '.join(map(repr, unknown)) or '(none given)'}; there are {', '.join(known)}"
        )
    twice = [name for name in dict.fromkeys(chosen) if chosen.count(name) > 1]
    if twice:
        raise ConfigError(f"{what} {twice[0]!r} is named twice; name it once")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
