"""The command line: names, one-line help, and errors as one line. Commands are imported when they are called."""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from clover.errors import CloverError

COMMANDS = {
    "demo": (
        "demo:demo",
        "the main job from nothing: corpus, pre-training, retrieval, questions, search, report",
    ),
    "corpus": ("corpus:corpus", "write the generated corpus of moving shapes"),
    "pretrain": ("train:pretrain", "pre-train a model by a recipe"),
    "finetune": ("train:finetune", "fine-tune a pre-trained model, by a recipe or on a benchmark"),
    "distill": ("distill:distill", "train a small student of a larger checkpoint"),
    "import": ("importing:import_weights", "take over weights of others: Video Swin, Swin, BERT, official Clover"),
    "export": ("export:export", "give a checkpoint to other programs"),
    "ablate": ("ablate:ablate", "the paper's ablations: every system, several seeds, statistics, a report"),
    "plan": ("plan:plan", "operations, memory, days and cores of a pre-training run, before it is run"),
    "evaluate": ("evaluate:evaluate", "figures of a checkpoint beside chance, on a corpus or a benchmark"),
    "benchmarks": ("benchmarks:benchmarks", "the eleven benchmarks: files, splits, frames, metric, published figures"),
    "report": ("report:report", "results of benchmarks beside the published ones, as a page"),
    "runs": ("runs:runs", "runs of a folder; what differs between two runs"),
    "data": ("data:data", "check a benchmark's files; pack a corpus into shards for training"),
    "index": ("library:index", "make or extend a library of your videos"),
    "library": ("library_admin:library", "what is in a library; verify, compact, remove from it, another model"),
    "join": ("library:join", "join libraries that several machines made"),
    "search": ("searching:search_library", "find moments of a library by a sentence"),
    "ask": ("asking:ask", "ask a question about a video"),
    "serve": ("serve:serve", "show a library in the browser, and serve it to programs"),
}


def usage() -> str:
    """The text of `clover --help`."""
    rows = [f"  {name:10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: clover COMMAND [OPTIONS]    (clover COMMAND --help lists the options)",
            "",
            "One video-language model: finds videos by text, answers questions about them.",
            "",
            *rows,
            "",
            "  --version  print the version        --debug  show the traceback of an error",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names need not be text in the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    # threads that wait for work burn the cores other processes need: two runs side by side took ten times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_debugging = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("clover-vl"))
        return 0
    try:
        return _run(words[0], words[1:])
    except Exception as error:
        if is_debugging:
            raise
        return _complain(error)
    except KeyboardInterrupt:
        if is_debugging:
            raise
        print("\nclover: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def _run(name: str, arguments: Sequence[str]) -> int:
    if name not in COMMANDS:
        print(f"clover: unknown command {name!r}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="clover: %(message)s")
    module, function = COMMANDS[name][0].split(":")
    getattr(importlib.import_module(f"clover.commands.{module}"), function)(list(arguments))
    return 0


def _complain(error: Exception) -> int:
    """Print an error as one line; returns the exit status."""
    if isinstance(error, BrokenPipeError):
        # the reader of our output left (head, less): not an error, but nothing more may be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    text = " ".join(str(error).split())
    if isinstance(error, CloverError):
        print(f"clover: {text}", file=sys.stderr)
        return error.exit_status
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        print(
            f"clover: the disk is full ({error.filename or 'while writing'}); make room and try again",
            file=sys.stderr,
        )
        return 1
    if isinstance(error, OSError) and error.filename:
        print(f"clover: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"clover: {type(error).__name__}: {text} (run again with --debug for the details)", file=sys.stderr)
    return 1
