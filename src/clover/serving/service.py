"""Everything that an application needs while it runs, and how it begins and ends."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request

from clover.pipeline import Clover
from clover.search.index import Index
from clover.serving.answering import Answerer, AskTask, SearchTask
from clover.serving.metrics import Metrics
from clover.serving.queueing import WorkQueue
from clover.serving.sessions import Sessions
from clover.serving.settings import ServingConfig
from clover.serving.shelf import Shelf

_TEXTS_TOGETHER = 32


class Service:
    """One library with its model, its threads and its limits."""

    def __init__(self, index: Index, clover: Clover, config: ServingConfig) -> None:
        self.config, self.clover = config, clover
        self.version = version("clover-vl")
        self.metrics = Metrics()
        self.sessions = Sessions(config.token)
        self.shelf = Shelf(index, clover, uploads=config.uploads, watch_seconds=config.watch_seconds)
        answerer = Answerer(clover, token_bytes=config.token_bytes, on_texts=self.metrics.texts.observe)
        self.model: WorkQueue[SearchTask | AskTask] = WorkQueue(
            answerer,
            name="model",
            max_waiting=config.max_waiting,
            batch_size=_TEXTS_TOGETHER,
            on_batch=lambda _, seconds: self.metrics.batch_seconds.labels("model").observe(seconds),
        )
        self._watch()

    def start(self) -> None:
        """Begin to work."""
        self.model.start()
        self.shelf.start()

    def stop(self) -> None:
        """End all threads; what waits is refused."""
        self.shelf.stop()
        self.model.stop()

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("clover_waiting_for_model", "Searches and questions that wait", lambda: len(self.model))
        watch("clover_library_moments", "Moments of the library", lambda: len(self.shelf.opened.index))
        watch("clover_library_videos", "Videos of the library", lambda: len(self.shelf.opened.records))


def service_of(request: Request) -> Service:
    """What the application of a request works with."""
    service: Service = request.app.state.service
    return service
