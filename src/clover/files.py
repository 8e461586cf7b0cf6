"""Writing files so that nobody ever sees half of one: aside, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clover.errors import CloverError


class WriteError(CloverError):
    """A file or folder that cannot be written."""


def _explain(path: Path, error: OSError) -> WriteError:
    reason = error.strerror or str(error)
    return WriteError(f"cannot write {path}: {reason}; choose a writable place with enough room")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; when the block ends well, it takes the place of ``path``.

    Raises:
        WriteError: the folder cannot be written, or the disk is full; ``path`` is then as it was.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        aside.replace(path)
    except OSError as error:
        raise _explain(path, error) from error
    finally:
        with suppress(OSError):  # where nothing could be written there is nothing to take away
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Write a folder of files, whole or not at all; an existing one is replaced.

    Raises:
        WriteError: the place cannot be written, or the disk is full; ``folder`` is then as it was.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise _explain(folder, error) from error
    try:
        aside.chmod(0o755)
        fill(aside)
        if folder.exists():
            old = aside.with_suffix(".old")
            folder.rename(old)
            aside.rename(folder)
            shutil.rmtree(old)
        else:
            aside.rename(folder)
    except OSError as error:
        raise _explain(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
