"""The door: who comes in, from which page, with how much; what every response must say to browsers."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clover.serving.metrics import Metrics
from clover.serving.problems import ServingError, answer, busy
from clover.serving.sessions import COOKIE, Sessions
from clover.serving.settings import ServingConfig, is_local

UPLOADS = "/api/uploads"
_FORM_BYTES = 64 * 2**10
"""What a form may hold beside its file."""
_OPEN_PATHS = frozenset({"/", "/api/health", "/api/session"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SLOWEST_UPLOAD = 50_000
"""Bytes a second below which an upload is given up."""
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Stands before an application."""

    def __init__(self, app: ASGIApp, *, config: ServingConfig, sessions: Sessions, metrics: Metrics) -> None:
        self._app, self._config, self._sessions, self._metrics = app, config, sessions, metrics
        self._num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.monotonic(), 500
        self._num_requests += 1
        self._metrics.at_once.set(self._num_requests)

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._check(scope)
        except ServingError as error:
            await answer(error)(scope, receive, guarded)
        else:
            await self._app(scope, self._timed(scope, receive), guarded)
        finally:
            self._num_requests -= 1
            self._metrics.at_once.set(self._num_requests)
            route = _route(scope)
            self._metrics.requests.labels(_method(scope), route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - begin)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_place(scope, headers)
        if self._num_requests > self._config.max_requests:
            raise busy(1)
        path = scope["path"]
        if not (path in _OPEN_PATHS or path.startswith("/static/")) and not self._sessions.admits(
            headers.get("authorization", ""), cookie_of(headers), client_of(scope, headers, self._config)
        ):
            raise ServingError(401, "this needs the token of the server", {"WWW-Authenticate": "Bearer"})
        self._check_body(scope, headers)

    def _check_place(self, scope: Scope, headers: Headers) -> None:
        """Refuse pages of other places: names that lead here by a trick, and requests made by foreign pages."""
        host = headers.get("host", "").lower()
        public = self._config.public_origin
        is_public = bool(public) and host == urlsplit(public).netloc
        if self._config.is_loopback and not is_public and not is_local(_name(host)):
            raise ServingError(403, "this server answers only to the name of its own machine")
        if scope["path"].startswith(("/api", "/metrics")) and headers.get("sec-fetch-site") == "cross-site":
            raise ServingError(403, "pages of other places may not use this server")
        origin = headers.get("origin", "").lower()
        is_own = origin in (f"http://{host}", f"https://{host}") or (bool(public) and origin == public)
        if scope["method"] not in _READING and origin and not is_own:
            raise ServingError(403, "pages of other places may not change anything here")

    def _check_body(self, scope: Scope, headers: Headers) -> None:
        if "transfer-encoding" in headers:  # beside a length it overrules that, which would then be a lie
            raise ServingError(411, "send the body in one piece and say how long it is, with Content-Length alone")
        if "content-length" not in headers:
            return
        length = headers["content-length"]
        is_upload = scope["path"].rstrip("/") == UPLOADS
        most = self._config.max_upload_bytes + _FORM_BYTES if is_upload else self._config.max_body_bytes
        if not (length.isascii() and length.isdigit()) or len(length) > 18:
            raise ServingError(400, "the length of the body is no number")
        if int(length) > most:
            raise ServingError(413, f"the body has {length} bytes; at most {most} are taken")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "multipart/form-data" if is_upload else "application/json"
        if int(length) and scope["method"] not in _READING and kind != wanted:
            raise ServingError(415, f"the body must be sent as {wanted}")

    def _timed(self, scope: Scope, receive: Receive) -> Receive:
        """Give up clients that do not send what they promised."""
        headers = Headers(scope=scope)
        length = int(headers.get("content-length", "0"))
        seconds = self._config.receive_seconds
        deadline = time.monotonic() + seconds + length / _SLOWEST_UPLOAD
        is_complete = False

        async def timed() -> Message:
            nonlocal is_complete
            if is_complete:
                return await receive()
            try:
                message: Any = await asyncio.wait_for(receive(), min(seconds, deadline - time.monotonic()))
            except TimeoutError:
                raise ServingError(400, "the body did not come in time") from None
            is_complete = not message.get("more_body", False)
            return message

        return timed


def cookie_of(headers: Headers) -> str:
    """The session that a request names, or nothing."""
    # not http.cookies: it gives up all of them for one, of another program on this machine, that is written oddly
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def client_of(scope: Scope, headers: Headers, config: ServingConfig) -> str:
    """The address of a client; behind a reverse proxy on this machine, the one that the proxy names."""
    address: str = (scope.get("client") or ("",))[0]
    if config.public_url and is_local(address):
        return headers.get("x-forwarded-for", "").rpartition(",")[2].strip()[:64] or address
    return address


def _name(host: str) -> str:
    """A Host header without its port; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _method(scope: Scope) -> str:
    """The method, if it is a known one: clients must not be able to fill the memory with counters."""
    return scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"


def _route(scope: Scope) -> str:
    """The pattern that an address fits; the addresses themselves are too many to be counted."""
    path = getattr(scope.get("route"), "path", None)
    if path is not None:
        return str(path)
    return "/static" if scope["path"].startswith("/static/") else "other"
