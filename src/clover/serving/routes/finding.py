"""Searching and asking."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from clover.search.asking import AskConfig
from clover.search.engine import SearchConfig
from clover.search.rerank import RerankConfig
from clover.serving.answering import AskTask, SearchTask, ask_reply, search_reply
from clover.serving.problems import ServingError
from clover.serving.records import AskReply, AskRequest, ErrorReply, SearchReply, SearchRequest
from clover.serving.routes.about import REFUSALS
from clover.serving.service import Service, service_of

router = APIRouter(prefix="/api", responses={404: {"model": ErrorReply}, **REFUSALS})


@router.post("/search")
async def search(request: Request, body: SearchRequest) -> SearchReply:
    """Find the moments that a sentence describes, best first."""
    service = service_of(request)
    _check_length(service, body.query)
    opened = service.shelf.opened
    task = SearchTask(
        opened=opened,
        text=body.query,
        num_results=body.num_results,
        config=SearchConfig(by_video=body.by_video, min_confidence=body.min_confidence),
        rerank=RerankConfig(rerank=body.rerank, rerank_seconds=service.config.rerank_seconds),
        where=opened.filter(body.filters),
    )
    outcome = await service.model.result(task, request, service.config.wait_seconds)
    return await run_in_threadpool(search_reply, task, outcome)


@router.post("/ask")
async def ask(request: Request, body: AskRequest) -> AskReply:
    """Answer a question from the moments that fit it best, of all videos or of one."""
    service = service_of(request)
    _check_length(service, body.question)
    if not body.choices and not service.clover.config.answers:
        raise ServingError(422, "this model has learned no answers of its own; give it choices")
    opened = service.shelf.opened
    task = AskTask(
        opened=opened,
        text=body.question,
        choices=tuple(body.choices),
        num_answers=body.num_answers,
        config=AskConfig(
            moments=body.moments,
            min_probability=body.min_probability,
            min_confidence=body.min_confidence,
            ask_seconds=service.config.ask_seconds,
        ),
        where=opened.filter(body.filters, body.video),
    )
    outcome = await service.model.result(task, request, service.config.wait_seconds)
    return await run_in_threadpool(ask_reply, task, outcome)


def _check_length(service: Service, text: str) -> None:
    most = service.config.max_query_characters
    if len(text) > most:
        raise ServingError(422, f"the text has {len(text)} characters; at most {most} are read")
