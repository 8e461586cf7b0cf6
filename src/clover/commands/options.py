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

_NO_NUMBERS = re.compile(
    r"Error parsing (?P<option>\S+): no type matching \{None\}\|(?P<kinds>.+?) could be instantiated from "
    r"\[(?P<values>.*?)\]\. Got errors:.*"
)
_NO_NUMBER = re.compile(
    r"Error parsing (?P<option>\S+): (?P<why>invalid literal for int\(\) with base 10|"
    r"could not convert string to float): ['\"](?P<value>.*)['\"]"
)
"""What the library says of options that are not what they should be, the first of those that may be left out."""
_KINDS = {"INT": "whole number", "FLOAT": "number"}
_COUNTS = ("no", "a", "two", "three", "four")


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
    return _in_words(_MARKUP.sub("", " ".join(content))) or box.strip() or "wrong options"


def _in_words(line: str) -> str:
    """The library's line about values that are no numbers, or not so many, in words of ours; others as they are."""
    if found := _NO_NUMBERS.fullmatch(line):
        option, kinds, values = found["option"], found["kinds"].strip("{}").split(), found["values"]
        if set(kinds) <= set(_KINDS) and len(kinds) < len(_COUNTS):
            wanted = f"{_COUNTS[len(kinds)]} {_KINDS[kinds[0]]}{'s' if len(kinds) > 1 else ''}"
            given = " ".join(re.findall(r"['\"](.*?)['\"]", values))
            return f"{option} takes {wanted}; {f'it is given {given}' if given else 'none is given'}"
    if found := _NO_NUMBER.fullmatch(line):
        kind = _KINDS["FLOAT" if "float" in found["why"] else "INT"]
        return f"{found['option']} takes a {kind}; it is given {found['value']}"
    return line


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
    check_is_name(arguments[0], "recipe", f"clover {command} RECIPE", (*table, *(others or {})))
    return table[recipe_name(table, arguments[0], others or {})](), list(arguments[1:])


def check_is_name(given: str, what: str, usage: str, names: Collection[str]) -> None:
    """Whether a command's first word is a name and no option.

    Args:
        given: The word.
        what: It is to name.
        usage: The command up to the name.
        names: All that there are.

    Raises:
        ConfigError: it is an option.
    """
    if given.startswith("-"):
        raise ConfigError(
            f"the name of the {what} comes first, before {given}: {usage} [OPTIONS]; choose one of {', '.join(names)}"
        )


def recipe_name(table: Collection[str], given: str, others: Collection[str] = ()) -> str:
    """The name of a recipe, which may be written with - or _ between its words; the error names the others too.

    Raises:
        ConfigError: there is no such recipe.
    """
    for name in table:
        if name.replace("_", "-") == given.replace("_", "-"):
            return name
    raise ConfigError(f"unknown recipe {given!r}; choose one of {', '.join((*table, *others))}")
