"""What a user should know of a text before believing what it finds."""

from __future__ import annotations

from clover.pipeline import Clover


def unread_notes(clover: Clover, text: str) -> list[str]:
    """Say so where the model reads only the beginning of a text, or knows none of its words; one sentence each."""
    notes = []
    longest = clover.config.inputs.max_text_length
    token_ids = clover.tokenizer.encode([text], max_length=longest + 1).token_ids
    if token_ids.shape[1] > longest:
        notes.append(f"the text is long; only its first {longest - 2} word pieces are read")
    if knows_no_word(clover, text):
        notes.append("the model knows none of these words, so what it finds means nothing")
    return notes


def knows_no_word(clover: Clover, text: str) -> bool:
    """Whether the model reads a text as nothing but unknown words, as one in a script that it was not trained on."""
    longest = clover.config.inputs.max_text_length
    token_ids = clover.tokenizer.encode([text], max_length=longest).token_ids
    return bool((token_ids[0, 1:-1] == clover.tokenizer.unk_id).all())
