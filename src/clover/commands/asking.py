"""clover ask."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from clover.commands.options import parse
from clover.commands.searching import FilterOptions, note_unread, open_with_model, span_row
from clover.errors import ConfigError
from clover.pipeline import Answer, Clover
from clover.search.asking import (
    AskConfig,
    Reply,
    answer_distribution,
    answering_method,
    ask_library,
    best_answers,
    not_sure,
    unseen_note,
)
from clover.training.devices import choose_device


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """Ask a question about a library, LIBRARY QUESTION, or about one video, CHECKPOINT VIDEO QUESTION."""

    what: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="WHAT ...")]
    """A library and a question; or the checkpoint folder of a model fine-tuned on questions, a video or image file and
    a question."""
    num_answers: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 3
    """Most answers."""
    choices: tuple[str, ...] = ()
    """Possible answers; the model's own vocabulary when none are given."""
    asking: tyro.conf.OmitArgPrefixes[AskConfig] = AskConfig()
    """What an answer rests on."""
    where: tyro.conf.OmitArgPrefixes[FilterOptions] = FilterOptions()
    """Which videos of the library are looked at."""
    checkpoint: str = ""
    """Checkpoint folder for a library whose model is no longer where it was while indexing."""
    device: str = "auto"
    """auto (a GPU where there is one, else the processor), cpu, cuda, or a GPU by number as in cuda:1."""
    json: bool = False
    """Print one JSON object."""


def ask(arguments: Sequence[str]) -> None:
    """Run `clover ask`."""
    options = parse(AskOptions, arguments, command="ask")
    if len(options.what) not in (2, 3):
        raise ConfigError(
            f"{len(options.what)} words are no question: give LIBRARY QUESTION or CHECKPOINT VIDEO QUESTION, "
            "the question in quotes"
        )
    question = options.what[-1]
    if options.num_answers < 1:
        raise ConfigError(f"{options.num_answers} answers are no answers; ask for at least 1")
    if not question.strip():
        raise ConfigError("the question is blank; ask something")
    if len(options.what) == 3:
        _refuse_what_is_for_libraries(options)
        _ask_video(options, *options.what)
        return
    clover, library = open_with_model(options.what[0], options.checkpoint, options.device)
    note_unread(clover, question)
    reply = ask_library(
        library,
        clover,
        question,
        choices=options.choices,
        num_answers=options.num_answers,
        config=options.asking,
        where=options.where.as_filter(),
    )
    if note := unseen_note(reply):
        print(f"clover: {note} (--ask-seconds)", file=sys.stderr)
    _print_json(question, reply) if options.json else _print(reply)


def _refuse_what_is_for_libraries(options: AskOptions) -> None:
    if options.where != FilterOptions():
        raise ConfigError("filters choose among the videos of a library, and here one video is named; leave them out")
    if options.checkpoint:
        raise ConfigError(f"the model is {options.what[0]} already; leave --checkpoint out")


def _ask_video(options: AskOptions, checkpoint: str, video: str, question: str) -> None:
    clover = Clover.from_pretrained(checkpoint, device=choose_device(options.device))
    note_unread(clover, question)
    answering_method(clover, options.choices)
    tokens = clover.video_tokens([clover.clip(video)])
    names, probabilities = answer_distribution(clover, tokens, question, options.choices)
    answers = best_answers(names, probabilities[0], options.num_answers)
    reason = not_sure(answers, options.asking)
    if options.json:
        unknown = {} if reason is None else {"unknown": reason}
        print(json.dumps({"question": question, "answers": _answer_rows(answers), **unknown}))
        return
    if reason is not None:
        print(f"I don't know: {reason}")
    _print_answers(answers)


def _answer_rows(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    return [{"answer": answer.text, "probability": round(answer.probability, 4)} for answer in answers]


def _print_answers(answers: Sequence[Answer]) -> None:
    for answer in answers:
        print(f"{100 * answer.probability:5.1f} %  {answer.text}")


def _print_json(question: str, reply: Reply) -> None:
    evidence = [
        {**span_row(one.span), "weight": round(one.weight, 4), "answers": _answer_rows(one.answers)}
        for one in reply.evidence
    ]
    row: dict[str, Any] = {
        "question": question,
        "answers": _answer_rows(reply.answers),
        "method": reply.method,
        "evidence": evidence,
    }
    row |= {"unknown": reply.unknown} if reply.unknown is not None else {}
    print(json.dumps(row | ({"num_unseen": reply.num_unseen} if reply.num_unseen else {})))


def _print(reply: Reply) -> None:
    if reply.unknown is not None:
        print(f"I don't know: {reply.unknown}")
    _print_answers(reply.answers)
    if not reply.evidence:
        return
    print(f"\nfrom {len(reply.evidence)} moment{'s' if len(reply.evidence) > 1 else ''}, by {reply.method}:")
    print("weight  confidence     from       to  answer")
    for one in reply.evidence:
        row, best = span_row(one.span), one.answers[0]
        print(
            f"{100 * one.weight:4.0f} %  {100 * row['confidence']:8.1f} %  {row['start_seconds']:5.1f} s  "
            f"{row['end_seconds']:5.1f} s  {best.text} ({100 * best.probability:.0f} %)  {row['video']}"
        )
