"""The commands, called in this process."""

import io
from contextlib import redirect_stderr, redirect_stdout

from clover.cli import main
from clover.evaluation.benchmarks import BENCHMARKS

FORMATS = {
    "msrvtt-retrieval": "msrvtt",
    "didemo-retrieval": "didemo",
    "lsmdc-retrieval": "lsmdc",
} | {name: name for name in BENCHMARKS if not name.endswith("-retrieval")}


def run(*arguments):
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            status = leaving.code
    return status, output.getvalue(), errors.getvalue().splitlines()


def places(folder):
    return "--annotations", folder / "annotations", "--videos", folder / "videos"


def finetune(name, checkpoint, folder, out, *more):
    few = ("--max-steps", 2, "--batch-size", 4)
    return run("finetune", name, "--checkpoint", checkpoint, *places(folder), "--out", out, *few, *more)
