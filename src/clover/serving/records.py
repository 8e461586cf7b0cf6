"""What goes in and out as JSON."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("this is not valid Unicode: remove its lone surrogates") from None
    return value


def _words(value: str) -> str:
    if not value.strip():
        raise ValueError("this is blank: say something")
    return value


def _moment(value: str) -> str:
    instant(value)
    return value


def instant(text: str, *, days: int = 0) -> float | None:
    """A day or time in ISO 8601 as seconds since 1970; of a day its beginning, or that of one ``days`` later.

    Raises:
        ValueError: it is written in another way, or too far away.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        is_day = len(text) <= len("2026-01-31")
        return (moment + timedelta(days=days if is_day else 0)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError("this is no day or time; write it as 2026-01-31 or 2026-01-31T18:30:00+00:00") from None


_MOST_PAIRS = 500
"""Choices times moments of one question: each pair takes the model once, and all others wait."""

Text = Annotated[str, AfterValidator(_text)]
Words = Annotated[str, Field(min_length=1), AfterValidator(_text), AfterValidator(_words)]
Day = Annotated[str, Field(max_length=40), AfterValidator(_text), AfterValidator(_moment)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Tag = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_text)]
VideoId = Annotated[str, Field(pattern="^[0-9a-f]{20}$")]


class Given(BaseModel):
    """What comes in: fields that nobody knows are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bounds(Given):
    """Between what videos lie that are looked at; what is not given admits everything."""

    folder: Annotated[str, Field(max_length=1000), AfterValidator(_text)] = ""
    since: Day = ""
    until: Day = ""
    min_seconds: Seconds | None = None
    max_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        for low, high in (
            (instant(self.since), instant(self.until, days=1)),
            (self.min_seconds, self.max_seconds),
        ):
            if low is not None and high is not None and low > high:
                raise ValueError("the smallest of the filters is above the largest; give the smaller bound first")
        return self


class Filters(Bounds):
    """Which videos are looked at; what is not given admits everything."""

    tags: Annotated[list[Tag], Field(max_length=20)] = []


class VideosQuery(Bounds):
    """Which videos are listed, and from where on."""

    offset: Annotated[int, Field(ge=0, le=10**9)] = 0
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    tag: Annotated[list[Tag], Field(max_length=20)] = []
    name: Annotated[str, Field(max_length=200), AfterValidator(_text)] = ""

    @property
    def filters(self) -> Filters:
        """The same bounds, and the tags."""
        return Filters(
            folder=self.folder,
            since=self.since,
            until=self.until,
            min_seconds=self.min_seconds,
            max_seconds=self.max_seconds,
            tags=self.tag,
        )


class SearchRequest(Given):
    """What to look for."""

    query: Words
    num_results: Annotated[int, Field(ge=1, le=100)] = 10
    by_video: bool = False
    min_confidence: Share = 0.0
    rerank: Annotated[int, Field(ge=0, le=200)] = 0
    filters: Filters = Filters()


class AskRequest(Given):
    """What is asked."""

    question: Words
    choices: Annotated[list[Annotated[Words, Field(max_length=500)]], Field(max_length=100)] = []
    num_answers: Annotated[int, Field(ge=1, le=20)] = 3
    min_probability: Share = 0.0
    min_confidence: Share = 0.0
    moments: Annotated[int, Field(ge=1, le=50)] = 5
    video: VideoId | None = None
    filters: Filters = Filters()

    @model_validator(mode="after")
    def _are_choices(self) -> AskRequest:
        if self.choices and len(set(self.choices)) < 2:
            raise ValueError("one choice is none: give at least two different ones")
        if len(self.choices) * self.moments > _MOST_PAIRS:
            raise ValueError(f"choices times moments are more than {_MOST_PAIRS}: give fewer of them")
        return self


class SessionRequest(Given):
    """Who comes in."""

    token: Annotated[str, Field(max_length=1000), AfterValidator(_text)]


class Health(BaseModel):
    """That the server runs."""

    status: Literal["ok"]
    version: str


class Done(BaseModel):
    """That something was done."""

    status: Literal["ok"] = "ok"


class ErrorReply(BaseModel):
    """What went wrong, in one sentence."""

    error: str


class Library(BaseModel):
    """What there is to search, and what a client may do."""

    name: str
    num_videos: int
    num_moments: int
    model: str
    folders: list[str]
    tags: list[str]
    can_ask: bool
    ask_needs_choices: bool
    needs_token: bool
    accepts_uploads: bool
    max_upload_bytes: int
    max_query_characters: int


class Video(BaseModel):
    """A video of the library."""

    id: str
    name: str
    folder: str
    seconds: float
    modified: str
    tags: list[str]
    num_moments: int
    media_type: str
    is_playable: bool
    file_url: str
    thumbnail_url: str


class Interval(BaseModel):
    """A part of a video."""

    start_seconds: float
    end_seconds: float


class VideoDetails(Video):
    """A video and its moments, in the order of time."""

    moments: list[Interval]


class VideoPage(BaseModel):
    """Some of the videos that a filter admits."""

    total: int
    videos: list[Video]


class Score(Interval):
    """How well a part of a video fits, -1 to 1."""

    score: float


class Result(BaseModel):
    """A span that was found."""

    video: Video
    start_seconds: float
    end_seconds: float
    score: float
    confidence: float
    reranked: float | None
    timeline: list[Score]


class SearchReply(BaseModel):
    """What was found, best first."""

    query: str
    notes: list[str]
    results: list[Result]


class Candidate(BaseModel):
    """A possible answer."""

    answer: str
    probability: float


class EvidenceReply(Result):
    """A moment that was looked at, and what it says alone."""

    weight: float
    answers: list[Candidate]


class AskReply(BaseModel):
    """What is answered, and what it rests on."""

    question: str
    notes: list[str]
    answers: list[Candidate]
    unknown: str | None
    method: str
    evidence: list[EvidenceReply]
    num_unseen: int


UploadState = Literal["waiting", "indexing", "done", "failed"]


class UploadReply(BaseModel):
    """How far an uploaded file has come."""

    id: str
    name: str
    state: UploadState
    progress: float
    video: Video | None
    error: str | None
