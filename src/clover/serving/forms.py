"""The file of a form, written to disk while it comes: multipart/form-data (RFC 7578)."""

from __future__ import annotations

from io import BufferedWriter

from anyio.to_thread import run_sync
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from clover.serving.problems import ServingError

_WAITING_BYTES = 2**20
_FIELD = b"file"
_MOST_PARTS = 20
_HEADER_BYTES = 4_096


class FileForm:
    """Takes the parts of a form one after another, and writes the one called ``file``."""

    def __init__(self, content_type: str, file: BufferedWriter, max_bytes: int) -> None:
        """Expect a form.

        Args:
            content_type: Header of the request, which says what is between the parts.
            file: Where the file's content goes.
            max_bytes: Largest content.

        Raises:
            ServingError: the header is none of a form (415).
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise ServingError(415, "the body must be sent as multipart/form-data, with a boundary")
        self._file, self._max_bytes = file, max_bytes
        self._header, self._value, self._disposition = b"", b"", b""
        self._is_file, self._is_whole, self._num_parts = False, False, 0
        self._waiting = bytearray()
        self.num_bytes = 0
        self.name: str | None = None
        """What the file was called by who sent it; None before it has come."""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._take_header,
                    "on_header_value": self._take_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._take,
                    "on_end": self._end,
                },
            )
        except MultipartParseError:
            raise _malformed() from None

    async def read(self, request: Request) -> None:
        """Take all of a request.

        Raises:
            ServingError: it is no form (400), has no file or several (422), or the file is too large (413).
        """
        async for part in request.stream():
            try:
                self._parser.write(part)
            except MultipartParseError:
                raise _malformed() from None
            if len(self._waiting) >= _WAITING_BYTES:
                await self._flush()
        if not self._is_whole:
            raise _malformed()
        await self._flush()
        if self.name is None:
            raise ServingError(422, "the form has no file; send it as the field file")

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, bytearray()
        await run_sync(self._file.write, waiting)

    def _begin(self) -> None:
        self._header, self._value, self._disposition, self._is_file = b"", b"", b"", False
        self._num_parts += 1
        if self._num_parts > _MOST_PARTS:  # each takes time of the thread that serves all
            raise ServingError(422, f"the form has more than {_MOST_PARTS} parts; send one file")

    def _end(self) -> None:
        self._is_whole = True

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._header) + len(self._value) > _HEADER_BYTES:
            raise _malformed()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._is_file = options.get(b"name") == _FIELD and b"filename" in options
        if self._is_file:
            if self.name is not None:
                raise ServingError(422, "the form has several files; send them one by one")
            self.name = options[b"filename"].decode("utf-8", "replace")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.num_bytes += end - start
            if self.num_bytes > self._max_bytes:
                raise ServingError(413, f"the file is too large; at most {self._max_bytes} bytes are taken")
            self._waiting += data[start:end]


def _malformed() -> ServingError:
    return ServingError(400, "the form cannot be read: it is cut off, or its parts are not as they should be")
