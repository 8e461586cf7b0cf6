"""Being asked to stop: a cluster that takes its machine back (SIGTERM), or Ctrl-C."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from clover.errors import CloverError


class InterruptedRunError(CloverError):
    """A run that stopped because it was asked to; its state is saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + number


class StopRequest:
    """While this context lasts, a signal to stop is only noted, so that the step at work can end.

    A second Ctrl-C ends the process at once; SIGTERM may come several times over, from a cluster and from torchrun.
    Outside the main thread, signals are left alone.
    """

    def __init__(self) -> None:
        self.number = 0
        """The signal, or 0."""
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()

    def _forget(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.number:
            self._forget()
            signal.raise_signal(signal.SIGINT)
        self.number = self.number or number
