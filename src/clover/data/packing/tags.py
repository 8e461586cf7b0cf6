"""Parts of speech beside a caption in a shard, so that training needs no tagger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clover.data.taggers import PARTS_OF_SPEECH, TaggedWord


@dataclass(frozen=True, kw_only=True)
class TaggedCaption:
    """A text and its words; None when its tags are not there or belong to another text."""

    text: str
    words: list[TaggedWord] | None


def tags_as_json(words: Sequence[TaggedWord]) -> list[list[int | str]]:
    """Where each word starts and ends in the caption, in characters, and its part of speech."""
    return [[word.start, word.end, word.part_of_speech] for word in words]


def read_tags(about: Mapping[str, Any], caption: str) -> list[TaggedWord] | None:
    """The words of a caption from the JSON that is packed with it; what `clover.data.masking.mask_text` takes.

    Args:
        about: Content of ``KEY.json``; its ``tagger`` tells who tagged.
        caption: Content of ``KEY.txt``, stripped.

    Returns:
        The words in the order of their places, or None when there are no tags, or tags that do not fit the caption.
    """
    rows = about.get("tags")
    if not isinstance(rows, list) or (not rows and caption.strip()):
        return None
    words: list[TaggedWord] = []
    place = 0
    for row in rows:
        if not isinstance(row, list) or len(row) != 3:
            return None
        start, end, part_of_speech = row
        if type(start) is not int or type(end) is not int or not place <= start < end <= len(caption):
            return None
        if part_of_speech not in PARTS_OF_SPEECH:
            return None
        words.append(TaggedWord(text=caption[start:end], start=start, end=end, part_of_speech=part_of_speech))
        place = end
    return words


def read_captions(about: Mapping[str, Any], caption: str) -> list[TaggedCaption]:
    """All captions of a packed sample, the one of ``KEY.txt`` first; arguments as of `read_tags`.

    Most sources have one caption a video; of a generated corpus the others are in ``other_captions``.
    """
    first = TaggedCaption(text=caption, words=read_tags(about, caption))
    others = about.get("other_captions")
    return [first] + [
        TaggedCaption(text=text, words=read_tags(other, text))
        for other in (others if isinstance(others, list) else [])
        if isinstance(other, dict) and isinstance(text := other.get("caption"), str) and text.strip()
    ]
