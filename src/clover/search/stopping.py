"""Being asked to stop (Ctrl-C, a cluster that takes its machine back) only where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class StopsBetween:
    """While this context lasts, SIGINT and SIGTERM raise KeyboardInterrupt, but within `held` not before its end.

    Outside the main thread, signals are left alone.
    """

    def __init__(self) -> None:
        self._before: dict[int, object] = {}
        self._depth = 0
        self._is_asked = False

    def __enter__(self) -> StopsBetween:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the block come to its end first."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._is_asked and not self._depth:
            self._is_asked = False
            raise KeyboardInterrupt

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self._depth:
            self._is_asked = True
        else:
            raise KeyboardInterrupt
