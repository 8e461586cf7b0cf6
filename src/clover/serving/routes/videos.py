"""The videos: what there is, their files, pictures and clips."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from clover.search.export import clip_name
from clover.search.interface import VideoRecord
from clover.search.spans import Span
from clover.serving.media import WIDTHS, ClipTask, ThumbnailTask, content_name
from clover.serving.pinned import open_indexed
from clover.serving.playable import media_type
from clover.serving.problems import ServingError, busy
from clover.serving.ranges import file_response, is_known
from clover.serving.records import (
    ErrorReply,
    Filters,
    Interval,
    Seconds,
    VideoDetails,
    VideoPage,
    VideosQuery,
)
from clover.serving.routes.about import REFUSALS
from clover.serving.service import service_of
from clover.serving.shelf import Opened, shown

router = APIRouter(prefix="/api/videos", responses={404: {"model": ErrorReply}, **REFUSALS})
Id = Annotated[str, Path(min_length=20, max_length=20, pattern="^[0-9a-f]+$")]


@router.get("")
async def videos(request: Request, query: Annotated[VideosQuery, Query()]) -> VideoPage:
    """The videos that a filter admits, in the order of folders and names."""
    opened = service_of(request).shelf.opened
    return await run_in_threadpool(_page, opened, query.filters, query.name, query.offset, query.limit)


@router.get("/{video}")
async def video(request: Request, video: Id) -> VideoDetails:
    """One video and its moments."""
    return await run_in_threadpool(_details, service_of(request).shelf.opened, video)


FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"video/*": {}, "image/*": {}}},
    206: {"content": {"video/*": {}}, "description": "The part that was asked for"},
    304: {"description": "The client has it already"},
    416: {"model": ErrorReply},
}


@router.head("/{video}/file", include_in_schema=False)
@router.get("/{video}/file", response_class=Response, responses=FILE)
async def file(request: Request, video: Id) -> Response:
    """The file of a video as it is, or a part of it (Range)."""
    record = service_of(request).shelf.opened.record(video)
    kind, name = media_type(record.video), shown(record.video.rpartition("/")[2])
    opened = await run_in_threadpool(open_indexed, record)
    return file_response(request, opened, media_type=kind, etag=content_name(record), name=name)


@router.get("/{video}/thumbnail", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
async def thumbnail(
    request: Request,
    video: Id,
    at_seconds: Seconds | None = None,
    width: Annotated[int, Query(ge=16, le=WIDTHS[-1])] = 320,
) -> Response:
    """The frame shown at a time, in the middle unless another is named, as JPEG."""
    service = service_of(request)
    record = service.shelf.opened.record(video)
    at = record.video_seconds / 2 if at_seconds is None else at_seconds
    task = ThumbnailTask(record=record, at_seconds=at, width=next(one for one in WIDTHS if one >= width))
    headers = {"ETag": f'"{task.key}"', "Cache-Control": "private, max-age=3600"}
    if is_known(request, task.key):
        return Response(status_code=304, headers=headers)
    content = service.thumbnails.known(task.key)
    if content is None:
        content = await service.pictures.result(task, request, service.config.wait_seconds)
    return Response(content, headers=headers, media_type="image/jpeg")


@router.head("/{video}/clip", include_in_schema=False)
@router.get("/{video}/clip", response_class=Response, responses=FILE)
async def clip(request: Request, video: Id, start_seconds: Seconds, end_seconds: Seconds) -> Response:
    """A part of a video as MP4 that every browser plays, cut exactly."""
    service = service_of(request)
    record = service.shelf.opened.record(video)
    _check_span(record, start_seconds, end_seconds, service.config.clip_seconds)
    task = ClipTask(record=record, start_seconds=start_seconds, end_seconds=end_seconds)
    path = await service.clips.result(task, request, service.config.wait_seconds)
    span = Span(
        video=shown(record.video),
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        score=0.0,
        best=record.moment(start_seconds, end_seconds),
    )
    try:
        opened = await run_in_threadpool(path.open, "rb")
    except FileNotFoundError:  # it made room for others at this moment
        raise busy(1) from None
    return file_response(request, opened, media_type="video/mp4", etag=task.key, name=clip_name(1, span))


def _check_span(record: VideoRecord, start: float, end: float, longest: float) -> None:
    if not start < end <= start + longest:
        raise ServingError(422, f"a clip must end after its start, and not last longer than {longest:g} seconds")
    if record.video_seconds and start >= record.video_seconds:
        raise ServingError(422, f"the video ends at {record.video_seconds:.3f} seconds, before the clip begins")


def _page(opened: Opened, filters: Filters, name: str, offset: int, limit: int) -> VideoPage:
    where, wanted = opened.filter(filters), name.casefold()
    found = [
        record
        for record in opened.records.values()
        if (where is None or where.admits(record)) and wanted in shown(record.video.rpartition("/")[2]).casefold()
    ]
    return VideoPage(total=len(found), videos=opened.describe_all(found[offset : offset + limit]))


def _details(opened: Opened, name: str) -> VideoDetails:
    record = opened.record(name)
    moments = sorted(opened.index.moments_of(record.video), key=lambda moment: moment.start_seconds)
    intervals = [
        Interval(start_seconds=round(moment.start_seconds, 3), end_seconds=round(moment.end_seconds, 3))
        for moment in moments
    ]
    return VideoDetails(**opened.describe(record).model_dump(), moments=intervals)
