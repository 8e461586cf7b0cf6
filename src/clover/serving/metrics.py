"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.requests = Counter(
            "clover_requests", "Answered requests", ("method", "route", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "clover_request_seconds",
            "Time until a request was answered completely",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.at_once = Gauge("clover_requests_at_once", "Requests being answered", registry=self._registry)
        self.batch_seconds = Histogram(
            "clover_batch_seconds", "Time of a batch of work", ("queue",), buckets=_SECONDS, registry=self._registry
        )
        self.texts = Histogram(
            "clover_texts_embedded_together", "Texts in one pass", buckets=_TEXTS, registry=self._registry
        )
        self.uploads = Counter("clover_uploads", "Uploaded files, by state", ("state",), registry=self._registry)

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Show a value that is asked for whenever somebody looks."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All of them in the format of Prometheus."""
        return generate_latest(self._registry)
