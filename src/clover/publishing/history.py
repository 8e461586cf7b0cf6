"""Where weights come from: events in the order in which they happened, kept in the weights file itself. No torch.

A run's own record (`run.json`) lies beside a checkpoint and stays behind when the folder is copied; this goes along,
and through every run that starts from it. It holds names without folders, and nothing that differs from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from clover.config import from_plain, to_plain
from clover.errors import CheckpointError, ConfigError
from clover.types import Resized

HISTORY_KEY = "clover_history"
"""Of the metadata of a weights file."""

_SOURCES = {
    "corpus": ("clover-shapes", "generated moving shapes, made by this program: no recorded scenes, no people"),
    "webvid_annotations": ("webvid", "captioned web videos (WebVid)"),
    "video_shards": ("video shards", "tars of captioned videos; the records do not say from where"),
    "cc3m_annotations": ("cc3m", "captioned web images (Conceptual Captions)"),
    "image_shards": ("image shards", "tars of captioned images; the records do not say from where"),
}
"""By setting of a run's data: a name, and what it is."""


FINE_TUNING = "fine-tuning"
"""Title of such a run."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that made the weights what they are."""

    kind: Literal["import", "encoder", "start", "run", "teacher"]
    """A file of others that was imported, an encoder of transformers, a checkpoint that a run started from, a run of
    ours, or a checkpoint that was learned from."""
    title: str = ""
    """What the file was recognised as, the kind of the encoder's model, or what kind of run it was."""
    parts: tuple[str, ...] = ()
    """Parts of the network that it gave or changed; empty: all."""
    name: str = ""
    """Of the file or the model, without folders."""
    digest: str = ""
    """SHA-256 of the file, or the fingerprint of the weights."""
    data: tuple[str, ...] = ()
    """What a run was trained on."""
    num_steps: int = 0
    """Of a run."""
    fresh: tuple[str, ...] = ()
    """Parts that a file had no weights for, whole ones by name and others as `some_of` words them; they were drawn by
    chance."""
    resized: tuple[Resized, ...] = ()
    """Tables of positions that were resized on the way."""
    generation: int = 0
    """Whose weights it made: 0 these, 1 those of their teacher, 2 those of its teacher."""


def data_sources(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names of what a run was trained on, and what each is.

    Args:
        settings: Plain settings of the run's data.
    """
    return [about for setting, about in _SOURCES.items() if settings.get(setting)]


def fine_tunings(history: Iterable[Event]) -> set[str]:
    """What weights were fine-tuned on, not their teacher's: it travels with them, whatever lies beside them."""
    return {
        name
        for event in history
        if event.kind == "run" and event.title == FINE_TUNING and not event.generation
        for name in event.data
    }


def some_of(part: str, count: int, total: int) -> str:
    """A part of which some began fresh, as an event names it.

    Args:
        part: Its name.
        count: Tensors that began fresh.
        total: All that it has.
    """
    return f"{count} of {total} tensors of {part.replace('_', ' ')}"


def lacks_some_of(event: Event, part: str) -> bool:
    """Whether some, and not all, of a part began fresh; never of an event of an earlier version, which did not say."""
    return any(told.endswith(f" tensors of {part.replace('_', ' ')}") for told in event.fresh)


def kept_parts(history: Iterable[Event], parts: Sequence[str]) -> tuple[Event, ...]:
    """What is still to be told of weights of which only some parts were taken."""
    wanted = set(parts)
    return tuple(
        replace(event, resized=tuple(one for one in event.resized if one.part in wanted))
        for event in history
        if not event.parts or wanted & set(event.parts)
    )


def of_teacher(history: Iterable[Event], fingerprint: str) -> tuple[Event, ...]:
    """The history of a checkpoint that a student learns from, and that it does."""
    its = tuple(replace(event, generation=event.generation + 1) for event in history)
    return (*its, Event(kind="teacher", digest=fingerprint))


def of_stage(title: str, parts: tuple[str, ...], settings: Mapping[str, Any], num_steps: int) -> Event:
    """A stage of a run of ours.

    Args:
        title: What kind it is.
        parts: That it trained; empty: all.
        settings: Plain settings of its data.
        num_steps: Its length.
    """
    data = tuple(name for name, _ in data_sources(settings))
    return Event(kind="run", title=title, parts=parts, data=data, num_steps=num_steps)


def to_metadata(history: Sequence[Event]) -> dict[str, str]:
    """For a weights file; nothing where nothing is known."""
    return {HISTORY_KEY: json.dumps(to_plain(list(history)))} if history else {}


def from_metadata(metadata: Mapping[str, str], *, source: str) -> tuple[Event, ...]:
    """What `to_metadata` gave.

    Args:
        metadata: Of a weights file.
        source: Its name, for messages.

    Raises:
        CheckpointError: it is of another form.
    """
    if HISTORY_KEY not in metadata:
        return ()
    try:
        plain = json.loads(metadata[HISTORY_KEY])
        if not isinstance(plain, list):
            raise ConfigError("no list of events")
        return tuple(from_plain(Event, one, where=f"event {place}") for place, one in enumerate(plain, 1))
    except (ValueError, RecursionError, ConfigError) as error:
        raise CheckpointError(
            f"{source}: the history of its weights is damaged ({error}); copy the checkpoint again"
        ) from error
