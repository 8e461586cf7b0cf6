"""Options from dataclasses, and errors as one line."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

import tyro

from clover.errors import ConfigError

OptionsT = TypeVar("OptionsT")
_MARKUP = re.compile(r"\[/?bold\]")
"""What the library leaves in some of its messages in place of bold letters."""


def parse(
    options: type[OptionsT], arguments: Sequence[str], *, command: str, default: OptionsT | None = None
) -> OptionsT:
    """Fill a dataclass from the command line; ``--help`` prints its fields and leaves.

    Raises:
        ConfigError: an unknown option, a missing or a malformed value; the message is one line.
    """
    messages = io.StringIO()
    cli: Any = tyro.cli  # its overloads know nothing of an absent default
    extra = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(messages):
            # of a union of settings the default's kind is meant: no subcommands
            made = cli(
                options,
                prog=f"clover {command}",
                args=list(arguments),
                config=(tyro.conf.AvoidSubcommands,),
                **extra,
            )
            return cast(OptionsT, made)
    except SystemExit as leaving:
        if not leaving.code:
            raise
        line = _one_line(messages.getvalue())
        raise ConfigError(f"{line}{_hint(line)}; see clover {command} --help") from None


def _hint(line: str) -> str:
    """What the user probably meant, where words were left over that look like no option."""
    given = line.removeprefix("Unrecognized options: ")
    is_text = given != line and not any(word.strip().startswith("-") for word in given.split(","))
    return " (a text of several words goes into quotes)" if is_text else ""


def _one_line(box: str) -> str:
    """The words of a framed message, without frame, headings of help and repeated hints."""
    lines = [line.strip("│╭╮╰╯─ \t") for line in box.splitlines()]
    content: list[str] = []
    for line in lines[1:]:
        if line.startswith(("For full helptext", "Argument helptext")):
            break
        if line.strip("-"):  # a row of them is the frame where the terminal knows ASCII alone
            content.append(line)
    return _MARKUP.sub("", " ".join(content)) or box.strip() or "wrong options"


def choose(
    table: dict[str, Callable[[], OptionsT]],
    arguments: Sequence[str],
    *,
    command: str,
    others: Mapping[str, str] | None = None,
) -> tuple[OptionsT, list[str]]:
    """Take a recipe's name off the arguments and make its experiment; ``--help`` alone lists the recipes.

    Args:
        table: The recipes.
        arguments: The command line.
        command: The command, for messages.
        others: What else the command takes in place of a recipe, with a line about each.

    Raises:
        ConfigError: there is no such recipe.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [
            f"usage: clover {command} RECIPE [OPTIONS]    (clover {command} RECIPE --help lists its options)",
            "",
        ]
        for name, make in table.items():
            lines.append(f"  {name:24} {(make.__doc__ or '').strip().splitlines()[0]}")
        lines += [f"  {name:24} {about}" for name, about in (others or {}).items()]
        if not arguments:
            raise ConfigError(f"no recipe given; choose one of {', '.join((*table, *(others or {})))}")
        print("\n".join(lines))
        sys.exit(0)
    return table[recipe_name(table, arguments[0], others or {})](), list(arguments[1:])


def recipe_name(table: Collection[str], given: str, others: Collection[str] = ()) -> str:
    """The name of a recipe, which may be written with - or _ between its words; the error names the others too.

    Raises:
        ConfigError: there is no such recipe.
    """
    for name in table:
        if name.replace("_", "-") == given.replace("_", "-"):
            return name
    raise ConfigError(f"unknown recipe {given!r}; choose one of {', '.join((*table, *others))}")
