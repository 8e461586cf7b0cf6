"""Files that clients send: received aside, looked into apart, then indexed one by one."""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.requests import Request

from clover.errors import LibraryBusyError
from clover.pipeline import Clover
from clover.search.engine import open_library
from clover.search.indexing import index_videos
from clover.search.windows import WindowConfig
from clover.serving.forms import FileForm
from clover.serving.probing import Probed, probe_apart
from clover.serving.problems import ServingError, busy, printable
from clover.serving.records import UploadState
from clover.serving.room import OWN_NAME, OWN_PART, Room
from clover.serving.shelf import Shelf, shown, video_id

TAG = "uploaded"
"""Given to the moments of uploaded files."""

_log = logging.getLogger(__name__)
_MOST_WAITING = 32
_MOST_REMEMBERED = 1_000
_MOST_AT_ONCE = 4
_LONGEST_NAME = 48
_RETRY_SECONDS = 2.0
"""Between two looks whether the library is free again."""
_PATIENCE_SECONDS = 600.0
"""Longest that one file waits for it."""
_OLD_SECONDS = 24 * 3600


@dataclass
class Upload:
    """A file that came, and what has become of it."""

    id: str
    name: str
    path: Path
    state: UploadState = "waiting"
    progress: float = 0.0
    error: str | None = None
    video: str = ""
    """Id of its video, once it is in the library."""


class _StoppedError(Exception):
    """The server ends while a file is indexed."""


class Uploads:
    """Takes files into a folder and the library. One thread indexes; locks of other commands are waited for."""

    def __init__(
        self,
        folder: Path,
        shelf: Shelf,
        clover: Clover,
        *,
        max_bytes: int,
        max_folder_bytes: int,
        on_end: Callable[[str], None] = lambda state: None,
    ) -> None:
        self._folder, self._shelf, self._clover, self._max_bytes = folder, shelf, clover, max_bytes
        self._room = Room(folder, max_folder_bytes)
        self._on_end = on_end
        self._known: OrderedDict[str, Upload] = OrderedDict()
        self._waiting: deque[Upload] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._receiving = anyio.Semaphore(_MOST_AT_ONCE)
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)

    def start(self) -> None:
        """Begin to index, first what an earlier server has left undone."""
        self._resume()
        self._thread.start()

    def stop(self) -> None:
        """Stop between two windows of a video; what is done is kept, and goes on with the next start."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(30)

    def __len__(self) -> int:
        return len(self._waiting)

    def upload(self, name: str) -> Upload:
        """How far a file has come.

        Raises:
            ServingError: there is none of this id (404).
        """
        found = self._known.get(name)
        if found is None:
            raise ServingError(404, "there is no such upload, or it is long ago")
        return found

    async def receive(self, request: Request) -> Upload:
        """Take the file of a form; it is indexed later.

        Raises:
            ServingError: it is too large (413), no media (415), broken (422), too many are waiting (503), or all
                together would be too large (507).
        """
        if len(self) >= _MOST_WAITING or self._receiving.value == 0:
            raise busy(30, "many files are being taken in; try again later")
        name = secrets.token_hex(8)
        aside = self._folder / f".{name}.part"
        length = int(request.headers.get("content-length", self._max_bytes))
        async with self._receiving:
            try:
                async with contextmanager_in_threadpool(self._room.reserved(name, length)):
                    given = await self._write(request, aside)
                    found = await run_sync(probe_apart, aside)
                    path = await run_sync(self._keep, aside, name, given, found)
            except OSError as error:
                _log.warning("an upload could not be stored: %s", error)
                raise busy(60, "the file cannot be stored at present; try again later") from None
            finally:
                await run_sync(lambda: aside.unlink(missing_ok=True))
        upload = Upload(id=name, name=printable(Path(given).name or path.name, 200), path=path)
        self._remember(upload)
        return upload

    async def _write(self, request: Request, aside: Path) -> str:
        """Write the file of a form; gives the name it came with."""
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            form = FileForm(request.headers.get("content-type", ""), file, self._max_bytes)
            await form.read(request)
        return form.name or ""

    def _keep(self, aside: Path, name: str, given: str, found: Probed) -> Path:
        """Give a received file its place, under a name that harms nobody."""
        if found.problem:
            raise ServingError(422 if found.is_media else 415, printable(f"the file is not taken: {found.problem}"))
        stem = re.sub(r"[^\w-]+", "_", Path(given.replace("\\", "/")).stem).strip("_")[:_LONGEST_NAME]
        path = self._folder / f"{stem or 'video'}-{name}{found.suffix}"
        aside.rename(path)
        return path

    def _remember(self, upload: Upload) -> None:
        with self._changed:
            self._known[upload.id] = upload
            while len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
            self._waiting.append(upload)
            self._changed.notify()

    def _resume(self) -> None:
        if not self._folder.is_dir():
            return
        there = {record.video for record in self._shelf.opened.records.values()}
        for path in sorted(self._folder.iterdir()):
            if OWN_PART.fullmatch(path.name):
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > _OLD_SECONDS:
                        path.unlink()
            elif OWN_NAME.fullmatch(path.name) and not path.is_symlink() and str(path) not in there:
                self._remember(Upload(id=secrets.token_hex(8), name=shown(path.name), path=path))

    def _run(self) -> None:
        while not self._stopped.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._stopped.is_set() or bool(self._waiting))
                if self._stopped.is_set():
                    return
                upload = self._waiting.popleft()
            try:
                upload.error = self._index(upload)
            except _StoppedError:
                return
            except Exception as error:  # the thread must go on for other files
                _log.warning("%s was not indexed: %s", upload.path, error)
                upload.error = "the library could not take the file; the server's log says why"
            if upload.error is None:
                self._shelf.refresh()
                upload.video = video_id(str(upload.path.resolve()))
            else:
                with suppress(OSError):
                    upload.path.unlink()
            upload.progress, upload.state = 1.0, "done" if upload.error is None else "failed"
            self._on_end(upload.state)

    def _index(self, upload: Upload) -> str | None:
        """Index one file, as soon as no other command holds the library; what is wrong with it, or None."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._attempt(upload)
            except LibraryBusyError:
                upload.state = "waiting"
                if time.monotonic() > deadline:
                    return "another command has been changing the library for long; send the file again later"
                if self._stopped.wait(_RETRY_SECONDS):
                    raise _StoppedError from None

    def _attempt(self, upload: Upload) -> str | None:
        index = open_library(self._shelf.place, self._clover)

        def progress(_: int, __: int, share: float) -> None:
            upload.state, upload.progress = "indexing", round(min(share, 1.0), 3)
            if self._stopped.is_set():
                raise _StoppedError

        report = index_videos(
            index,
            self._clover,
            [upload.path],
            WindowConfig.from_details(index.details),
            tags=(TAG,),
            progress=progress,
        )
        for reason in report.skipped.values():
            _log.warning("an uploaded file cannot be indexed: %s", reason)
            return "the file cannot be read as a video or image"
        return None
