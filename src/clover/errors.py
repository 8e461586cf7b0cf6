"""What a user can mend: every error says which thing is wrong and what to do about it."""

from __future__ import annotations


class CloverError(Exception):
    """Base of all errors that the user can mend; the command line prints its message as one line.

    The message names the thing (a path, an option, a row) and the remedy, without a trailing full stop.
    """

    exit_status: int = 2
    """What the command line returns."""


class MediaError(CloverError):
    """A video or image that cannot be read: missing, empty, not media, without a picture, or too broken."""


class TextError(CloverError):
    """A text that cannot be used, or a tokenizer or tagger that cannot be loaded."""


class DataError(CloverError):
    """An annotation file or corpus that is missing, incomplete or inconsistent."""


class CheckpointError(CloverError):
    """A checkpoint that is missing, incomplete, of another shape, or made by another model."""


class TrainingError(CloverError):
    """A run that went wrong: a loss or gradient that is not a number."""


class LibraryError(CloverError):
    """A search library that is missing, broken, or made by another model."""


class LibraryBusyError(LibraryError):
    """A search library that another command is changing, or has changed meanwhile; trying again later may help."""


class ConfigError(CloverError):
    """A setting, recipe or option that does not exist or contradicts another."""


class ExportError(CloverError):
    """An exported model that does not compute what the checkpoint does, or a missing library for exporting."""


def first_line(error: BaseException, *, named: bool = False) -> str:
    """The first line of what another library's error says, 200 characters at most.

    Args:
        error: The error; one that says nothing is told by its kind.
        named: Begin with its kind.
    """
    lines = str(error).strip().splitlines()
    kind = type(error).__name__
    if not lines:
        return kind
    return f"{kind}: {lines[0][:200]}" if named else lines[0][:200]
