"""What a server allows, and how much of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from clover.errors import ConfigError

SHORTEST_TOKEN = 16
"""Characters; what is shorter can be guessed."""


def is_local(name: str) -> bool:
    """Whether a name or address is that of the machine itself."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Limits of a server, and who may use it."""

    host: str = "127.0.0.1"
    """Address that is listened on."""
    token: str = field(default="", repr=False)
    """What a client must know; nothing is asked where it is empty."""
    public_url: str = ""
    """Address under which a reverse proxy shows the server, such as https://films.example.org."""
    uploads: Path | None = None
    """Folder for uploaded files; None refuses them."""
    max_upload_bytes: int = 512 * 2**20
    """Largest file that may be uploaded."""
    max_uploads_bytes: int = 20 * 2**30
    """Most that all uploaded files may take together."""
    max_body_bytes: int = 256 * 2**10
    """Largest body of any other request."""
    max_query_characters: int = 10_000
    """Longest query or question."""
    max_waiting: int = 64
    """Most searches and questions that wait for the model; further ones are refused."""
    max_waiting_media: int = 128
    """Most thumbnails and clips that wait to be made."""
    max_requests: int = 512
    """Most requests at a time."""
    wait_seconds: float = 60.0
    """Longest that a request waits for its result."""
    receive_seconds: float = 30.0
    """Longest that a body, or the next part of an upload, may take to come."""
    rerank_seconds: float = 10.0
    """Longest that one search is re-ranked."""
    ask_seconds: float = 20.0
    """Longest that moments are looked at for one question; it is answered from those seen by then."""
    clip_seconds: float = 120.0
    """Longest clip that is cut."""
    clip_bytes: int = 2**30
    """Most that cut clips take on disk before the oldest go."""
    thumbnail_bytes: int = 32 * 2**20
    """Most memory for thumbnails before the oldest go."""
    token_bytes: int = 128 * 2**20
    """Most memory for encoded videos, which re-ranking and questions use again."""
    watch_seconds: float = 2.0
    """How often the library is looked at for changes by other commands."""

    def __post_init__(self) -> None:
        if self.token and len(self.token) < SHORTEST_TOKEN:
            raise ConfigError(
                f"the token has {len(self.token)} characters and can be guessed; use {SHORTEST_TOKEN} or more"
            )
        if not (self.token.isascii() and self.token.isprintable()):
            raise ConfigError("the token must be of letters, digits and signs that headers carry (printable ASCII)")
        if not self.token and (self.public_url or not self.is_loopback):
            where = self.public_url or self.host
            raise ConfigError(
                f"{where} can be reached from other machines; set a token with --token-file or CLOVER_TOKEN"
            )
        for name in (
            "max_waiting",
            "max_upload_bytes",
            "max_uploads_bytes",
            "max_body_bytes",
            "max_query_characters",
            "max_requests",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; use 1 or more")
        url = urlsplit(self.public_url)
        if self.public_url and (url.scheme not in ("http", "https") or not url.netloc or url.path not in ("", "/")):
            raise ConfigError(f"the public address {self.public_url!r} is none; write it as https://films.example.org")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_local(self.host)

    @property
    def public_origin(self) -> str:
        """Scheme, name and port of the public address, lower case; empty where there is none."""
        url = urlsplit(self.public_url)
        return f"{url.scheme}://{url.netloc}".lower() if url.netloc else ""
