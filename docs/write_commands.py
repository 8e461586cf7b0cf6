"""Writes docs/commands.md: the help of every command, as the command line prints it. `make docs` runs this."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands

What `clover --help` and the help of every command print. This page is written by `make docs`; a test compares.
"""
WIDTH = 110

# those whose help depends on what is named first; of the recipes and benchmarks one each, as all take the same options
FURTHER = {
    "corpus": ["corpus shapes"],
    "pretrain": ["pretrain webvid_cc3m"],
    "finetune": ["finetune shapes-questions", "finetune msrvtt-qa"],
    "ablate": ["ablate --options", "ablate report"],
    "evaluate": ["evaluate retrieval", "evaluate msrvtt-qa"],
    "data": ["data check", "data pack"],
    "runs": ["runs list", "runs diff"],
    "library": ["library info", "library verify", "library compact", "library remove", "library migrate"],
}


def help_of(words: list[str]) -> str:
    """What the command prints, without frames and without spaces at the ends of lines."""
    from clover.cli import main

    output = io.StringIO()
    with redirect_stdout(output):
        try:
            main(words)
        except SystemExit as leaving:
            if leaving.code:
                raise
    return "\n".join(line.rstrip() for line in output.getvalue().strip().splitlines())


def page() -> str:
    """The whole page."""
    from clover.cli import COMMANDS

    os.environ["COLUMNS"] = str(WIDTH)
    parts = [HEAD, "## clover\n", f"```text\n{help_of(['--help'])}\n```\n"]
    for name in COMMANDS:
        parts.append(f"## clover {name}\n")
        for command in (name, *FURTHER.get(name, ())):
            words = command.split()
            asked = words if words[-1].startswith("--") else [*words, "--help"]
            heading = [] if command == name else [f"### clover {command}\n"]
            parts += [*heading, f"```text\n{help_of(asked)}\n```\n"]
    return "\n".join(parts)


def main() -> int:
    """Write the page where it changed."""
    text = page()
    if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
