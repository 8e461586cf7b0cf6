"""A question to a library: find moments, answer from each, weigh the answers, and show what they rest on."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clover.data.text import choice_texts
from clover.errors import ConfigError
from clover.pipeline import Answer, Clover
from clover.search.engine import SearchConfig, search
from clover.search.index import Filter, Index, Moment
from clover.search.rerank import VideoTokens
from clover.search.spans import Span

_SCORE_TEMPERATURE = 0.1
"""A moment that scores this much less counts 1/e as much."""
_SIMILARITY_TEMPERATURE = 0.05
_PAIRS = 64
"""Videos with a choice that are fused at once; more would not fit into memory."""
_CLIPS = 5
"""Windows that are read and encoded at once, before the clock is looked at."""

_ASKING_WORDS = re.compile(
    r"^\W*(what|which|who|where|when|why|how( many| often)?|is there|are there|is|are|does|do|did)\b"
    r"( (color|colour|shape|kind|size|pattern|object|thing)s?)?( (is|are|was|were|does|do|did|has|have))?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class AskConfig:
    """What an answer rests on, and when none is given."""

    moments: int = 5
    """Most moments that are looked at."""
    min_probability: float = 0.0
    """Say "I don't know" where the best answer is less probable."""
    min_confidence: float = 0.0
    """Look at no moment of less confidence; where none is left, say "I don't know"."""
    ask_seconds: float = 60.0
    """Look at no further moments after this time; the answer is from those seen by then, the best ones first."""

    def __post_init__(self) -> None:
        if self.moments < 1:
            raise ConfigError(f"{self.moments} moments are none to answer from; use at least 1")
        for name in ("min_probability", "min_confidence"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; use 0 (answer always) to 0.99")
        if not self.ask_seconds > 0:
            raise ConfigError(f"ask_seconds is {self.ask_seconds}; use more than 0")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A moment that was looked at."""

    span: Span
    weight: float
    """What it counts; those of all moments add up to one."""
    answers: list[Answer]
    """What it says alone, best first."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is answered.

    Attributes:
        answers: Best first; empty where nothing could be looked at.
        method: Where the probabilities come from, in words.
        evidence: What was looked at, best match first.
        unknown: Why the answer is "I don't know", or None.
        num_unseen: Moments that there was no time to look at.
    """

    answers: list[Answer]
    method: str
    evidence: list[Evidence]
    unknown: str | None
    num_unseen: int = 0


def asked_about(question: str) -> str:
    """What to look for: an English question without its asking words, "what color is the ball?" as "the ball".

    Where nothing would be left, and in other languages, it is the question itself.
    """
    rest, num_found = _ASKING_WORDS.subn("", question)
    rest = rest.strip(" ?.!\n\t")
    return rest if num_found and len(rest.split()) > 1 else question


def ask_library(
    index: Index,
    clover: Clover,
    question: str,
    *,
    choices: Sequence[str] = (),
    num_answers: int = 3,
    config: AskConfig = AskConfig(),
    where: Filter | None = None,
    tokens: VideoTokens | None = None,
    vector: Float[np.ndarray, " d"] | None = None,
) -> Reply:
    """Answer a question from the moments of a library that fit it best.

    Args:
        index: The library.
        clover: The model that made it.
        question: What is asked.
        choices: Possible answers; none leaves it to the answers that the model has learned.
        num_answers: Most answers, of each moment and together.
        config: How many moments, and when to give none.
        where: Which videos are looked at.
        tokens: Encoded windows of earlier calls, to be kept between calls.
        vector: The normalised embedding of `asked_about`, where it is known already.

    Raises:
        ConfigError: without choices, a model that was not fine-tuned on questions; choices that are blank or too few.
        TextError: the question is empty.
    """
    method = answering_method(clover, choices)
    results = SearchConfig(min_confidence=config.min_confidence)
    spans = search(index, clover, asked_about(question), config.moments, results, where=where, vector=vector)
    known = _seen_in_time(tokens or VideoTokens(clover), [span.best for span in spans], config.ask_seconds)
    seen = [(span, one) for span, one in zip(spans, known, strict=False) if one is not None]
    if not seen:
        reason = "the files of all moments found are gone or have changed" if spans else "no moment of the library fits"
        return Reply(answers=[], method=method, evidence=[], unknown=reason)
    names, probabilities = answer_distribution(clover, torch.stack([one for _, one in seen]), question, choices)
    scores = torch.tensor([span.score for span, _ in seen])
    weights = (scores / _SCORE_TEMPERATURE).softmax(dim=0)
    answers = best_answers(names, weights.to(probabilities) @ probabilities, num_answers)
    evidence = [
        Evidence(span=span, weight=weight, answers=best_answers(names, row, num_answers))
        for (span, _), weight, row in zip(seen, weights.tolist(), probabilities, strict=True)
    ]
    return Reply(
        answers=answers,
        method=method,
        evidence=evidence,
        unknown=not_sure(answers, config),
        num_unseen=len(spans) - len(known),
    )


def _seen_in_time(
    tokens: VideoTokens, moments: Sequence[Moment], seconds: float
) -> list[Float[Tensor, "t h w d"] | None]:
    """Encoded windows of the first moments; as many as there is time for, and those of one pass in any case."""
    found: list[Float[Tensor, "t h w d"] | None] = []
    deadline = time.monotonic() + seconds
    while len(found) < len(moments) and (not any(one is not None for one in found) or time.monotonic() < deadline):
        found += tokens.of(moments[len(found) : len(found) + _CLIPS])
    return found


def unseen_note(reply: Reply) -> str:
    """A sentence about moments that there was no time for; empty where there was."""
    if not reply.num_unseen:
        return ""
    return f"time was up: of the moments found, the last {reply.num_unseen} were not looked at"


def not_sure(answers: Sequence[Answer], config: AskConfig) -> str | None:
    """Why the best answer is not good enough, or None."""
    best = answers[0]
    if best.probability >= config.min_probability:
        return None
    return f"the best answer, {best.text}, has a probability of {100 * best.probability:.1f} % only"


def answering_method(clover: Clover, choices: Sequence[str]) -> str:
    """What answers: a head of the model or, where it has none that fits, the similarity of embeddings.

    Raises:
        ConfigError: without choices, a model that was not fine-tuned on questions; choices that are blank or too few.
    """
    if not choices:
        if not clover.config.answers:
            raise ConfigError("this checkpoint was not fine-tuned on questions; give possible answers with --choices")
        return "open-ended head"
    if len(set(choices)) < 2 or not all(choice.strip() for choice in choices):
        raise ConfigError(f"{len(choices)} choices are none to choose from; give at least 2 different ones, none blank")
    if clover.config.model.heads.has_choices:
        return "multiple-choice head"
    if {choice.strip().lower() for choice in choices} <= set(clover.config.answers):
        return "open-ended head, among the choices"
    return "similarity of embeddings: the model has no multiple-choice head"


@torch.inference_mode()
def answer_distribution(
    clover: Clover, video_tokens: Float[Tensor, "b t h w d"], question: str, choices: Sequence[str] = ()
) -> tuple[Sequence[str], Float[Tensor, "b answers"]]:
    """Possible answers, and for each encoded video their probabilities, by `answering_method`."""
    method = answering_method(clover, choices)
    num_videos = len(video_tokens)
    if method == "multiple-choice head":
        texts = choice_texts(question, choices, lists_options=clover.config.inputs.lists_options)
        blocks = video_tokens.split(max(1, _PAIRS // len(choices)))
        scores = torch.cat([clover.choice_scores(block, [texts] * len(block)) for block in blocks])
        return choices, scores.softmax(dim=1)
    if method.startswith("similarity"):
        videos = torch.nn.functional.normalize(clover.network.embed_video(video_tokens), dim=1, eps=1e-8)
        texts = [f"{asked_about(question).strip(' ?')} {choice}" for choice in choices]
        return choices, (videos @ clover.encode_text(texts).T / _SIMILARITY_TEMPERATURE).softmax(dim=1)
    probabilities = clover.answer_probabilities(video_tokens, [question] * num_videos)
    if not choices:
        return clover.config.answers, probabilities
    places = [clover.config.answers.index(choice.strip().lower()) for choice in choices]
    chosen = probabilities[:, places]
    return choices, chosen / chosen.sum(dim=1, keepdim=True)


def best_answers(names: Sequence[str], probabilities: Float[Tensor, " answers"], num_answers: int) -> list[Answer]:
    """The most probable answers, best first."""
    best = probabilities.topk(min(num_answers, len(names)))
    return [
        Answer(text=names[place], probability=probability)
        for place, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
