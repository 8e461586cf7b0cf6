"""Calls of one function as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from clover.data.processes import num_usable_cores
from clover.errors import CloverError, ConfigError, first_line

ResultT = TypeVar("ResultT")


def run_on_ray(
    address: str,
    function: Callable[..., ResultT],
    calls: Sequence[tuple[Any, ...]],
    progress: Callable[[int, int], None] | None = None,
) -> list[ResultT]:
    """Run a function once for every tuple of arguments, each on a core of the cluster.

    A task whose machine dies is run again elsewhere. The first that fails ends the others.

    Args:
        address: Of the cluster, as `ray.init` takes it (``auto``, ``HOST:PORT``, ``ray://HOST:PORT``); ``local`` starts
            one on this machine and ends it afterwards.
        function: A function of a module that the cluster's machines have, too.
        calls: Its arguments.
        progress: Called with (calls done, calls).

    Returns:
        What the calls returned, in their order.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
        CloverError: what a call raised.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its coming default, which it warns of
    try:
        import ray
    except ImportError as error:
        raise ConfigError("ray is not installed: pip install 'clover-vl[ray]'") from error
    _check_answers(address)
    fresh: dict[str, Any] = {"num_cpus": num_usable_cores(), "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **fresh)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address!r} ({first_line(error)}); give its address, or local"
        ) from error
    try:
        task = ray.remote(num_cpus=1)(_returning_errors)
        places = {task.remote(function, *arguments): place for place, arguments in enumerate(calls)}
        results: dict[int, ResultT] = {}
        waiting = list(places)
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            try:
                result = ray.get(done)
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[-1]
                raise ConfigError(
                    f"a Ray task failed ({reason}); see that the cluster's machines have this version of clover"
                ) from error
            if isinstance(result, CloverError):
                raise result
            results[places[done]] = result
            if progress is not None:
                progress(len(results), len(calls))
        return [results[place] for place in range(len(calls))]
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Try an address of the form HOST:PORT first: Ray itself would try for two minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster answers at {address!r} ({error}); give its address, or local") from error


def _returning_errors(function: Callable[..., ResultT], *arguments: Any) -> ResultT | CloverError:
    """What a user can mend comes back as it is; Ray would wrap it in the task's traceback."""
    try:
        return function(*arguments)
    except CloverError as error:
        return error
