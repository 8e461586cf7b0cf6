"""The videos: what there is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool

from clover.serving.records import (
    Day,
    ErrorReply,
    Filters,
    Interval,
    Seconds,
    Tag,
    Text,
    VideoDetails,
    VideoPage,
)
from clover.serving.routes.about import REFUSALS
from clover.serving.service import service_of
from clover.serving.shelf import Opened, shown

router = APIRouter(prefix="/api/videos", responses={404: {"model": ErrorReply}, **REFUSALS})
Id = Annotated[str, Path(min_length=20, max_length=20, pattern="^[0-9a-f]+$")]


@router.get("")
async def videos(
    request: Request,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    folder: Annotated[Text, Query(max_length=1000)] = "",
    tag: Annotated[list[Tag] | None, Query(max_length=20)] = None,
    since: Day = "",
    until: Day = "",
    min_seconds: Seconds | None = None,
    max_seconds: Seconds | None = None,
    name: Annotated[Text, Query(max_length=200)] = "",
) -> VideoPage:
    """The videos that a filter admits, in the order of folders and names."""
    filters = Filters(
        folder=folder, since=since, until=until, min_seconds=min_seconds, max_seconds=max_seconds, tags=tag or []
    )
    return await run_in_threadpool(_page, service_of(request).shelf.opened, filters, name, offset, limit)


@router.get("/{video}")
async def video(request: Request, video: Id) -> VideoDetails:
    """One video and its moments."""
    return await run_in_threadpool(_details, service_of(request).shelf.opened, video)


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
