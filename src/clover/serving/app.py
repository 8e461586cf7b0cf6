"""The application: routes, guard, errors and page around one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from clover.pipeline import Clover
from clover.search.index import Index
from clover.serving.guard import Guard
from clover.serving.problems import add_handlers
from clover.serving.routes import about, finding, sending, videos
from clover.serving.service import Service
from clover.serving.settings import ServingConfig

PAGE = Path(__file__).parent / "page"
"""Folder of the files that make the page."""


def create_app(index: Index, clover: Clover, config: ServingConfig) -> FastAPI:
    """Make an application (ASGI) that serves a library.

    Its threads run from its start to its end, which servers announce by the lifespan protocol.

    Args:
        index: The library, opened with the model.
        clover: The model that made it.
        config: Limits, and who may use it.
    """
    service = Service(index, clover, config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await run_in_threadpool(service.stop)

    app = FastAPI(
        title="Clover",
        version=service.version,
        summary="Search and ask a library of videos",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    for routes in (about, finding, sending, videos):
        app.include_router(routes.router)
    add_handlers(app)
    _add_page(app)
    app.add_middleware(Guard, config=config, sessions=service.sessions, metrics=service.metrics)
    return app


def _add_page(app: FastAPI) -> None:
    files = StaticFiles(directory=PAGE, check_dir=False)
    app.mount("/static", files)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)
