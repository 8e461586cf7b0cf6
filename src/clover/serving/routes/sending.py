"""Uploads."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool

from clover.serving.guard import UPLOADS
from clover.serving.problems import ServingError
from clover.serving.records import ErrorReply, UploadReply
from clover.serving.routes.about import REFUSALS
from clover.serving.service import Service, service_of
from clover.serving.uploads import Upload, Uploads

router = APIRouter(prefix=UPLOADS, responses={404: {"model": ErrorReply}, **REFUSALS})
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.post("", status_code=202, openapi_extra=_FORM, responses={507: {"model": ErrorReply}})
async def send(request: Request) -> UploadReply:
    """Take a video or image in; it is indexed afterwards."""
    service = service_of(request)
    upload = await _uploads(service).receive(request)
    return await run_in_threadpool(_reply, service, upload)


@router.get("/{upload}")
async def progress(
    request: Request, upload: Annotated[str, Path(min_length=16, max_length=16, pattern="^[0-9a-f]+$")]
) -> UploadReply:
    """How far an uploaded file has come."""
    service = service_of(request)
    return await run_in_threadpool(_reply, service, _uploads(service).upload(upload))


def _uploads(service: Service) -> Uploads:
    if service.uploads is None:
        raise ServingError(403, "this server takes no files")
    return service.uploads


def _reply(service: Service, upload: Upload) -> UploadReply:
    opened = service.shelf.opened
    record = opened.records.get(upload.video)
    return UploadReply(
        id=upload.id,
        name=upload.name,
        state=upload.state,
        progress=upload.progress,
        video=None if record is None else opened.describe(record),
        error=upload.error,
    )
