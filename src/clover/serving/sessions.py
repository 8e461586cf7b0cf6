"""Who may use the server: a token in the request, or the cookie of a session that was begun with it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque

from clover.serving.problems import ServingError

COOKIE = "clover_session"
SESSION_SECONDS = 12 * 3600
_MOST_SESSIONS = 1_000
_MOST_CLIENTS = 10_000
_MOST_FAILURES = 10
_FAILURE_SECONDS = 60.0


class Sessions:
    """Random names of sessions, in memory alone: a new start ends them. Thread-safe."""

    def __init__(self, token: str) -> None:
        self._token = hashlib.sha256(token.encode()).digest() if token else None
        self._ends: OrderedDict[str, float] = OrderedDict()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_needed(self) -> bool:
        """Whether a client must show anything."""
        return self._token is not None

    def knows(self, token: str, client: str) -> bool:
        """Whether this is the token; takes as long for every wrong one.

        Args:
            token: What the client showed.
            client: Its address: after many wrong tokens it must wait, or all could be tried.

        Raises:
            ServingError: too many were wrong (429).
        """
        if self._token is None:
            return True
        now = time.monotonic()
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        with self._lock:
            failures = self._failures.get(client, deque())
            if len(failures) == _MOST_FAILURES and now - failures[0] < _FAILURE_SECONDS:
                wait = {"Retry-After": str(round(_FAILURE_SECONDS))}
                raise ServingError(429, "too many wrong tokens; wait a minute", wait)
            if hmac.compare_digest(given, self._token):
                return True
            self._failures.setdefault(client, deque(maxlen=_MOST_FAILURES)).append(now)
            self._failures.move_to_end(client)
            while len(self._failures) > _MOST_CLIENTS:
                self._failures.popitem(last=False)
        return False

    def begin(self, token: str, client: str) -> str:
        """Begin a session; gives its name.

        Args:
            token: What the client showed.
            client: Its address.

        Raises:
            ServingError: the token is wrong (401), or too many were (429).
        """
        if not self.knows(token, client):
            raise ServingError(401, "this is not the token", {"WWW-Authenticate": "Bearer"})
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._ends[name] = time.monotonic() + SESSION_SECONDS
            while len(self._ends) > _MOST_SESSIONS:
                self._ends.popitem(last=False)
        return name

    def end(self, name: str) -> None:
        """End a session."""
        with self._lock:
            self._ends.pop(name, None)

    def is_open(self, name: str) -> bool:
        """Whether a session of this name was begun, and not so long ago."""
        with self._lock:
            return self._ends.get(name, 0.0) > time.monotonic()

    def admits(self, authorization: str, cookie: str, client: str) -> bool:
        """Whether a request of a client with these headers may go on.

        Raises:
            ServingError: too many of its tokens were wrong (429).
        """
        if not self.is_needed or (cookie and self.is_open(cookie)):
            return True
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.knows(token.strip(), client)
