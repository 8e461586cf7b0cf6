"""Room for uploaded files: how much of the disk they may take together, those that are still coming included."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clover.serving.problems import ServingError

OWN_NAME = re.compile(r".+-(?P<id>[0-9a-f]{16})\.\w+")
OWN_PART = re.compile(r"\.(?P<id>[0-9a-f]{16})\.part")
"""As uploaded files are named, whole and while they come: the folder may hold files of the user's own, which are left
alone and not counted."""
_SPARE_BYTES = 256 * 2**20
"""Left free on the disk."""


class Room:
    """What a folder may still take. Thread-safe."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._coming: dict[str, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def reserved(self, name: str, num_bytes: int) -> Iterator[None]:
        """Hold room for a file while it comes.

        Args:
            name: The id in its name, by which it is not counted twice.
            num_bytes: Its size, or the most that it can have.

        Raises:
            ServingError: all files together would be more than is allowed (507).
            OSError: the disk is nearly full, or the folder cannot be read.
        """
        with self._lock:
            self._check(num_bytes)
            self._coming[name] = num_bytes
        try:
            yield
        finally:
            with self._lock:
                del self._coming[name]

    def _check(self, num_bytes: int) -> None:
        stored, received = self._on_disk()
        promised = num_bytes + sum(self._coming.values())
        if stored + promised > self._max_bytes:
            most = f"{self._max_bytes / 2**30:.3g} GiB"
            raise ServingError(
                507,
                f"uploaded files may take {most} together, and with this one they would take more; whoever runs the "
                "server can delete some, or allow more",
            )
        if shutil.disk_usage(self._folder).free < promised - received + _SPARE_BYTES:
            raise OSError("the disk of the uploads is nearly full")

    def _on_disk(self) -> tuple[int, int]:
        """Bytes of files that are not coming any more, and those of others that are there already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stored, received = 0, 0
        for path in self._folder.iterdir():
            own = OWN_NAME.fullmatch(path.name) or OWN_PART.fullmatch(path.name)
            if own is None:
                continue
            with suppress(FileNotFoundError):  # deleted meanwhile
                size = path.lstat().st_size
                if own["id"] in self._coming:
                    received += size
                else:
                    stored += size
        return stored, received
