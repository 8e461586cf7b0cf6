"""The server itself: its health, its figures, its sessions, its library."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from clover.serving.guard import client_of, cookie_of
from clover.serving.records import Done, ErrorReply, Health, Library, SessionRequest
from clover.serving.service import service_of
from clover.serving.sessions import COOKIE, SESSION_SECONDS

router = APIRouter()
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (400, 401, 403, 405, 411, 413, 415, 422, 429, 503)
}
"""What any address may answer instead."""


@router.get("/api/health", responses=REFUSALS)
async def health(request: Request) -> Health:
    """Whether the server runs; needs no token."""
    return Health(status="ok", version=service_of(request).version)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **REFUSALS})
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.post("/api/session", responses=REFUSALS)
async def begin_session(request: Request, response: Response, body: SessionRequest) -> Done:
    """Begin a session of a browser: from then on its cookie stands for the token."""
    service = service_of(request)
    name = service.sessions.begin(body.token, client_of(request.scope, request.headers, service.config))
    response.set_cookie(
        COOKIE,
        name,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" or service.config.public_origin.startswith("https"),
    )
    return Done()


@router.delete("/api/session", responses=REFUSALS)
async def end_session(request: Request, response: Response) -> Done:
    """End the session of this browser, if it has one."""
    service_of(request).sessions.end(cookie_of(request.headers))
    response.delete_cookie(COOKIE)
    return Done()


@router.get("/api/library", responses=REFUSALS)
async def library(request: Request) -> Library:
    """What there is to search, and what may be done."""
    service = service_of(request)
    opened, config = service.shelf.opened, service.config
    return Library(
        name=service.shelf.name,
        num_videos=len(opened.records),
        num_moments=len(opened.index),
        model=opened.index.fingerprint,
        folders=list(opened.folders),
        tags=opened.tags,
        can_ask=True,
        ask_needs_choices=not service.clover.config.answers,
        needs_token=service.sessions.is_needed,
        accepts_uploads=config.uploads is not None,
        max_upload_bytes=config.max_upload_bytes,
        max_query_characters=config.max_query_characters,
    )
