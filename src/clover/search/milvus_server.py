"""A Milvus server: addresses, errors as one line, filters as its expressions, and one row of state for each library."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from clover.errors import LibraryError
from clover.search.interface import Filter

STATES = "clover_libraries"
"""The collection with a row for every library of a server."""
VIDEO_FIELDS = ["video", "signature", "modified", "video_seconds", "tags"]
MOMENT_FIELDS = ["id", "start_seconds", "end_seconds", *VIDEO_FIELDS]
_ADDRESS = re.compile(r"milvus://(?P<server>[^/\s]+:\d{1,5})/(?P<name>[A-Za-z_][A-Za-z0-9_]{0,99})")
_LONGEST_STATE = 65_535
_CONNECT_SECONDS = 5.0
_CALL_SECONDS = 300.0
_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a library is on a server."""

    server: str
    """Host and port."""
    name: str
    """Of the library."""

    @classmethod
    def parse(cls, place: str) -> Address:
        """Take ``milvus://host:port/name`` apart.

        Raises:
            LibraryError: it does not look like that.
        """
        match = _ADDRESS.fullmatch(place)
        if match is None:
            raise LibraryError(
                f"{place} is no address of a library; write milvus://HOST:PORT/NAME, NAME of letters, digits and _"
            )
        return cls(server=match["server"], name=match["name"])


class Server:
    """A connection. The environment's CLOVER_MILVUS_TOKEN (USER:PASSWORD or a token) is sent where it is set."""

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            LibraryError: pymilvus is missing, or the server cannot be reached.
        """
        try:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException
        except ImportError as error:
            raise LibraryError("a library on a server needs pymilvus; pip install 'clover-vl[milvus]'") from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs tracebacks of what is raised anyway
        self.address, self._failure = address, MilvusException
        token = os.environ.get("CLOVER_MILVUS_TOKEN", "")
        try:
            self.client = MilvusClient(f"http://{address.server}", token=token, timeout=_CONNECT_SECONDS)
        except MilvusException as error:
            raise LibraryError(
                f"no Milvus server answers at {address.server}; start it, or check host, port and CLOVER_MILVUS_TOKEN"
            ) from error

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client.

        Raises:
            LibraryError: the server refuses, or no longer answers.
        """
        try:
            return getattr(self.client, method)(*arguments, timeout=_CALL_SECONDS, **options)
        except self._failure as error:
            raise self._refused(error) from error

    def rows(self, collection: str, where: str, fields: list[str], level: str) -> Iterator[dict[str, Any]]:
        """All rows that an expression admits, in no order."""
        try:
            pages = self.client.query_iterator(
                collection, batch_size=_BATCH, filter=where, output_fields=fields, consistency_level=level
            )
            while page := pages.next():
                yield from page
            pages.close()
        except self._failure as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> LibraryError:
        message = " ".join(getattr(error, "message", str(error)).split())
        return LibraryError(f"the Milvus server at {self.address.server} failed: {message}; look at its log")

    def make_collection(self, name: str, fields: list[tuple[str, str, dict[str, Any]]]) -> None:
        """Make a collection that is searched exactly, and load it; one that is there stays as it is."""
        from pymilvus import DataType

        if not self.call("has_collection", name):
            schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
            for field, kind, options in fields:
                plain = {key: DataType[value] if key == "element_type" else value for key, value in options.items()}
                schema.add_field(field, DataType[kind], **plain)
            self.call("create_collection", name, schema=schema, consistency_level="Bounded")
            self.set_index(name, "FLAT", {})
        self.call("load_collection", name)

    def set_index(self, collection: str, kind: str, parameters: dict[str, int]) -> None:
        """Search the vectors of a collection in another way; meanwhile it cannot be searched."""
        if self.call("list_indexes", collection):
            self.call("release_collection", collection)
            self.call("drop_index", collection, "vector")
        settings = self.client.prepare_index_params()
        settings.add_index("vector", index_type=kind, metric_type="IP", params=parameters)
        self.call("create_index", collection, settings)
        self.call("load_collection", collection)

    # the row of a library

    def read_state(self, name: str) -> dict[str, Any] | None:
        """What the server knows of a library; None where it knows none of that name.

        Raises:
            LibraryError: what it knows is broken.
        """
        if not self.call("has_collection", STATES):
            return None
        self.call("load_collection", STATES)
        found = self.call(
            "query", STATES, filter=f"name == {quoted(name)}", output_fields=["state"], consistency_level="Strong"
        )
        if not found:
            return None
        try:
            state = json.loads(found[0]["state"])
        except ValueError as error:
            raise LibraryError(f"the state of {name} at {self.address.server} is broken; index again") from error
        return dict(state)

    def write_state(self, name: str, state: dict[str, Any]) -> None:
        """Make this the state of a library: one row, so it is there or it is not.

        Raises:
            LibraryError: it is too long, or the server refuses it.
        """
        text = json.dumps(state)
        if len(text.encode()) > _LONGEST_STATE:
            raise LibraryError(
                f"what is to be kept of {name} has {len(text)} characters, more than a server's row takes"
            )
        fields: list[tuple[str, str, dict[str, Any]]] = [
            ("name", "VARCHAR", {"is_primary": True, "max_length": 200}),
            ("vector", "FLOAT_VECTOR", {"dim": 2}),
            ("state", "VARCHAR", {"max_length": _LONGEST_STATE}),
        ]
        self.make_collection(STATES, fields)
        self.call("upsert", STATES, [{"name": name, "vector": [1.0, 0.0], "state": text}])

    def forget_state(self, name: str) -> None:
        """Take the row of a library away."""
        self.call("delete", STATES, filter=f"name == {quoted(name)}")


def quoted(text: str) -> str:
    """A string of an expression."""
    return json.dumps(text, ensure_ascii=False)


def in_any(videos: Collection[str]) -> str:
    """The expression that admits moments of some videos."""
    return f"video in [{', '.join(map(quoted, videos))}]"


def expression(where: Filter | None) -> list[str]:
    """The conditions of a filter, all of which must hold."""
    if where is None:
        return []
    found = [f"video == {quoted(where.video)}"] if where.video else []
    if where.prefix:  # every string that begins so, and no other: the next character after the slash ends them
        found += [f"video >= {quoted(where.prefix)}", f"video < {quoted(where.prefix[:-1] + '0')}"]
    bounds = (
        ("modified >=", where.since),
        ("modified <=", where.until),
        ("video_seconds >=", where.min_seconds),
        ("video_seconds <=", where.max_seconds),
    )
    found += [f"{name} {value!r}" for name, value in bounds if value is not None]
    found += [f"array_contains(tags, {quoted(tag)})" for tag in where.tags]
    return found
