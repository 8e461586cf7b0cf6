"""Captions of a scene beside the same captions with one thing changed: what a model must tell apart."""

from __future__ import annotations

from collections.abc import Iterator

from clover.data.shapes.captions import SteadySpeaker, Wording, tell
from clover.data.shapes.changes import CHANGES
from clover.data.shapes.scene import Scene


def probes(scene: Scene, wording: Wording) -> Iterator[dict[str, str]]:
    """A true caption and a false one for every class of words that the scene gives, told in the same words."""
    rng = wording.draws(scene, "probes")
    for word_class, change in CHANGES.items():
        key = int(rng.integers(2**31))
        other = change(scene, rng)
        if other is None:
            continue
        # both sentences draw the same numbers, and say the same of the same
        true, false = (
            tell(each, SteadySpeaker(wording.draws(each, "probes"), False, key=key, has_more_words=wording.is_rich))
            for each in (scene, other)
        )
        if true != false:
            yield {"class": word_class, "caption": true, "changed": false}
