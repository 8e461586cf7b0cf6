"""clover pretrain, clover finetune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from clover.allocator import keep_freed_memory
from clover.commands.options import choose, parse
from clover.errors import ConfigError
from clover.evaluation.benchmarks import BENCHMARKS
from clover.experiment.configs import PretrainingExperiment, QuestionExperiment
from clover.experiment.finetuning import finetune_questions
from clover.experiment.pretraining import Pretraining
from clover.files import check_writable
from clover.pipeline import Clover
from clover.recipes import finetune as finetune_recipes
from clover.recipes import pretrain as pretrain_recipes


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Pre-train a model; what is left in OUT: checkpoint/, logs, and the state to resume from."""

    experiment: Annotated[PretrainingExperiment, tyro.conf.arg(name="")] = field(default_factory=PretrainingExperiment)
    """Every setting of the run."""
    out: str = "run"
    """Folder of the run."""
    resume: bool = False
    """Go on where an interrupted run with the same settings stopped."""
    overwrite: bool = False
    """Start over in a folder that holds a run already."""


def refuse_to_overwrite(out: Path, *, resume: bool, overwrite: bool) -> None:
    """A run is hours of work: another must not take its place by mistake.

    Raises:
        ConfigError: the folder holds a run, and neither was asked for.
    """
    check_writable(out)
    has_run = (out / "checkpoint").exists() or any(out.glob("**/state.safetensors"))
    if has_run and not resume and not overwrite:
        raise ConfigError(
            f"{out} holds a run already; go on with --resume, start over with --overwrite, or give another --out"
        )


def pretrain(arguments: Sequence[str]) -> None:
    """Run `clover pretrain RECIPE`."""
    recipe, rest = choose(pretrain_recipes.RECIPES, arguments, command="pretrain")
    keep_freed_memory()
    options = parse(
        PretrainOptions, rest, command=f"pretrain {arguments[0]}", default=PretrainOptions(experiment=recipe)
    )
    refuse_to_overwrite(Path(options.out), resume=options.resume, overwrite=options.overwrite)
    run = Pretraining(options.experiment, Path(options.out))
    run.run(resume=options.resume)
    report_skipped(run.skipped)
    print(f"checkpoint: {Path(options.out) / 'checkpoint'}")


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """Fine-tune a pre-trained model on questions; what is left in OUT: checkpoint/, logs, state."""

    experiment: Annotated[QuestionExperiment, tyro.conf.arg(name="")] = field(default_factory=QuestionExperiment)
    """Every setting of the run."""
    checkpoint: str = ""
    """Pre-trained checkpoint folder."""
    out: str = "run-questions"
    """Folder of the run."""
    resume: bool = False
    """Go on where an interrupted run with the same settings stopped."""
    overwrite: bool = False
    """Start over in a folder that holds a run already."""


def finetune(arguments: Sequence[str]) -> None:
    """Run `clover finetune RECIPE`, which may be the name of a benchmark."""
    if arguments and arguments[0] in BENCHMARKS:
        from clover.commands.benchmarks import finetune_on

        finetune_on(arguments[0], arguments[1:])
        return
    recipe, rest = choose(finetune_recipes.RECIPES, arguments, command="finetune")
    options = parse(
        FinetuneOptions, rest, command=f"finetune {arguments[0]}", default=FinetuneOptions(experiment=recipe)
    )
    if not options.checkpoint:
        raise ConfigError("no checkpoint given; name the pre-trained folder with --checkpoint")
    refuse_to_overwrite(Path(options.out), resume=options.resume, overwrite=options.overwrite)
    keep_freed_memory()
    clover = Clover.from_pretrained(options.checkpoint)
    done = finetune_questions(clover, options.experiment, Path(options.out), resume=options.resume)
    report_skipped(done.skipped)
    if done.num_left_out:
        print(f"left out {done.num_left_out} questions whose answer is not among the {options.experiment.num_answers}")
    print(f"checkpoint: {Path(options.out) / 'checkpoint'}")


def report_skipped(skipped: dict[str, str], *, what: str = "left out {} that cannot be read", limit: int = 20) -> None:
    """List what could not be read, or not whole."""
    if not skipped:
        return
    print(what.format(f"{len(skipped)} file{'s' if len(skipped) > 1 else ''}") + ":")
    for reason in list(skipped.values())[:limit]:
        print(f"  {reason}")
    if len(skipped) > limit:
        print(f"  and {len(skipped) - limit} more")
