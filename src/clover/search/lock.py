"""Locks that end with their process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from clover.errors import LibraryBusyError
from clover.files import cannot_write


@contextmanager
def lock_file(path: Path, place: str) -> Iterator[None]:
    """Hold the lock that a file stands for; a folder that had to be made for it and stays empty is taken away.

    Args:
        path: The file, made and removed here.
        place: The library, for the message.

    Raises:
        LibraryBusyError: another command holds it.
        WriteError: the file cannot be made.
    """
    made = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    with file:
        if not _taken(file, path):
            raise LibraryBusyError(f"{place} is being extended by another command; wait until it has ended")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if made and not any(path.parent.iterdir()):
                path.parent.rmdir()


def _taken(file: TextIO, path: Path) -> bool:
    """Take the lock of an open file, if the system has such locks; False where another process has it."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there the generation alone is compared
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # who held it may have removed it between our opening and locking it: then it keeps nobody out
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except OSError:
        return False
