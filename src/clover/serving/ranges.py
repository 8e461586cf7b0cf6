"""Files and parts of them over HTTP (RFC 9110): ranges, conditions, HEAD."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from email.utils import formatdate
from io import BufferedReader
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

_PART_BYTES = 256 * 2**10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


class _FileResponse(StreamingResponse):
    """Closes its file, however it ends."""

    def __init__(self, file: BufferedReader, start: int, length: int, status: int, headers: dict[str, str]) -> None:
        super().__init__(_parts(file, start, length), status, headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def file_response(request: Request, file: BufferedReader, *, media_type: str, etag: str, name: str) -> Response:
    """Answer with a file, the part of it that was asked for, or nothing where the client has it already.

    Args:
        request: What was asked.
        file: Closed when it was sent.
        media_type: What it holds.
        etag: A name of its content, without quotes.
        name: What it is called when it is kept.
    """
    state = os.fstat(file.fileno())
    modified = formatdate(state.st_mtime, usegmt=True)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{etag}"',
        "Last-Modified": modified,
        "Cache-Control": "private, no-cache",
        "Content-Type": media_type,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
    }
    if is_known(request, etag):
        file.close()
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range", "") if request.method == "GET" else ""  # elsewhere it means nothing
    condition = request.headers.get("if-range")
    if condition is not None and condition not in (f'"{etag}"', modified):
        asked = ""
    span = wanted_span(asked, state.st_size)
    start, end = span or (0, state.st_size)
    if span is not None and start == end:
        file.close()
        sentence = {"error": f"the file has {state.st_size} bytes, and the range lies behind them"}
        return JSONResponse(sentence, 416, {"Content-Range": f"bytes */{state.st_size}"})
    headers["Content-Length"] = str(end - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{state.st_size}"
    if request.method == "HEAD":
        file.close()
        return Response(headers=headers)
    return _FileResponse(file, start, end - start, 200 if span is None else 206, headers)


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has this content already (If-None-Match)."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or f'"{etag}"' in [one.strip().removeprefix("W/") for one in known.split(",")]


def wanted_span(asked: str, size: int) -> tuple[int, int] | None:
    """First byte, and the one after the last, of a Range header; the same twice where the file has none of them.

    None for the whole file: that is what several ranges, other units and what is no range mean, as the standard allows.
    """
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        return size, size
    return int(first), min(size, int(last) + 1) if last else size


async def _parts(file: BufferedReader, start: int, length: int) -> AsyncIterator[bytes]:
    await run_sync(file.seek, start)
    while length > 0:
        part = await run_sync(file.read, min(_PART_BYTES, length))
        if not part:  # the file was shortened meanwhile: the client sees that bytes are missing
            return
        length -= len(part)
        yield part
