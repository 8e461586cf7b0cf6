"""What can be packed: caption files with loose media, generated corpora, tars of another maker."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, SupportsIndex

from clover.data.corpora.cc3m import read_cc3m
from clover.data.corpora.corpus import Corpus
from clover.data.corpora.index_files import load_or_index
from clover.data.corpora.loose import LooseCorpus
from clover.data.corpora.shard_index import ShardIndex
from clover.data.corpora.shards import ShardCorpus
from clover.data.corpora.webvid import read_webvid
from clover.data.shapes.corpus import read_pairs
from clover.errors import ConfigError, DataError
from clover.types import Pair

SourceFormat = Literal["auto", "webvid", "cc3m", "shapes", "shards"]

_BY_ENDING: dict[str, SourceFormat] = {".csv": "webvid", ".tsv": "cc3m", ".tar": "shards"}


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where a source is, and how to read it."""

    path: str
    """A caption file, a generated corpus, or tars: a file, a folder, or a pattern such as 'shards/*.tar'."""
    media: str = ""
    """Folder of the videos or images that a caption file names; the file's own folder when empty."""
    format: SourceFormat = "auto"
    """How to read it; auto goes by the ending: .csv is WebVid, .tsv CC3M, .tar shards, a folder what it holds."""
    split: str = "train"
    """Split of a generated corpus."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """An opened source.

    Attributes:
        corpus: Its samples.
        about: What tells this source from others: format, a fingerprint, the number of samples; and its path.
        remarks: What of it can be no sample, one line a kind.
        problems: Every row, tar and member of a tar that can be no sample, and why.
    """

    corpus: Corpus
    about: dict[str, Any]
    remarks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.corpus)

    def captions(self, position: SupportsIndex) -> tuple[str, ...]:
        """The texts of a sample, at least one."""
        if isinstance(self.corpus, GroupedPairs):
            return self.corpus.captions(position)
        return (self.corpus.caption(position),)


class GroupedPairs:
    """A corpus of pairs, in which the captions of a video make one sample."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        groups: dict[str, list[Pair]] = {}
        for pair in pairs:
            groups.setdefault(pair.video_id, []).append(pair)
        self._groups = list(groups.values())

    def __len__(self) -> int:
        return len(self._groups)

    def caption(self, position: SupportsIndex) -> str:
        """The first text."""
        return self._groups[position][0].text

    def captions(self, position: SupportsIndex) -> tuple[str, ...]:
        """All texts."""
        return tuple(pair.text for pair in self._groups[position])

    def media(self, position: SupportsIndex) -> Path:
        """The video."""
        return self._groups[position][0].video

    def name(self, position: SupportsIndex) -> str:
        """The video's name in the corpus."""
        return self._groups[position][0].video_id


def open_source(options: SourceOptions) -> Source:
    """Open a source.

    Raises:
        DataError: there is none, it has another form than its format, or no sample.
        ConfigError: its format cannot be told from its name, or is not known.
    """
    kind = _format(options)
    if kind == "shards":
        return _open_tars(options)
    path = Path(options.path)
    if kind == "shapes":
        corpus: Corpus = GroupedPairs(read_pairs(path, options.split))
        if not len(corpus):
            raise DataError(f"{path}: its split {options.split!r} is empty; choose another with --split")
        return Source(corpus=corpus, about=_about(options, kind, corpus, _digest_of(path / f"{options.split}.jsonl")))
    folder = Path(options.media) if options.media else path.parent
    table = (read_webvid if kind == "webvid" else read_cc3m)(path, folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of the media, found none; name it with --media")
    corpus = LooseCorpus(table)
    about = _about(options, kind, corpus, _digest_of(path))
    problems = tuple(map(str, table.problems))
    return Source(corpus=corpus, about=about, remarks=tuple(table.problems.summary()), problems=problems)


def _format(options: SourceOptions) -> SourceFormat:
    if options.format != "auto":
        if options.format not in ("webvid", "cc3m", "shapes", "shards"):
            raise ConfigError(f"unknown format {options.format!r}; use auto, webvid, cc3m, shapes or shards")
        return options.format
    path = Path(options.path)
    if path.is_dir():
        has_tars = any(path.glob("*.tar"))  # a generated corpus may be written as tars, too
        return "shapes" if (path / "corpus.json").is_file() and not has_tars else "shards"
    if not path.exists():
        if glob.has_magic(options.path):
            return "shards"
        raise DataError(f"{path}: no such file or folder; check the path")
    if path.suffix.lower() not in _BY_ENDING:
        raise ConfigError(f"{path}: what it is cannot be told from its ending; name it with --format")
    return _BY_ENDING[path.suffix.lower()]


def _open_tars(options: SourceOptions) -> Source:
    """Tars of which some may be no tars at all: those cost their own samples."""
    shards = _tars(options.path)
    indexes: list[ShardIndex] = []
    unusable: list[str] = []
    for shard in shards:
        try:
            indexes.append(load_or_index(shard, None))
        except DataError as error:
            unusable.append(str(error))
    corpus = ShardCorpus(indexes)
    problems = [str(problem) for problem in corpus.problems]
    if not len(corpus):
        first = next(iter([*unusable, *problems]), "none has a sample with media and a caption")
        raise DataError(
            f"{options.path}: expected samples in {len(shards)} tars, found none; the first problem: {first}"
        )
    remarks = [
        f"{len(lines):,} {what} (the first: {lines[0]})"
        for lines, what in (
            (unusable, "tars cannot be read"),
            (problems, "problems in tars"),
            ([f"{failed.key}, {failed.status}" for failed in corpus.failed], "samples were never fetched"),
        )
        if lines
    ]
    digest = hashlib.blake2b(digest_size=16)
    for shard in corpus.shards:
        digest.update(f"{shard.name} {shard.stat().st_size}\n".encode("utf-8", "surrogateescape"))
    about = _about(options, "shards", corpus, digest.hexdigest())
    return Source(corpus=corpus, about=about, remarks=tuple(remarks), problems=(*unusable, *problems))


def _tars(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        found = sorted(child for child in path.glob("*.tar") if not child.name.startswith("."))
        expected = "*.tar files, or corpus.json of a generated corpus, in this folder"
    elif path.exists():
        return [path]
    else:
        found = sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207 (a pattern may begin anywhere)
        expected = "tars that this path or pattern names"
    if not found:
        raise DataError(f"{text}: expected {expected}, found none; check the path")
    return found


def _about(options: SourceOptions, kind: SourceFormat, corpus: Corpus, fingerprint: str) -> dict[str, Any]:
    split = {"split": options.split} if kind == "shapes" else {}
    path = options.path if glob.has_magic(options.path) else str(Path(options.path).resolve())
    return {"format": kind, **split, "num_samples": len(corpus), "fingerprint": fingerprint, "path": path}


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
