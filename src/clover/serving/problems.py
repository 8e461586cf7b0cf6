"""What a client is told when something cannot be done: one sentence, and nothing about the server's files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from clover.errors import ConfigError, LibraryError, MediaError, TextError
from clover.files import WriteError

_log = logging.getLogger(__name__)
_LONGEST = 300
_PHRASES = {
    400: "the request cannot be understood",
    404: "there is nothing here",
    405: "this address does not do that",
    415: "the body must be JSON, and say so as application/json",
}


class ServingError(HTTPException):
    """A request that is refused."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, sentence, dict(headers or {}))


def busy(seconds: float, sentence: str = "the server is busy; try again later") -> ServingError:
    """A request that may be made again after some seconds."""
    return ServingError(503, sentence, {"Retry-After": str(max(1, min(60, round(seconds))))})


def answer(error: HTTPException) -> JSONResponse:
    """The error as a response."""
    sentence = error.detail if isinstance(error, ServingError) else _PHRASES.get(error.status_code, "this went wrong")
    return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)


def printable(text: str, longest: int = _LONGEST) -> str:
    """Text that every client can read: no lone surrogates, not long."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def add_handlers(app: FastAPI) -> None:
    """Answer every error of an application in one form."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(ClientDisconnect, _cut_off)
    for kind in (TextError, ConfigError, MediaError, LibraryError, WriteError):
        app.add_exception_handler(kind, _failed)
    app.add_exception_handler(Exception, _broken)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return answer(error)


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = dict(error.errors()[0])
    where = [str(part) for part in first.get("loc", ())[1:]]  # without "body" or "query"
    said = str(first.get("msg", "is wrong"))
    if first.get("type") == "json_invalid":
        return JSONResponse({"error": "the body is not JSON"}, 422)
    if first.get("type") == "value_error":  # ours: without pydantic's words before it
        said = str(first["ctx"]["error"])
    if first.get("type") == "missing" and not where:
        said = "the body is missing; send a JSON object"
    name = printable(".".join(where), 80)
    return JSONResponse({"error": printable(f"{name}: {said}" if name else said)}, 422)


async def _cut_off(_: Request, __: Exception) -> JSONResponse:
    """Nobody reads this; but a client that goes away is no mistake of the server, in its log and figures."""
    return answer(ServingError(400, "the body was cut off"))


async def _failed(_: Request, error: Exception) -> JSONResponse:
    """Errors of the library and the model name files of this machine: they go to the log."""
    if isinstance(error, TextError):
        return answer(ServingError(422, "the text holds nothing that the model can read; use words"))
    if isinstance(error, MediaError):
        return answer(ServingError(404, "the file of this video is gone, was changed, or cannot be read"))
    _log.warning("%s", error)
    return answer(busy(10, "the library or its disk cannot be used at present; try again later"))


async def _broken(_: Request, error: Exception) -> JSONResponse:
    _log.error("%s: %s", type(error).__name__, error)
    return JSONResponse({"error": "the server made a mistake; its log says which"}, 500)
