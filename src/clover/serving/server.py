"""Runs an application until it is told to stop, and lets go of clients that keep it waiting."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from clover.errors import ConfigError

_HEADER_SECONDS = 10.0
_WRITE_SECONDS = 60.0
_GRACE_SECONDS = 5
_MOST_CONNECTIONS = 2_000


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that waits only so long for the head of a request, and for a client that does not read."""

    _head: asyncio.TimerHandle | None = None
    _write: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Wait on while the head of a request is incomplete."""
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        _cancel(self._head)
        _cancel(self._write)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read what it was sent."""
        super().pause_writing()
        self._write = self._write or self.loop.call_later(_WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        _cancel(self._write)
        self._write = None
        super().resume_writing()

    def _await_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            _cancel(self._head)
            self._head = None
        elif self._head is None:
            self._head = self.loop.call_later(_HEADER_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def bind(host: str, port: int) -> socket.socket:
    """Take a port; 0 takes a free one.

    Raises:
        ConfigError: it is taken, not allowed, or there is no such address.
    """
    if not 0 <= port < 2**16:
        raise ConfigError(f"port {port} is none; choose one up to {2**16 - 1} with --port, or 0 for a free one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # with the protocol named, connections send small answers at once (TCP_NODELAY): 40 ms less for each
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(256)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        reason = error.strerror or error
        what = f"port {port} of {host} is taken" if is_taken else f"cannot listen on port {port} of {host}: {reason}"
        raise ConfigError(f"{what}; choose another with --port, or 0 for a free one") from None
    return listening


def address_of(listening: socket.socket) -> str:
    """Where a browser finds what listens here."""
    host, port = listening.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"


def run(app: ASGIApp, listening: socket.socket, *, on_start: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT or SIGTERM; requests that are being answered get a few seconds.

    Args:
        app: The application.
        listening: As `bind` gives it; closed at the end.
        on_start: Called when requests are answered.
    """
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every broken form
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )

    def announce() -> None:
        while not server.started and not server.should_exit:
            time.sleep(0.01)
        if server.started:
            on_start()

    # the server raises the signals it was stopped by once more when it has ended: that is the end we want, not another
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    threading.Thread(target=announce, daemon=True).start()
    try:
        with listening:
            server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
