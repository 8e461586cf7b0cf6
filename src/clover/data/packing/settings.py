"""What a pack is made with, which of its parts a process makes, and the note in its folder that says so."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clover.data.packing.encoding import EncodingConfig
from clover.errors import ConfigError, DataError
from clover.files import check_writable, write_text

_FORMAT = {"format": "clover-pack", "version": 1}
_NOTE = "pack.json"
_MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class PackingConfig:
    """What is put into shards."""

    encoding: EncodingConfig = field(default_factory=EncodingConfig)
    """What becomes of videos and images."""
    tagger: str = "hanta"
    """Who tags the captions: hanta, nltk, or spacy: and the name or path of a pipeline."""
    shard_megabytes: int = 256
    """Size at which a shard is full."""
    samples_per_shard: int = 0
    """Number of samples at which a shard is full, whatever its size; 0 lets the size decide."""

    def __post_init__(self) -> None:
        """Refuse shards of nothing."""
        if self.shard_megabytes < 1:
            raise ConfigError(f"shard_megabytes is {self.shard_megabytes}; use 1 or more")
        if self.samples_per_shard < 0:
            raise ConfigError(f"samples_per_shard is {self.samples_per_shard}; use 1 or more, or 0 for no such limit")

    def is_full(self, num_samples: int, num_bytes: int) -> bool:
        """Whether a shard of so many samples and bytes takes no more."""
        if self.samples_per_shard:
            return num_samples >= self.samples_per_shard
        return num_bytes >= self.shard_megabytes * _MEGABYTE


@dataclass(frozen=True, kw_only=True, order=True)
class Part:
    """One of ``count`` parts of a pack, counted from 0, each made on its own from a run of neighbouring samples."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Refuse a part that is not among the parts."""
        if self.count < 1:
            raise ConfigError(f"part {self.index}/{self.count}: there must be 1 part or more")
        if not 0 <= self.index < self.count:
            raise ConfigError(
                f"part {self.index}/{self.count} does not exist; they are counted from 0/{self.count} to "
                f"{self.count - 1}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> Part:
        """The part that ``i/n`` names.

        Raises:
            ConfigError: it is written otherwise, or i is not from 0 to n - 1.
        """
        match = re.fullmatch(r"(-?\d{1,9})/(-?\d{1,9})", text)
        if match is None:
            raise ConfigError(f"part {text!r} is not of the form i/n, such as 0/8 for the first of eight")
        return cls(index=int(match[1]), count=int(match[2]))

    def positions(self, num_samples: int) -> range:
        """Which samples of a source belong to it; those of all parts make up the source, in order."""
        return range(num_samples * self.index // self.count, num_samples * (self.index + 1) // self.count)


def claim(out: Path, config: PackingConfig, num_parts: int, source: dict[str, Any]) -> None:
    """Note in a new folder what is packed there, or find the same note; safe for parts that begin at once.

    Args:
        out: Folder of the pack; made when it is not there.
        config: What goes into the shards.
        num_parts: How many parts there are.
        source: What is packed. ``path`` is for the reader: a source may move.

    Raises:
        DataError: the folder holds something else, or a pack of other settings, which are named.
        WriteError: it cannot be written.
    """
    note = {**_FORMAT, "num_parts": num_parts, "source": source, "settings": asdict(config)}
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; choose a folder")
    check_writable(out)
    # Listed first: another part writes its note before anything else, so whatever is seen here comes with one.
    content = [path.name for path in out.iterdir() if not path.name.startswith(".")] if out.exists() else []
    if (out / _NOTE).is_file():
        there, asked = _flat(_read_note(out)), _flat(note)
        differing = [
            f"{name} {there.get(name)}, not {value}" for name, value in asked.items() if there.get(name) != value
        ]
        if differing:
            raise DataError(f"{out} holds a pack of other settings ({'; '.join(differing)}); choose another folder")
        return
    if content:
        raise DataError(f"{out} is not empty and holds no pack; choose another folder")
    write_text(out / _NOTE, json.dumps(note, indent=2) + "\n")


def _read_note(out: Path) -> dict[str, Any]:
    try:
        note = json.loads((out / _NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{out / _NOTE} is not readable ({error}); choose another folder, or remove this one"
        ) from error
    if not isinstance(note, dict) or any(note.get(name) != value for name, value in _FORMAT.items()):
        raise DataError(
            f"{out / _NOTE} does not describe a pack of version {_FORMAT['version']}; choose another folder"
        )
    return note


def _flat(note: dict[str, Any]) -> dict[str, Any]:
    """Settings by name, without what does not tell one pack from another."""
    settings = dict(note.get("settings") or {})
    encoding = settings.pop("encoding", None) or {}
    source = {f"source {name}": value for name, value in (note.get("source") or {}).items() if name != "path"}
    return {"num_parts": note.get("num_parts"), **source, **settings, **encoding}
