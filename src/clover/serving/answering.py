"""Searches and questions for the model: the texts of all that wait are embedded together, then each is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from clover.errors import CloverError
from clover.pipeline import Answer, Clover
from clover.search.asking import AskConfig, Reply, ask_library, asked_about, unseen_note
from clover.search.engine import SearchConfig, search
from clover.search.index import Filter, Index, Moment
from clover.search.interface import VideoRecord
from clover.search.notes import unread_notes
from clover.search.rerank import RerankConfig, VideoTokens
from clover.search.spans import Span
from clover.serving.records import AskReply, Candidate, EvidenceReply, Result, Score, SearchReply
from clover.serving.shelf import Opened

_BLOCK = 8_192
"""Windows whose vectors are read at once: videos may be many hours long."""
_MOST_POINTS = 300
"""Longest timeline of a result; above, neighbouring windows are shown by their best."""


@dataclass(frozen=True, kw_only=True)
class SearchTask:
    """A search that waits; fields as of `clover.search.engine.search`."""

    opened: Opened
    text: str
    num_results: int
    config: SearchConfig
    rerank: RerankConfig
    where: Filter | None


@dataclass(frozen=True, kw_only=True)
class AskTask:
    """A question that waits; fields as of `clover.search.asking.ask_library`."""

    opened: Opened
    text: str
    choices: tuple[str, ...]
    num_answers: int
    config: AskConfig
    where: Filter | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the model found for a task."""

    notes: list[str]
    spans: list[Span]
    timelines: dict[str, list[Score]]
    """Scores of all windows of the videos of the spans, by their paths."""
    reply: Reply | None = None


class Answerer:
    """Works on the tasks of a `WorkQueue`."""

    def __init__(self, clover: Clover, *, token_bytes: int, on_texts: Callable[[int], None]) -> None:
        """Take the model.

        Args:
            clover: The model.
            token_bytes: Most memory for encoded videos.
            on_texts: Told how many texts were embedded together.
        """
        self._clover, self._on_texts = clover, on_texts
        self._tokens = VideoTokens(clover, max_bytes=token_bytes)

    @property
    def num_bytes(self) -> int:
        """Encoded windows that are kept."""
        return self._tokens.num_bytes

    def __call__(self, tasks: list[SearchTask | AskTask]) -> list[Callable[[], Outcome]]:
        """Embed the texts of several tasks; gives what answers each."""
        texts = [task.text if isinstance(task, SearchTask) else asked_about(task.text) for task in tasks]
        vectors = self._embedded(texts)
        return [partial(self._answer, task, vector) for task, vector in zip(tasks, vectors, strict=True)]

    def _embedded(self, texts: Sequence[str]) -> Sequence[Float[np.ndarray, " d"] | None]:
        """Embed texts in one pass; None for each where one of them cannot be."""
        try:
            vectors = self._clover.encode_text(texts).cpu().numpy()
        except CloverError:
            return [None] * len(texts)
        self._on_texts(len(texts))
        return list(vectors)

    def _answer(self, task: SearchTask | AskTask, vector: Float[np.ndarray, " d"] | None) -> Outcome:
        if vector is None:  # alone, so that what is wrong with one text is only told to whom it is from
            text = task.text if isinstance(task, SearchTask) else asked_about(task.text)
            vector = self._clover.encode_text(text).cpu().numpy()
        return self._search(task, vector) if isinstance(task, SearchTask) else self._ask(task, vector)

    def _search(self, task: SearchTask, vector: Float[np.ndarray, " d"]) -> Outcome:
        index = task.opened.index
        spans = search(
            index,
            self._clover,
            task.text,
            task.num_results,
            task.config,
            where=task.where,
            rerank=task.rerank,
            tokens=self._tokens,
            vector=vector,
        )
        notes = unread_notes(self._clover, task.text)
        return Outcome(notes=notes, spans=spans, timelines=timelines(index, spans, vector))

    def _ask(self, task: AskTask, vector: Float[np.ndarray, " d"]) -> Outcome:
        index = task.opened.index
        reply = ask_library(
            index,
            self._clover,
            task.text,
            choices=task.choices,
            num_answers=task.num_answers,
            config=task.config,
            where=task.where,
            tokens=self._tokens,
            vector=vector,
        )
        spans = [one.span for one in reply.evidence]
        notes = [*unread_notes(self._clover, task.text), *filter(None, [unseen_note(reply)])]
        return Outcome(notes=notes, spans=spans, timelines=timelines(index, spans, vector), reply=reply)


def timelines(index: Index, spans: Sequence[Span], vector: Float[np.ndarray, " d"]) -> dict[str, list[Score]]:
    """Scores of all windows of the videos of some spans, by path, in the order of time.

    Args:
        index: The library.
        spans: What was found.
        vector: The normalised embedding of what was looked for.
    """
    moments = {
        video: sorted(index.moments_of(video), key=lambda moment: moment.start_seconds)
        for video in dict.fromkeys(span.video for span in spans)
    }
    every = [moment for some in moments.values() for moment in some]
    scores = np.zeros(len(every), dtype=np.float32)
    for begin in range(0, len(every), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        scores[block] = index.vectors_of(every[block]) @ vector.astype(np.float32)
    found, begin = {}, 0
    for video, some in moments.items():
        found[video] = _binned(some, scores[begin : begin + len(some)])
        begin += len(some)
    return found


def _binned(moments: Sequence[Moment], scores: Float[np.ndarray, " n"]) -> list[Score]:
    """At most `_MOST_POINTS` parts of a video, each with the best score of its windows."""
    size = -(-len(moments) // _MOST_POINTS) or 1
    return [
        Score(
            start_seconds=round(moments[begin].start_seconds, 3),
            end_seconds=round(max(moment.end_seconds for moment in moments[begin : begin + size]), 3),
            score=round(float(scores[begin : begin + size].max()), 4),
        )
        for begin in range(0, len(moments), size)
    ]


def search_reply(task: SearchTask, outcome: Outcome) -> SearchReply:
    """What a client gets for a search."""
    results = [_result(task.opened, span, outcome) for span in outcome.spans]
    return SearchReply(query=task.text, notes=outcome.notes, results=results)


def ask_reply(task: AskTask, outcome: Outcome) -> AskReply:
    """What a client gets for a question."""
    assert outcome.reply is not None
    evidence = [
        EvidenceReply(
            **_result(task.opened, one.span, outcome).__dict__,
            weight=round(one.weight, 4),
            answers=_candidates(one.answers),
        )
        for one in outcome.reply.evidence
    ]
    return AskReply(
        question=task.text,
        notes=outcome.notes,
        answers=_candidates(outcome.reply.answers),
        unknown=outcome.reply.unknown,
        method=outcome.reply.method,
        evidence=evidence,
        num_unseen=outcome.reply.num_unseen,
    )


def _candidates(answers: Sequence[Answer]) -> list[Candidate]:
    return [Candidate(answer=answer.text, probability=round(answer.probability, 4)) for answer in answers]


def _result(opened: Opened, span: Span, outcome: Outcome) -> Result:
    return Result(
        video=opened.describe(VideoRecord.of(span.best)),
        start_seconds=round(span.start_seconds, 3),
        end_seconds=round(span.end_seconds, 3),
        score=round(span.score, 4),
        confidence=round(span.confidence or 0.0, 4),
        reranked=None if span.reranked is None else round(span.reranked, 4),
        timeline=outcome.timelines[span.video],
    )
