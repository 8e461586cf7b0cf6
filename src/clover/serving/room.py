"""Room for uploaded files: how much of the disk they may take together, those that are still coming included."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clover.serving.problems import ServingError

OWN_NAME = re.compile(r".+-[0-9a-f]{16}\.\w+")
"""As uploaded files are named: the folder may hold files of the user's own, which are left alone and not counted."""
_SPARE_BYTES = 256 * 2**20
"""Left free on the disk."""


class Room:
    """What a folder may still take. Thread-safe."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._coming = 0
        self._lock = threading.Lock()

    @contextmanager
    def reserved(self, num_bytes: int) -> Iterator[None]:
        """Hold room for a file while it comes.

        Args:
            num_bytes: Its size, or the most that it can have.

        Raises:
            ServingError: all files together would be more than is allowed (507).
            OSError: the disk is nearly full, or the folder cannot be read.
        """
        with self._lock:
            self._check(num_bytes + self._coming)
            self._coming += num_bytes
        try:
            yield
        finally:
            with self._lock:
                self._coming -= num_bytes

    def _check(self, num_bytes: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        own = [path for path in self._folder.iterdir() if OWN_NAME.fullmatch(path.name)]
        if num_bytes + sum(path.lstat().st_size for path in own) > self._max_bytes:
            most = f"{self._max_bytes / 2**30:.3g} GiB"
            raise ServingError(507, f"uploaded files may take {most} in all, and this one would be more")
        if shutil.disk_usage(self._folder).free < num_bytes + _SPARE_BYTES:
            raise OSError("the disk of the uploads is nearly full")
