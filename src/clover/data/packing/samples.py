"""One sample of a source to the members of a shard, or to the reason why not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clover.data.packing.encoding import encode_media
from clover.data.packing.settings import PackingConfig
from clover.data.packing.sources import Source
from clover.data.packing.tags import tags_as_json
from clover.data.tagging import load_tagger
from clover.errors import MediaError, TextError


@dataclass(frozen=True, kw_only=True)
class SampleJob:
    """What is known of a sample before its media are read.

    Attributes:
        position: Its place in the source, from 0; the key in the shard.
        name: What the source calls it.
        source: Format of the source.
        captions: Its texts, at least one.
        media: A path, which need not exist, or the bytes of a file.
    """

    position: int
    name: str
    source: str
    captions: tuple[str, ...]
    media: Path | bytes


@dataclass(frozen=True, kw_only=True)
class PackedSample:
    """Members of a shard, as ending and content, the media first."""

    key: str
    members: tuple[tuple[str, bytes], ...]
    duration_seconds: float


@dataclass(frozen=True, kw_only=True)
class BadSample:
    """A sample that is left out, and why."""

    position: int
    name: str
    reason: str

    def as_json(self) -> str:
        """A line of ``bad-PPPP.jsonl``."""
        # Names may hold bytes that are not UTF-8; JSON's escapes keep them.
        return json.dumps({"index": self.position, "name": self.name, "reason": self.reason})


def sample_jobs(source: Source, positions: Iterable[int]) -> Iterator[SampleJob | BadSample]:
    """The samples at these positions; media in tars are read here."""
    for position in positions:
        name = source.corpus.name(position)
        try:
            media = source.corpus.media(position)
        except MediaError as error:
            yield BadSample(position=position, name=name, reason=str(error))
            continue
        yield SampleJob(
            position=position,
            name=name,
            source=source.about["format"],
            captions=source.captions(position),
            media=media,
        )


def pack_sample(job: SampleJob | BadSample, config: PackingConfig) -> PackedSample | BadSample:
    """Encode the media and tag the captions; what is bad already stays so.

    The members are ``mp4`` or ``jpg``, ``txt`` (the first caption) and ``json``: ``tags`` as `read_tags` takes them,
    ``tagger`` (program, model and rules), ``duration`` in seconds, ``width``, ``height``, ``num_frames``, ``index`` and
    ``name`` in the ``source``; further captions in ``other_captions``, what could not be decoded in ``problem``.
    """
    if isinstance(job, BadSample):
        return job
    try:
        encoded = encode_media(job.media, config.encoding)
        tagger = load_tagger(config.tagger)
        tags = [tags_as_json(words) for words in tagger.tag(job.captions)]
    except (MediaError, TextError, MemoryError) as error:
        return BadSample(position=job.position, name=job.name, reason=str(error) or "too large for the memory")
    about: dict[str, Any] = {
        "index": job.position,
        "name": job.name,
        "source": job.source,
        "duration": round(encoded.duration_seconds, 6),
        "width": encoded.width,
        "height": encoded.height,
        "num_frames": encoded.num_frames,
        "tagger": tagger.identity,
        "tags": tags[0],
    }
    if len(job.captions) > 1:
        others = zip(job.captions[1:], tags[1:], strict=True)
        about["other_captions"] = [{"caption": caption, "tags": words} for caption, words in others]
    if encoded.problem is not None:
        about["problem"] = encoded.problem
    return PackedSample(
        key=f"{job.position:09d}",
        members=(
            (encoded.ending, encoded.content),
            ("txt", job.captions[0].encode("utf-8")),
            ("json", json.dumps(about).encode("ascii")),
        ),
        duration_seconds=encoded.duration_seconds,
    )
