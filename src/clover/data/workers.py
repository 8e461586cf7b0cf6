"""Processes that make batches; what a worker was reading when it died is known.

PyTorch's DataLoader tells of a dead worker by an exception wherever the main thread happens to be, and not of which
sample. Here every worker has a pipe of its own, and a page of shared memory on which it notes what it is at.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize, get_temp_dir
from typing import Any, Generic, TypeVar

import torch
import torch.multiprocessing  # lets pipes carry tensors in shared memory

from clover.data.processes import num_usable_cores, obey_parent
from clover.errors import CloverError, ConfigError, TrainingError

TaskT = TypeVar("TaskT")
BatchT = TypeVar("BatchT")

_NOTE_SIZE = 4096
_SECONDS_TO_DIE = 5.0

_REMEDIES: dict[int, str] = {
    signal.SIGKILL: "if the system ran out of memory, use fewer --num-workers",
    signal.SIGBUS: "if /dev/shm is too small for the batches, make it larger (docker run --shm-size)",
}
_REMEDY = "if its file breaks the decoder, leave it out"


_page: mmap.mmap | None = None
"""Where this process, if it is a worker, notes what it is at."""


def note_reading(name: str) -> None:
    """Note which sample this process begins to read, for the one that started it; empty when it is done reading."""
    if _page is not None:
        text = name.encode("utf-8", "backslashreplace")[: _NOTE_SIZE - 1]
        _page[: len(text) + 1] = text + b"\0"


def num_cores_of_process() -> int:
    """Cores that this process may run on, shared among the processes that torchrun started on the machine."""
    return max(1, num_usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@dataclass(frozen=True)
class _Failure:
    """An exception on its way to the parent."""

    error: CloverError | None
    trace: str


@dataclass(frozen=True)
class _Worker:
    """One process as its parent sees it."""

    process: BaseProcess
    connection: Connection[Any, Any]
    page: mmap.mmap


class Workers(Generic[TaskT, BatchT]):
    """Processes that turn tasks into batches, some ahead of their turn. Results come in the order of the tasks.

    They are forks: what the parent holds in memory is shared and not copied. Each uses one thread.
    """

    def __init__(self, make: Callable[[TaskT], BatchT], tasks: Iterator[TaskT], *, num_workers: int, num_ahead: int):
        """Start the processes.

        Args:
            make: Task to batch; called in a worker.
            tasks: What is to be made; taken when there is a worker for it.
            num_workers: Processes.
            num_ahead: Batches more than one a worker that are made before they are asked for.

        Raises:
            ConfigError: this system cannot fork.
        """
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError("this system cannot fork worker processes; use --num-workers 0")
        self._tasks = tasks
        self._num_given = self._num_taken = 0
        self._num_at_once = num_workers + num_ahead
        self._workers: list[_Worker] = []
        get_temp_dir()  # the parent's, which it removes: each worker would make one and, killed, leave it behind
        with _about_to_fork():
            for _ in range(num_workers):
                self._workers.append(_start(make, [worker.connection for worker in self._workers]))
        processes = [worker.process for worker in self._workers]
        # also when the interpreter ends, or it would wait for them: they do not heed SIGTERM
        self._end = Finalize(self, _kill, args=(processes,), exitpriority=0)

    def __iter__(self) -> Iterator[BatchT]:
        """Batches in the order of the tasks.

        Raises:
            TrainingError: a worker died; the sample it was reading is named.
            CloverError: whatever was raised in a worker.
        """
        while True:
            while self._num_given - self._num_taken < self._num_at_once:
                try:
                    task = next(self._tasks)
                except StopIteration:
                    break
                self._tell(self._num_given % len(self._workers), task)
                self._num_given += 1
            if self._num_taken == self._num_given:
                return
            made = self._hear(self._num_taken % len(self._workers))
            self._num_taken += 1
            if isinstance(made, _Failure):
                raise made.error or RuntimeError(f"in a worker process:\n{made.trace}")
            yield made

    def close(self) -> None:
        """End the processes; what they are making is thrown away. Another thread may be waiting for it."""
        self._end()

    def _tell(self, place: int, task: TaskT) -> None:
        try:
            self._workers[place].connection.send(task)
        except OSError as error:
            raise self._crash(place) from error

    def _hear(self, place: int) -> Any:
        worker = self._workers[place]
        if worker.connection in wait([worker.connection, worker.process.sentinel]):
            try:
                return worker.connection.recv()
            except (EOFError, OSError) as error:
                worker.process.join(_SECONDS_TO_DIE)
                if worker.process.is_alive():  # the trouble is another, such as too many open files
                    raise
                raise self._crash(place) from error
        raise self._crash(place)

    def _crash(self, place: int) -> TrainingError:
        worker = self._workers[place]
        worker.process.join(_SECONDS_TO_DIE)
        code = worker.process.exitcode or 0
        how = f"was killed ({signal.strsignal(-code)})" if code < 0 else f"ended with status {code}"
        name = _read(worker.page)
        doing = f"reading {name}" if name else "making a batch"
        return TrainingError(f"a worker process {how} while {doing}; {_REMEDIES.get(-code, _REMEDY)}")


def _kill(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _start(make: Callable[[Any], Any], others: Sequence[Connection[Any, Any]]) -> _Worker:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    page = mmap.mmap(-1, _NOTE_SIZE)
    process = context.Process(target=_work, args=(make, theirs, page, [*others, ours]), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, page)


@contextmanager
def _about_to_fork() -> Iterator[None]:
    """Fork although there are threads: they hold no lock that a worker takes.

    Python warns of it from 3.12 on. The tokenizer's own threads do not exist in a fork, and it must be told not to use
    them.
    """
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _work(
    make: Callable[[Any], Any],
    connection: Connection[Any, Any],
    page: mmap.mmap,
    inherited: Sequence[Connection[Any, Any]],
) -> None:
    """What a worker does until its parent hangs up."""
    global _page
    for each in inherited:  # or the end of the parent would not be noticed
        each.close()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole group, it is for the parent to answer
    obey_parent()
    torch.set_num_threads(1)
    _page = page
    with suppress(EOFError, OSError):
        while True:
            connection.send(_attempt(make, connection.recv()))


def _attempt(make: Callable[[Any], Any], task: Any) -> Any:
    note_reading("")
    try:
        return make(task)
    except CloverError as error:
        return _Failure(error, "")
    except Exception:
        return _Failure(None, traceback.format_exc())


def _read(page: mmap.mmap) -> str:
    return page[:].split(b"\0", 1)[0].decode("utf-8", "replace")
