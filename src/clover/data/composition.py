"""What a question and its options read like to the text encoder (published run: `QATextPrepare`)."""

from __future__ import annotations

from collections.abc import Sequence


def choice_texts(question: str, options: Sequence[str]) -> list[str]:
    """One text per option: the question, all options in their order, and the option in question.

    A question may be empty (LSMDC multiple choice); the text then begins with `` Options: ``, as published.
    """
    listed = f"{question} Options: {' '.join(options)} Answer: "
    return [listed + option for option in options]
