"""clover ask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from clover.commands.options import parse
from clover.commands.searching import note_unread
from clover.errors import ConfigError
from clover.pipeline import Clover


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """Ask a question about a video."""

    checkpoint: tyro.conf.Positional[str]
    """Checkpoint folder of a model fine-tuned on questions."""
    video: tyro.conf.Positional[str]
    """Video or image file."""
    question: tyro.conf.Positional[str]
    """The question."""
    num_answers: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 3
    """Most answers."""
    json: bool = False
    """Print one JSON object."""


def ask(arguments: Sequence[str]) -> None:
    """Run `clover ask`."""
    options = parse(AskOptions, arguments, command="ask")
    if options.num_answers < 1:
        raise ConfigError(f"{options.num_answers} answers are no answers; ask for at least 1")
    if not options.question.strip():
        raise ConfigError("the question is blank; ask something")
    clover = Clover.from_pretrained(options.checkpoint)
    note_unread(clover, options.question)
    answers = clover.answer(options.video, options.question, num_answers=options.num_answers)
    if options.json:
        rows = [{"answer": answer.text, "probability": round(answer.probability, 4)} for answer in answers]
        print(json.dumps({"question": options.question, "answers": rows}))
        return
    for answer in answers:
        print(f"{100 * answer.probability:5.1f} %  {answer.text}")
