"""clover pretrain, clover finetune."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from clover.allocator import keep_freed_memory
from clover.checkpoints import CHECKPOINT_FILES
from clover.commands.effects import check_effects
from clover.commands.options import choose, parse
from clover.data.annotations.problems import counted
from clover.distributed import current, together
from clover.errors import ConfigError
from clover.evaluation.benchmarks import BENCHMARKS
from clover.experiment.configs import PretrainingExperiment, QuestionExperiment
from clover.experiment.finetuning import finetune_questions
from clover.experiment.pretraining import Pretraining
from clover.files import check_replaceable, check_writable
from clover.pipeline import Clover
from clover.recipes import finetune as finetune_recipes
from clover.recipes import pretrain as pretrain_recipes

Resume = Literal["no", "yes", "auto"]
ExperimentT = TypeVar("ExperimentT", bound=PretrainingExperiment)


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Pre-train a model; what is left in OUT: checkpoint/, logs, and the state to resume from."""

    experiment: Annotated[PretrainingExperiment, tyro.conf.arg(name="")] = field(default_factory=PretrainingExperiment)
    """Every setting of the run."""
    batch_size: int = 0
    """Samples a step, of all processes together; 0 takes the recipe's (short for --training.batch-size)."""
    micro_batch_size: int = 0
    """Samples that go through the network together on a process; fewer need less memory and give the same gradients; 0
    takes the recipe's (short for --training.micro-batch-size)."""
    out: str = "run"
    """Folder of the run."""
    resume: Resume = "no"
    """Go on where an interrupted run with the same settings stopped; auto does so if there is one to go on with."""
    overwrite: bool = False
    """Start over in a folder that holds a run already."""


def begin(out: Path, *, resume: Resume, overwrite: bool) -> bool:
    """Whether a run goes on from a saved state. A run is hours of work: no other takes its place by mistake.

    Raises:
        ConfigError: the folder holds a run, and neither going on nor starting over was asked for.
        WriteError: it cannot be written, or what would be replaced in the end holds other things.
    """
    processes = current()
    if processes.is_first:
        check_writable(out)
        check_replaceable(out / "checkpoint", CHECKPOINT_FILES, verb="train")  # known before hours of work
    has_states = any(out.glob("**/states/step-*/state.json"))
    has_run, goes_on = processes.from_first(
        (has_states or (out / "checkpoint").exists(), resume == "yes" or (resume == "auto" and has_states))
    )
    if has_run and not goes_on and not overwrite:
        raise ConfigError(
            f"{out} holds a run already; go on with --resume auto, start over with --overwrite, or give another --out"
        )
    return bool(goes_on)


def with_value_of_resume(arguments: Sequence[str]) -> list[str]:
    """``--resume`` alone means ``--resume yes``."""
    words = list(arguments)
    for place, word in enumerate(words):
        if word == "--resume" and (place + 1 == len(words) or words[place + 1].startswith("-")):
            words[place] = "--resume=yes"
    return words


def pretrain(arguments: Sequence[str]) -> None:
    """Run `clover pretrain RECIPE`."""
    recipe, rest = choose(pretrain_recipes.RECIPES, arguments, command="pretrain")
    keep_freed_memory()
    default = PretrainOptions(experiment=recipe)
    options = parse(PretrainOptions, with_value_of_resume(rest), command=f"pretrain {arguments[0]}", default=default)
    check_effects(options.experiment, recipe)
    with together() as processes:
        out = Path(options.out)
        resume = begin(out, resume=options.resume, overwrite=options.overwrite)
        experiment = with_batch(options.experiment, options.batch_size, options.micro_batch_size)
        run = Pretraining(experiment, out, recipe=recipe, quiet=not processes.is_first)
        run.run(resume=resume)
        if processes.is_first:
            report_skipped(run.skipped)
            print(f"checkpoint: {out / 'checkpoint'}")


def with_batch(experiment: ExperimentT, batch_size: int, micro_batch_size: int) -> ExperimentT:
    """A run with other batches; 0 leaves its own."""
    training = experiment.training
    if batch_size:
        training = replace(training, batch_size=batch_size)
    if micro_batch_size:
        training = replace(training, micro_batch_size=micro_batch_size)
    return replace(experiment, training=training)


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """Fine-tune a pre-trained model on questions; what is left in OUT: checkpoint/, logs, state."""

    experiment: Annotated[QuestionExperiment, tyro.conf.arg(name="")] = field(default_factory=QuestionExperiment)
    """Every setting of the run."""
    checkpoint: str = ""
    """Pre-trained checkpoint folder."""
    out: str = "run-questions"
    """Folder of the run."""
    resume: Resume = "no"
    """Go on where an interrupted run with the same settings stopped; auto does so if there is one to go on with."""
    overwrite: bool = False
    """Start over in a folder that holds a run already."""


def finetune(arguments: Sequence[str]) -> None:
    """Run `clover finetune RECIPE`, which may be the name of a benchmark."""
    if arguments and arguments[0] in BENCHMARKS:
        from clover.commands.benchmarks import finetune_on

        finetune_on(arguments[0], arguments[1:])
        return
    others = {row.name: f"{row.title}, from its publisher's files" for row in BENCHMARKS.values()}
    recipe, rest = choose(finetune_recipes.RECIPES, arguments, command="finetune", others=others)
    default = FinetuneOptions(experiment=recipe)
    options = parse(FinetuneOptions, with_value_of_resume(rest), command=f"finetune {arguments[0]}", default=default)
    if not options.checkpoint:
        raise ConfigError("no checkpoint given; name the pre-trained folder with --checkpoint")
    keep_freed_memory()
    with together() as processes:
        out = Path(options.out)
        resume = begin(out, resume=options.resume, overwrite=options.overwrite)
        clover = Clover.from_pretrained(options.checkpoint)
        done = finetune_questions(clover, options.experiment, out, resume=resume, quiet=not processes.is_first)
        if not processes.is_first:
            return
        report_skipped(done.skipped)
        if done.num_left_out:
            num_answers = options.experiment.num_answers
            print(f"left out {counted(done.num_left_out, 'question')} whose answer is not among the {num_answers}")
        print(f"checkpoint: {out / 'checkpoint'}")


def report_skipped(
    skipped: dict[str, str],
    *,
    what: str = "left out {} that cannot be read",
    noun: str = "file",
    limit: int = 20,
    beside: bool = False,
) -> None:
    """List what could not be read, or not whole: on standard output, or beside it on standard error."""
    output = sys.stderr if beside else sys.stdout
    if not skipped:
        return
    print(what.format(f"{len(skipped)} {noun}{'s' if len(skipped) > 1 else ''}") + ":", file=output)
    for reason in list(skipped.values())[:limit]:
        print(f"  {reason}", file=output)
    if len(skipped) > limit:
        print(f"  and {len(skipped) - limit} more", file=output)
