"""Writing files so that nobody ever sees half of one: aside, then renamed; and what a name that is no file means."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clover.errors import CloverError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""How a model is called on the Hugging Face Hub: ``owner/name``."""


class WriteError(CloverError):
    """A file or folder that cannot be written."""


def cannot_write(path: Path, error: OSError) -> WriteError:
    """The error a user sees when writing fails."""
    reason = error.strerror or str(error)
    return WriteError(f"cannot write {path}: {reason}; choose a writable place with enough room")


def shell_word(text: str | Path) -> str:
    """A path, or a word with one in it, as a shell takes it: for commands that a message suggests."""
    return shlex.quote(str(text))


def check_writable(folder: Path) -> None:
    """Find out before long work whether its results can be written; leaves nothing behind.

    Raises:
        WriteError: the folder cannot be made, or nothing can be written there.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"clover")
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


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
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def refused_address(place: str | os.PathLike[str]) -> str:
    """Why a path that is an address of the web cannot be read; of any other path nothing."""
    scheme, colon, rest = str(place).partition(":/")
    if not colon or scheme not in ("http", "https", "ftp", "s3", "hf", "gs"):
        return ""
    shown = f"{scheme}://{rest.lstrip('/')}"  # a path has one of the two strokes
    return f"{shown} is an address, and addresses are not fetched; download it and give the file or folder"


def is_hub_id(name: object) -> bool:
    """Whether a string can mean a model on the Hub: ``owner/name``, and no folder here begins like it."""
    if not isinstance(name, str) or not HUB_NAME.fullmatch(name):
        return False
    return not Path(name.partition("/")[0]).exists()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def checksum(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def other_things(folder: Path, own: Collection[str]) -> list[str]:
    """Names of what lies in a folder besides files of these names, sorted; of no folder: none."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name not in own or path.is_dir())


def check_replaceable(folder: Path, own: Collection[str], *, verb: str) -> None:
    """Find out whether a folder may be written anew: replacing it loses nothing but what was written so before.

    Args:
        folder: What would be replaced; it need not exist.
        own: Names of the files that are written there.
        verb: What the user is doing, for the message.

    Raises:
        WriteError: it holds something else, which would be lost, or is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise WriteError(f"{folder} is a file, and a folder is written; {verb} into a folder of its own")
    other = other_things(folder, own)
    if other:
        raise WriteError(f"{folder} holds other things ({', '.join(other[:3])}); {verb} into a folder of its own")


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
        raise cannot_write(folder, error) from error
    old = aside.with_suffix(".old")
    try:
        aside.chmod(0o755)
        fill(aside)
        if folder.exists():
            folder.rename(old)
        try:
            aside.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        if old.is_symlink():
            old.unlink()
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
