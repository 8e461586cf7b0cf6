"""Everything that an application needs while it runs, and how it begins and ends."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from starlette.requests import Request

from clover.pipeline import Clover
from clover.search.index import Index
from clover.serving.answering import Answerer, AskTask, SearchTask
from clover.serving.media import Clips, ClipTask, Thumbnails, ThumbnailTask
from clover.serving.metrics import Metrics
from clover.serving.queueing import WorkQueue
from clover.serving.sessions import Sessions
from clover.serving.settings import ServingConfig
from clover.serving.shelf import Shelf
from clover.serving.uploads import Uploads

_TEXTS_TOGETHER = 32


class Service:
    """One library with its model, its threads and its limits."""

    def __init__(self, index: Index, clover: Clover, config: ServingConfig) -> None:
        self.config, self.clover = config, clover
        folder = None if config.uploads is None else config.uploads.resolve()
        self.version = version("clover-vl")
        self.metrics = Metrics()
        self.sessions = Sessions(config.token)
        self.shelf = Shelf(index, clover, uploads=folder, watch_seconds=config.watch_seconds)
        self.answerer = Answerer(clover, token_bytes=config.token_bytes, on_texts=self.metrics.texts.observe)
        self.model: WorkQueue[SearchTask | AskTask] = WorkQueue(
            self.answerer,
            name="model",
            max_waiting=config.max_waiting,
            batch_size=_TEXTS_TOGETHER,
            on_batch=self.metrics.batch_seconds.labels("model").observe,
        )
        self.thumbnails = Thumbnails(config.thumbnail_bytes)
        self.pictures: WorkQueue[ThumbnailTask] = WorkQueue(
            self.thumbnails,
            name="pictures",
            max_waiting=config.max_waiting_media,
            num_threads=2,
            on_batch=self.metrics.batch_seconds.labels("pictures").observe,
        )
        self._cutter = Clips(config.clip_bytes)
        self.clips: WorkQueue[ClipTask] = WorkQueue(
            self._cutter,
            name="clips",
            max_waiting=config.max_waiting,
            on_batch=self.metrics.batch_seconds.labels("clips").observe,
        )
        self.uploads = (
            None
            if folder is None
            else Uploads(
                folder,
                self.shelf,
                clover,
                max_bytes=config.max_upload_bytes,
                max_folder_bytes=config.max_uploads_bytes,
                on_end=lambda state: self.metrics.uploads.labels(state).inc(),
            )
        )
        self._watch()

    @property
    def _parts(self) -> tuple[WorkQueue[Any] | Shelf | Uploads, ...]:
        parts = (self.model, self.pictures, self.clips, self.shelf)
        return parts if self.uploads is None else (*parts, self.uploads)

    def start(self) -> None:
        """Begin to work."""
        for part in self._parts:
            part.start()

    def stop(self) -> None:
        """End all threads; what waits is refused."""
        for part in reversed(self._parts):
            part.stop()
        self._cutter.stop()

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("clover_waiting_for_model", "Searches and questions that wait", lambda: len(self.model))
        watch("clover_waiting_pictures", "Thumbnails that wait to be made", lambda: len(self.pictures))
        watch("clover_waiting_clips", "Clips that wait to be cut", lambda: len(self.clips))
        watch("clover_thumbnail_bytes", "Thumbnails that are kept", lambda: self.thumbnails.num_bytes)
        watch("clover_encoded_window_bytes", "Encoded windows that are kept", lambda: self.answerer.num_bytes)
        watch("clover_library_moments", "Moments of the library", lambda: len(self.shelf.opened.index))
        watch("clover_library_videos", "Videos of the library", lambda: len(self.shelf.opened.records))


def service_of(request: Request) -> Service:
    """What the application of a request works with."""
    service: Service = request.app.state.service
    return service
