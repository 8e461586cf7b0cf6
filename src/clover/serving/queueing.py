"""Work for a few threads: a bounded row of tasks, taken several at a time; what nobody waits for is not done."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from clover.serving.problems import ServingError, busy

TaskT = TypeVar("TaskT")
_MEMORY = 0.9
"""How much of the mean time of a batch stays when another one comes in."""


class WorkQueue(Generic[TaskT]):
    """Threads that work on tasks in their order."""

    def __init__(
        self,
        begin: Callable[[list[TaskT]], Sequence[Callable[[], Any]]],
        *,
        name: str,
        max_waiting: int,
        batch_size: int = 1,
        num_threads: int = 1,
        on_batch: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """Start nothing yet.

        Args:
            begin: Does what can be done for several tasks at once, and gives for each what gives its result. Each is
                told its result as soon as there is one; what nobody waits for by then is not done.
            name: For the threads.
            max_waiting: Most tasks that wait.
            batch_size: Most tasks at once.
            num_threads: How many batches at a time.
            on_batch: Told of each batch, how many seconds it took.
        """
        self._begin, self._max_waiting, self._batch_size = begin, max_waiting, batch_size
        self._on_batch = on_batch
        self._waiting: deque[tuple[TaskT, Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._mean_seconds = 0.1
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(num_threads)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """Refuse what waits, and wait for what is being done."""
        with self._changed:
            self._is_stopped = True
            left = list(self._waiting)
            self._changed.notify_all()
        for _, future in left:
            future.cancel()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(seconds)

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, task: TaskT) -> Future[Any]:
        """Put a task at the end of the row; cancelling the future takes it out.

        Raises:
            ServingError: too many are waiting (503).
        """
        future: Future[Any] = Future()
        with self._changed:
            if self._is_stopped or len(self._waiting) >= self._max_waiting:
                raise busy(self._mean_seconds * (len(self._waiting) / (self._batch_size * len(self._threads)) + 1))
            self._waiting.append((task, future))
            self._changed.notify()
        future.add_done_callback(self._forget)
        return future

    async def result(self, task: TaskT, request: Request, seconds: float) -> Any:
        """Wait for the result of a task, as long as the client does.

        Raises:
            ServingError: too many are waiting, or it took too long (503).
        """
        waiting = asyncio.wrap_future(self.submit(task))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({waiting, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done() and not waiting.cancelled():
                return waiting.result()
            raise busy(seconds / 4)
        finally:
            waiting.cancel()
            gone.cancel()

    def _forget(self, future: Future[Any]) -> None:
        if future.cancelled():
            with self._changed:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not future)

    def _take(self) -> list[tuple[TaskT, Future[Any]]]:
        """The next tasks that somebody waits for; none when all is over."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped or bool(self._waiting))
                if self._is_stopped:
                    return []
                taken = [self._waiting.popleft() for _ in range(min(self._batch_size, len(self._waiting)))]
            if wanted := [entry for entry in taken if not entry[1].cancelled()]:
                return wanted

    def _run(self) -> None:
        while taken := self._take():
            begin = time.monotonic()
            self._work(taken)
            del taken  # what was found must not be held until the next task comes
            seconds = time.monotonic() - begin
            self._mean_seconds = _MEMORY * self._mean_seconds + (1 - _MEMORY) * seconds
            self._on_batch(seconds)

    def _work(self, taken: list[tuple[TaskT, Future[Any]]]) -> None:
        try:
            steps = self._begin([task for task, _ in taken])
        except Exception as error:  # the thread must go on for the tasks of others
            steps = [partial(_fail, error)] * len(taken)
        for (_, future), step in zip(taken, steps, strict=True):
            if self._is_stopped:
                future.cancel()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(step())
            except Exception as error:
                future.set_exception(error)


def _fail(error: Exception) -> None:
    raise error


async def _gone(request: Request) -> None:
    """Wait until the client has closed the connection; its body was read before, or none should have come."""
    with suppress(ServingError):  # a body that does not come in time
        while (await request.receive())["type"] != "http.disconnect":
            pass
