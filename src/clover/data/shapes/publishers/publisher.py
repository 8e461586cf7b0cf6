"""What every publisher's layout has in common: one clip per scene, rows for its annotation files, invented names."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from clover.data.shapes.media import write_media
from clover.data.shapes.sampling import ShapesConfig, sample_scene
from clover.data.shapes.scene import Scene
from clover.data.shapes.vocabulary import SPLITS
from clover.data.shapes.writing import Job, Made, Rows, chunks_of
from clover.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One scene as a publisher has it.

    Attributes:
        media: Path of its media file within the folder, with forward slashes.
        rows: Its rows by annotation file; where there are none, no media file is written either.
    """

    media: str
    rows: Rows


@runtime_checkable
class Publisher(Protocol):
    """How one publisher names media and writes annotations."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the generated corpus that the publisher has a file for."""

    def scene(self, config: ShapesConfig, split: str, index: int) -> Scene:
        """Draw one scene."""

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name one scene's media and make its rows."""

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """Content of every annotation file by its path, from the rows of all clips in order of split and number."""

    def write(self, path: Path, scene: Scene, config: ShapesConfig) -> bool:
        """Write the media file of one scene unless it is there, and return whether it was written."""


class VideoPublisher:
    """A publisher whose media are whole videos of all three splits."""

    splits: tuple[str, ...] = SPLITS

    def scene(self, config: ShapesConfig, split: str, index: int) -> Scene:
        """Draw a scene as the corpus's own format has it."""
        return sample_scene(config, split, index)

    def write(self, path: Path, scene: Scene, config: ShapesConfig) -> bool:
        """Write the scene as the video or GIF that its name says."""
        return write_media(path, scene)


@dataclass(frozen=True)
class PublisherLayout:
    """The layout of one publisher, for `write_layout`."""

    name: str
    publisher: Publisher

    def chunks(self, config: ShapesConfig) -> list[list[Job]]:
        """The videos of the publisher's splits, sixteen at a time."""
        return chunks_of(jobs_of(config, self.publisher.splits))

    def make(self, folder: Path, config: ShapesConfig, jobs: list[Job]) -> Made:
        """Write the media of one chunk unless they are there."""
        rows: list[tuple[Job, Rows]] = []
        media: list[str] = []
        num_written = 0
        for split, index in jobs:
            scene = self.publisher.scene(config, split, index)
            clip = self.publisher.clip(scene, config)
            if any(clip.rows.values()):
                num_written += self.publisher.write(folder / clip.media, scene, config)
                media.append(clip.media)
            rows.append(((split, index), clip.rows))
        return Made(rows=rows, media=media, num_written=num_written)

    def texts(self, config: ShapesConfig, rows: Sequence[tuple[Job, Rows]]) -> dict[str, str]:
        """Content of the publisher's annotation files."""
        joined: Rows = {}
        for _, clip_rows in rows:
            for name, some in clip_rows.items():
                joined.setdefault(name, []).extend(some)
        return self.publisher.texts(config, joined)

    def files(self, config: ShapesConfig, summary: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The files that corpus.json lists."""
        return files_listed(summary)

    def summary(self, annotations: list[str], media: list[str]) -> dict[str, Any]:
        """List the files: their names follow from the scenes, which would have to be drawn again to tell."""
        return {"annotations": annotations, "media": media}


def files_listed(summary: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Media and annotation files that a corpus.json lists.

    Raises:
        DataError: it lists none.
    """
    lists = summary.get("media"), summary.get("annotations")
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise DataError("corpus.json does not list the files of the corpus; write it again into another folder")
    return list(lists[0] or []), list(lists[1] or [])


def jobs_of(config: ShapesConfig, splits: Sequence[str]) -> list[Job]:
    """Every video of some splits."""
    return [(split, index) for split in splits for index in range(config.num_videos_per_split[split])]


def number_of(scene: Scene, config: ShapesConfig, ranges: Mapping[str, range]) -> int:
    """Return the number of a video in a publisher's count, training before validation before testing.

    Numbers lie in the publisher's own ranges as long as all videos fit in there; else one follows the other.

    Args:
        scene: Whose number to return.
        config: How many videos there are.
        ranges: Numbers of every split in the original.
    """
    counts = config.num_videos_per_split
    if all(counts[split] <= len(numbers) for split, numbers in ranges.items()):
        return ranges[scene.split][scene.index]
    before = SPLITS[: SPLITS.index(scene.split)]
    return ranges["train"].start + sum(counts[split] for split in before) + scene.index


def digest(config: ShapesConfig, scene: Scene, use: str) -> bytes:
    """32 bytes that look random and name one scene for one use."""
    words = f"{use} {config.seed} {scene.split} {scene.index}"
    return hashlib.blake2b(words.encode(), digest_size=32).digest()


def youtube_id(config: ShapesConfig, scene: Scene) -> str:
    """An invented id of eleven characters; some begin with ``-`` or ``_``, and some have one inside."""
    name = base64.urlsafe_b64encode(digest(config, scene, "youtube")).decode()[:11]
    first = {0: "_", 1: "-"}.get(scene.index % 5, name[0])
    middle = {0: "_", 2: "-"}.get(scene.index % 3, name[5])
    return first + name[1:5] + middle + name[6:]


def digits(data: bytes, count: int) -> str:
    """A decimal number of that many digits; the first is not 0."""
    low = 10 ** (count - 1)
    return str(low + int.from_bytes(data[:8], "big") % (9 * low))


def letters(data: bytes, count: int) -> str:
    """Lower-case letters and figures."""
    return base64.b32encode(data).decode().lower()[:count]
