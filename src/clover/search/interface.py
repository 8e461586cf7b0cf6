"""What an index of moments does, wherever it is kept; the records that go in and come out. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from clover.errors import LibraryError


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A window of a video.

    Attributes:
        video: Path of the file.
        start_seconds: Where the window begins.
        end_seconds: Where it ends.
        signature: State of the file when it was indexed, to notice changes.
        modified: When the file was last modified, in seconds since 1970; 0 where nobody noted it.
        video_seconds: How long the whole video is; 0 where nobody noted it.
        tags: Words that filters may ask for.
    """

    video: str
    start_seconds: float
    end_seconds: float
    signature: str
    modified: float = 0.0
    video_seconds: float = 0.0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A moment that was found; the score is the cosine similarity, -1 to 1."""

    moment: Moment
    score: float


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which videos a search is about; what is not given admits everything."""

    folder: str = ""
    """Only videos below this folder, by its path as it was when they were indexed."""
    since: float | None = None
    """Only files modified at this time or later, in seconds since 1970."""
    until: float | None = None
    """Only files modified at this time or earlier, in seconds since 1970."""
    min_seconds: float | None = None
    """Only videos of this length or longer."""
    max_seconds: float | None = None
    """Only videos of this length or shorter."""
    tags: tuple[str, ...] = ()
    """Only videos with all of these tags."""
    video: str = ""
    """Only this one, by its path."""

    def __post_init__(self) -> None:
        for low, high, what in (
            (self.since, self.until, "modified"),
            (self.min_seconds, self.max_seconds, "seconds long"),
        ):
            if low is not None and high is not None and low > high:
                raise LibraryError(
                    f"no video is {what} at least {low:g} and at most {high:g}; give the smaller bound first"
                )

    @property
    def prefix(self) -> str:
        """How the paths of admitted videos begin."""
        return f"{self.folder.rstrip('/')}/" if self.folder else ""

    def admits(self, video: VideoRecord) -> bool:
        """Whether moments of a video may be found."""
        return (
            video.video.startswith(self.prefix)
            and self.video in ("", video.video)
            and (self.since is None or video.modified >= self.since)
            and (self.until is None or video.modified <= self.until)
            and (self.min_seconds is None or video.video_seconds >= self.min_seconds)
            and (self.max_seconds is None or video.video_seconds <= self.max_seconds)
            and set(self.tags) <= set(video.tags)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoRecord:
    """What the moments of a video have in common; fields as in `Moment`."""

    video: str
    signature: str
    modified: float
    video_seconds: float
    tags: tuple[str, ...]

    @classmethod
    def of(cls, moment: Moment) -> VideoRecord:
        """The video of a moment."""
        return cls(
            video=moment.video,
            signature=moment.signature,
            modified=moment.modified,
            video_seconds=moment.video_seconds,
            tags=moment.tags,
        )

    def moment(self, start_seconds: float, end_seconds: float) -> Moment:
        """A moment of this video."""
        return Moment(
            video=self.video,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            signature=self.signature,
            modified=self.modified,
            video_seconds=self.video_seconds,
            tags=self.tags,
        )


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How an index searches; remembered in the library."""

    exact_up_to: int = 100_000
    """Up to so many moments each is compared; above, they are compressed when the library is compacted."""
    target_recall: float = 0.95
    """Share of the ten exact nearest that a compressed search must find, measured on the library's own vectors."""

    def __post_init__(self) -> None:
        if not 0 < self.target_recall <= 1:
            raise LibraryError(f"a target recall of {self.target_recall} is none; give one above 0 and at most 1")
        if self.exact_up_to < 0:
            raise LibraryError(f"exact search up to {self.exact_up_to} moments is none; give at least 0")


@dataclass(frozen=True, kw_only=True)
class Information:
    """What `clover library info` shows."""

    place: str
    fingerprint: str
    width: int
    num_videos: int
    num_moments: int
    details: dict[str, Any]
    search: list[dict[str, Any]]
    """How each part is searched: its kind, moments and bytes, and of compressed ones the settings and recall."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found; without problems, everything is as it was written."""

    num_files: int
    """Files that were read, or collections of a server."""
    num_moments: int
    """Moments whose vectors were read."""
    problems: list[str]
    num_unproven: int = 0
    """Moments without checksums: of a folder that an early version wrote, until it is saved again."""


class Index(ABC):
    """Normalised vectors of moments. What is added or removed is searched at once, and kept by `save`."""

    place: str
    width: int
    fingerprint: str
    details: dict[str, Any]
    options: SearchOptions
    sample_queries: Float32[np.ndarray, "q d"] | None = None
    """Queries as they will be asked, normalised: `compact` measures recall on them too. Not kept."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of moments."""

    @property
    @abstractmethod
    def moments(self) -> list[Moment]:
        """All moments, in the order they were added; made anew at each call, so not for millions."""

    @abstractmethod
    def video_records(self) -> list[VideoRecord]:
        """Distinct videos, in the order they were added."""

    def videos(self) -> list[str]:
        """Paths of the distinct videos, in the order they were added."""
        return [record.video for record in self.video_records()]

    @abstractmethod
    def moments_of(self, video: str) -> list[Moment]:
        """The moments of one video, in the order they were added."""

    @abstractmethod
    def add(self, moments: Sequence[Moment], vectors: Float[np.ndarray, "n d"]) -> None:
        """Add moments with one vector each, of any length; nothing is kept before `save`.

        Raises:
            LibraryError: vectors of another number or width, or not finite.
        """

    def remove(self, video: str) -> int:
        """Take all moments of a video out; returns how many there were."""
        return self.remove_all([video])

    @abstractmethod
    def remove_all(self, videos: Collection[str]) -> int:
        """Take all moments of some videos out; returns how many there were."""

    @abstractmethod
    def nearest(
        self, queries: Float[np.ndarray, "*q d"], num_results: int, where: Filter | None = None
    ) -> list[list[Hit]]:
        """The best moments of every query, best first; equal scores in the order of adding.

        Args:
            queries: One vector or several, of any length.
            num_results: Most hits per query; fewer only where fewer moments are admitted.
            where: Which videos are admitted; decided inside the search, so that nothing admitted is lost.

        Raises:
            LibraryError: queries of another width.
        """

    @abstractmethod
    def vectors_of(self, moments: Sequence[Moment]) -> Float32[np.ndarray, "n d"]:
        """The normalised vectors of moments of this index (of compressed ones, as they were kept).

        Raises:
            LibraryError: a moment that is not in it.
        """

    @abstractmethod
    def save(self) -> None:
        """Keep everything; the previous state stays until the new one is whole.

        Raises:
            LibraryError: another command is changing the library, or has done so since it was opened.
            WriteError: the folder cannot be written or the disk is full; the previous state is intact.
        """

    @abstractmethod
    def compact(self) -> None:
        """Save; let go of what was removed, and search as the number of moments asks for (`SearchOptions`).

        Raises:
            LibraryError, WriteError: as `save`.
        """

    @abstractmethod
    def is_due(self) -> bool:
        """Whether so much was added or removed that `compact` is worth its time."""

    @abstractmethod
    def verify(self) -> Verification:
        """Read everything and compare it with the checksums taken when it was written."""

    @abstractmethod
    def information(self) -> Information:
        """What there is, and how it is searched."""

    @abstractmethod
    def is_current(self) -> bool:
        """Whether the library is still as it was when it was opened or last saved by this object."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Keep other commands from changing this library meanwhile; the lock ends with the process at the latest.

        Raises:
            LibraryError: another command is changing it, or has done so since it was opened.
            WriteError: the folder cannot be written.
        """

    @abstractmethod
    def migration(self, *, width: int, fingerprint: str, details: dict[str, Any]) -> Index:
        """The library that is to take this one's place, made by another model; what an earlier call began goes on.

        Raises:
            LibraryError: a migration to a third model was begun.
        """

    @abstractmethod
    def adopt(self, successor: Index) -> None:
        """Take everything over from the result of `migration`, in one transaction, and let go of that.

        Raises:
            LibraryError, WriteError: as `save`.
        """


def checked(moments: Sequence[Moment], vectors: Float[np.ndarray, "n d"], width: int) -> Float32[np.ndarray, "n d"]:
    """Vectors to be added, at length one.

    Raises:
        LibraryError: vectors of another number or width, or not finite.
    """
    if vectors.shape != (len(moments), width):
        raise LibraryError(f"{len(moments)} moments need vectors of shape {(len(moments), width)}, not {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise LibraryError("a vector is not finite: the model's embeddings are broken")
    return unit(vectors)


def checked_queries(queries: Float[np.ndarray, "*q d"], width: int) -> Float32[np.ndarray, "q d"]:
    """Queries as rows of length one.

    Raises:
        LibraryError: queries of another width.
    """
    rows = np.atleast_2d(np.asarray(queries, dtype=np.float32))
    if rows.shape[1] != width:
        raise LibraryError(f"queries have width {rows.shape[1]}; this library has width {width}")
    return unit(rows)


def unit(vectors: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Rows at length one."""
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-8)
    return (vectors / norms).astype(np.float32)


def refuse_other_model(place: str, fingerprint: str, wanted: str | None, details: dict[str, Any]) -> None:
    """Vectors of two models have nothing in common.

    Raises:
        LibraryError: the library was made by another model than the wanted one.
    """
    if wanted is not None and fingerprint != wanted:
        raise LibraryError(
            f"{place} was made by model {fingerprint}, and this is model {wanted}: "
            f"their vectors cannot be compared; use the model that made it ({details.get('checkpoint')}), "
            "take it over with clover library migrate, or index again in another folder"
        )
