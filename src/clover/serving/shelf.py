"""The library that is served: opened again when another command has changed it, its files named by opaque ids."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from clover.pipeline import Clover
from clover.search.confidence import calibration_of
from clover.search.engine import open_library
from clover.search.index import Filter, Index, is_remote
from clover.search.interface import VideoRecord
from clover.serving.playable import is_playable, media_type
from clover.serving.problems import ServingError, printable
from clover.serving.records import Filters, Video, instant

_log = logging.getLogger(__name__)
UPLOADED = "uploaded files"
"""What the folder of uploads is called among the others."""

_MOST_FOLDERS = 10_000
_MOST_TAGS = 1_000


def video_id(path: str) -> str:
    """What clients call a video: a hash of its path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:20]


def parent(path: str) -> str:
    """The folder that a file is in."""
    return str(Path(path).parent)


def shown(text: str) -> str:
    """A name of a file as text, whatever bytes it is made of."""
    return os.fsencode(text).decode("utf-8", "replace")


@dataclass(frozen=True)
class Opened:
    """A state of the library."""

    index: Index
    uploads: Path | None = None
    """Folder of uploaded files, whose place among the others is not shown."""

    @cached_property
    def records(self) -> dict[str, VideoRecord]:
        """The videos by their ids, in the order of folders and names."""
        records = sorted(self.index.video_records(), key=lambda record: (parent(record.video), record.video))
        return {video_id(record.video): record for record in records}

    @cached_property
    def _num_moments(self) -> dict[str, int]:
        return {}

    @cached_property
    def _root(self) -> str:
        """The folder that all videos are in that were not uploaded."""
        places = {parent(record.video) for record in self.records.values()} - {str(self.uploads)}
        return os.path.commonpath(places) if places else ""

    def folder_of(self, path: str) -> str:
        """Where a file is, from the folder that all are in."""
        folder = parent(path)
        if self.uploads is not None and folder == str(self.uploads):
            return UPLOADED
        relative = os.path.relpath(folder, self._root)
        return "" if relative == "." else relative

    @cached_property
    def folders(self) -> dict[str, str]:
        """Paths of the folders below which there are videos, by the names that clients see."""
        found: dict[str, str] = {}
        for record in self.records.values():
            name, folder = self.folder_of(record.video), parent(record.video)
            while name and shown(name) not in found:
                found[shown(name)] = folder
                name, folder = name.rpartition(os.sep)[0], parent(folder)
            if len(found) >= _MOST_FOLDERS:
                break
        return dict(sorted(found.items()))

    @cached_property
    def tags(self) -> list[str]:
        """Tags that videos have."""
        return sorted({shown(tag) for record in self.records.values() for tag in record.tags})[:_MOST_TAGS]

    def record(self, name: str) -> VideoRecord:
        """The video of an id.

        Raises:
            ServingError: there is none (404).
        """
        if name not in self.records:
            raise ServingError(404, "the library has no such video")
        return self.records[name]

    def filter(self, filters: Filters, video: str | None = None) -> Filter | None:
        """What an index understands; None admits everything.

        Raises:
            ServingError: there is no such folder or video (404).
        """
        if filters.folder and filters.folder not in self.folders:
            raise ServingError(404, "the library has no such folder")
        where = Filter(
            folder=self.folders.get(filters.folder, ""),
            since=instant(filters.since),
            until=instant(filters.until, days=1),
            min_seconds=filters.min_seconds,
            max_seconds=filters.max_seconds,
            tags=tuple(filters.tags),
            video="" if video is None else self.record(video).video,
        )
        return None if where == Filter() else where

    def num_moments(self, path: str) -> int:
        """Moments of a video, counted once."""
        if path not in self._num_moments:
            self._num_moments[path] = len(self.index.moments_of(path))
        return self._num_moments[path]

    def describe(self, record: VideoRecord) -> Video:
        """What clients see of a video; the file is looked into once."""
        name = video_id(record.video)
        modified = record.modified or int(record.signature.partition("-")[2] or 0) / 1e9
        return Video(
            id=name,
            name=printable(shown(Path(record.video).name)),
            folder=shown(self.folder_of(record.video)),
            seconds=round(record.video_seconds, 3),
            modified=datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds"),
            tags=[shown(tag) for tag in record.tags],
            num_moments=self.num_moments(record.video),
            media_type=media_type(record.video),
            is_playable=is_playable(record.video, record.signature),
            file_url=f"/api/videos/{name}/file",
            thumbnail_url=f"/api/videos/{name}/thumbnail",
        )

    def describe_all(self, records: Sequence[VideoRecord]) -> list[Video]:
        """`describe` of several."""
        return [self.describe(record) for record in records]


class Shelf:
    """Keeps the newest state of a library open."""

    def __init__(self, index: Index, clover: Clover, *, uploads: Path | None, watch_seconds: float) -> None:
        """Take an opened library; nothing is watched before `start`."""
        self.place, self._clover, self._uploads = index.place, clover, uploads
        self._watch_seconds = watch_seconds if not is_remote(index.place) else max(10.0, watch_seconds)
        self._stopped = threading.Event()
        self._opening = threading.Lock()
        self._complaint = ""
        self._thread = threading.Thread(target=self._watch, name="library", daemon=True)
        self.opened = self._prepared(index)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(10)

    @property
    def name(self) -> str:
        """The last part of the library's place."""
        return shown(self.place.rstrip("/").rpartition("/")[2])

    def refresh(self) -> None:
        """Open the library anew if it was changed; where that fails, the last state goes on answering."""
        with self._opening:
            try:
                if self.opened.index.is_current():
                    return
                self.opened = self._prepared(open_library(self.place, self._clover))
                self._complaint = ""
            except Exception as error:  # whatever is wrong with the new state, its watcher must live to see the next
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    _log.warning("the library was changed and cannot be opened; the last state is used: %s", error)

    def _prepared(self, index: Index) -> Opened:
        """What the first request would wait for."""
        if len(index):
            calibration_of(index, self._clover)
        opened = Opened(index, self._uploads)
        _ = opened.folders
        return opened

    def _watch(self) -> None:
        while not self._stopped.wait(self._watch_seconds):
            self.refresh()
