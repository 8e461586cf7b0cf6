"""clover distill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, get_args

import tyro

from clover.allocator import keep_freed_memory
from clover.checkpoints import CloverConfig
from clover.commands.effects import check_effects
from clover.commands.options import parse
from clover.commands.train import Resume, begin, report_skipped, with_batch, with_value_of_resume
from clover.distributed import together
from clover.errors import ConfigError
from clover.experiment.distillation import Distillation, DistillationExperiment
from clover.pipeline import Clover
from clover.recipes.distill import StudentSize, shapes_student


@dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """Train a small student of a checkpoint; what is left in OUT: checkpoint/, logs, and the state to resume from."""

    experiment: Annotated[DistillationExperiment, tyro.conf.arg(name="")] = field(
        default_factory=DistillationExperiment
    )
    """Every setting of the run."""
    size: StudentSize = "tiny"
    """Size of the student; the options of --model change it further."""
    batch_size: int = 0
    """Samples a step, of all processes together; 0 takes the recipe's (short for --training.batch-size)."""
    micro_batch_size: int = 0
    """Samples that go through the network together on a process; fewer need less memory and give the same gradients; 0
    takes the recipe's (short for --training.micro-batch-size)."""
    out: str = "student"
    """Folder of the run."""
    resume: Resume = "no"
    """Go on where an interrupted run with the same settings stopped; auto does so if there is one to go on with."""
    overwrite: bool = False
    """Start over in a folder that holds a run already."""


def distill(arguments: Sequence[str]) -> None:
    """Run `clover distill TEACHER`."""
    if arguments and arguments[0] in ("-h", "--help"):  # with the defaults for a teacher of the published size
        recipe = shapes_student(CloverConfig(), "tiny")
        parse(DistillOptions, ["--help"], command="distill TEACHER", default=DistillOptions(experiment=recipe))
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError("no teacher given; write clover distill TEACHER, a checkpoint folder")
    teacher, words = arguments[0], with_value_of_resume(arguments[1:])
    size = _size_in(words)
    recipe = shapes_student(Clover.from_pretrained(teacher).config, size)
    default = DistillOptions(experiment=recipe, size=size)
    options = parse(DistillOptions, words, command=f"distill {teacher}", default=default)
    check_effects(options.experiment, recipe)
    keep_freed_memory()
    with together() as processes:
        out = Path(options.out)
        resume = begin(out, resume=options.resume, overwrite=options.overwrite)
        experiment = with_batch(options.experiment, options.batch_size, options.micro_batch_size)
        run = Distillation(teacher, experiment, out, recipe=recipe, quiet=not processes.is_first)
        run.run(resume=resume)
        if processes.is_first:
            report_skipped(run.skipped)
            print(f"checkpoint: {out / 'checkpoint'}")


def _size_in(words: Sequence[str]) -> StudentSize:
    """The size that is asked for: it decides what the other options change. A wrong one is answered by the parser."""
    joined = " ".join(words).replace("--size=", "--size ").split()
    given = joined[joined.index("--size") + 1 :][:1] if "--size" in joined else []
    sizes: tuple[StudentSize, ...] = get_args(StudentSize)
    return next((size for size in sizes if [size] == given), sizes[0])
