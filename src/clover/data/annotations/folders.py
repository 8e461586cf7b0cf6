"""Which file of a folder holds a split: the published names first, then accepted variants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from clover.data.annotations.problems import Problems
from clover.errors import DataError

Read = TypeVar("Read")


def check_split(split: str, splits: Iterable[str], *, what: str) -> None:
    """Refuse a split that there is not.

    Raises:
        DataError: ``split`` is none of ``splits``; the message lists them.
    """
    splits = tuple(splits)
    if split not in splits:
        raise DataError(f"{what} has no split named {split!r}; choose from {', '.join(splits)}")


def present(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of the names that are files in the folder, in the order given.

    Raises:
        DataError: The folder cannot be searched.
    """
    try:
        return [path for path in (Path(folder) / name for name in names) if path.is_file()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be searched ({error.strerror}); check its permissions") from error


def find_file(folder: Path, names: Sequence[str], problems: Problems, *, what: str) -> Path:
    """The first of the names that is there; a note tells which others were passed over.

    Raises:
        DataError: None is there; the message lists what was looked for.
    """
    found = present(folder, names)
    if not found:
        place = f"{folder}" if Path(folder).is_dir() else f"{folder}, which is no folder"
        raise DataError(f"no {what} in {place}; looked for {', '.join(names)}")
    if len(found) > 1:
        others = ", ".join(str(path.relative_to(folder)) for path in found[1:])
        problems.note(found[0], f"read for {what}; passed over {others}")
    return found[0]


def read_first(
    folder: Path, readers: Mapping[str, Callable[[Path], Read]], problems: Problems, *, what: str
) -> tuple[Path, Read]:
    """Read the first file that is there with the reader for its name.

    Args:
        folder: Where the files are.
        readers: A reader for each accepted name, the preferred ones first.
        problems: Where remarks go.
        what: What is being read, for messages.

    Returns:
        The file and what its reader gave.

    Raises:
        DataError: No such file is there, or its reader refuses it.
    """
    path = find_file(folder, tuple(readers), problems, what=what)
    return path, readers[path.relative_to(folder).as_posix()](path)
