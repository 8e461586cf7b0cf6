"""Where the media of a benchmark are on disk, whatever folder and container a copy of it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from clover.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, walk_files
from clover.errors import DataError
from clover.types import Cloze, MultiChoice, OpenEnded, Pair

AnyRecord = Pair | MultiChoice | OpenEnded | Cloze

Record = TypeVar("Record", Pair, MultiChoice, OpenEnded, Cloze)

MissingMedia = Literal["error", "drop", "wrong"]
"""What to do about rows without media: refuse, leave them out, or keep them to be counted as wrong answers."""

POLICIES: tuple[MissingMedia, ...] = ("error", "drop", "wrong")


def media_stem(name: str) -> str:
    """A file name without the ending of a video or image, or without a bare dot at its end.

    Other endings stay: the time stamp in ``1901_Film_00.10.00.123-00.10.04.456`` is no extension.
    """
    stem, dot, ending = name.rpartition(".")
    if stem and dot and (not ending or f".{ending.lower()}" in VIDEO_SUFFIXES | IMAGE_SUFFIXES):
        return stem
    return name


def _is_media(name: str) -> bool:
    return media_stem(name) != name or "." not in name  # some copies have no extension at all


class MediaIndex:
    """The files below a folder by relative path, by name and by stem; names that begin with a dot are passed over.

    Build it with ``MediaIndex.build``, once per folder.
    """

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self.root = Path(root)
        self._relative = {path.relative_to(root).as_posix(): path for path in files}
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in files:
            self._by_name.setdefault(path.name, []).append(path)
            if _is_media(path.name):
                self._by_stem.setdefault(media_stem(path.name), []).append(path)

    @classmethod
    def build(cls, root: Path) -> MediaIndex:
        """Walk a folder at any depth; links are followed.

        Raises:
            DataError: The folder does not exist or holds no media.
            MediaError: A folder in it cannot be read.
        """
        root = Path(root)
        if not root.is_dir():
            raise DataError(f"{root}: expected a folder of videos, found none; check the path")
        index = cls(root, sorted(walk_files(root)))
        if not index._by_stem:
            raise DataError(f"{root}: expected videos or images, found none at any depth; check the path")
        return index

    def __len__(self) -> int:
        return sum(map(len, self._by_stem.values()))

    def candidates(self, locator: Path) -> list[Path]:
        """The files that a relative path may mean, those of the first rule that any meets.

        The rules: the path itself; its file name in any folder; its stem with any video or image ending. Links to one
        file count once.
        """
        exact = self._relative.get(locator.as_posix())
        found = [exact] if exact else self._by_name.get(locator.name) or self._by_stem.get(media_stem(locator.name), [])
        there = [path for path in found if path.is_file()]  # a link may lead nowhere
        return there if len(there) < 2 else sorted({path.resolve(): path for path in reversed(there)}.values())


@dataclass(frozen=True, kw_only=True)
class Located(Generic[Record]):
    """Records with the paths of their media.

    Attributes:
        records: Rows to use, in their order; under the policy "wrong" those without media are among them.
        missing: Rows without media, under every policy.
        ambiguous: What each name that several files bear stands for: the first is used.
    """

    records: tuple[Record, ...]
    missing: tuple[Record, ...]
    ambiguous: dict[Path, tuple[Path, ...]]

    @property
    def missing_indices(self) -> frozenset[int]:
        """``index`` of the rows without media: an evaluation counts those among ``records`` as wrong."""
        return frozenset(record.index for record in self.missing)

    def summary(self) -> list[str]:
        """Lines that say how many rows are touched; none when all is well."""
        lines = []
        if self.missing:
            total = len({record.index for record in (*self.records, *self.missing)})
            kept = any(record.index in self.missing_indices for record in self.records)
            fate = "kept, to be counted as wrong" if kept else "left out"
            first = self.missing[0].video
            lines.append(f"{len(self.missing):,} of {total:,} rows have no media file (first: {first}); {fate}")
        if self.ambiguous:
            name, files = next(iter(self.ambiguous.items()))
            lines.append(f"{len(self.ambiguous):,} names stand for several files (first: {name}); {files[0]} is used")
        return lines


def locate(records: Sequence[Record], index: MediaIndex, policy: MissingMedia) -> Located[Record]:
    """Replace the publisher's relative path of every record by the path of the file.

    Args:
        records: What a reader returned.
        index: The folder of media.
        policy: What to do about rows without media.

    Raises:
        DataError: Under "error": a file is missing, or several bear its name. Under every policy: no file is found
            for any record, or there is no such policy.
    """
    if policy not in POLICIES:
        raise DataError(f"there is no policy {policy!r} for missing media; choose from {', '.join(POLICIES)}")
    found = {video: index.candidates(video) for video in {record.video for record in records}}
    missing = tuple(record for record in records if not found[record.video])
    ambiguous = {record.video: tuple(found[record.video]) for record in records if len(found[record.video]) > 1}
    if missing and (policy == "error" or len(missing) == len(records)):
        remedy = ", or leave these rows out with --missing drop" if len(missing) < len(records) else ""
        raise DataError(
            f"{index.root}: {len(missing):,} of {len(records):,} rows have no media file (first: "
            f"{missing[0].video}); check the folder{remedy}"
        )
    if ambiguous and policy == "error":
        name, files = next(iter(ambiguous.items()))
        raise DataError(f"{index.root}: {name} may be {' or '.join(map(str, files[:3]))}; keep one of them")
    kept = records if policy == "wrong" else [record for record in records if found[record.video]]
    return Located(
        records=tuple(
            replace(record, video=found[record.video][0]) if found[record.video] else record for record in kept
        ),
        missing=missing,
        ambiguous=ambiguous,
    )
