"""``library.json``: what made the vectors of a library in a folder, and which files count. Version 1 is read too."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clover.errors import LibraryError
from clover.files import write_text
from clover.search.interface import Moment, SearchOptions
from clover.search.segment import Segment

_FORMAT = "clover-library"
_VERSION = 2
_KINDS: dict[int, dict[str, type]] = {
    1: {"fingerprint": str, "width": int, "details": dict, "generation": int, "num_moments": int, "checksum": int},
    2: {
        "fingerprint": str,
        "width": int,
        "details": dict,
        "generation": int,
        "options": dict,
        "segments": list,
        "removed": dict,
        "checksum": str,
    },
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is written last, by a rename: with it a state of the library begins to count."""

    fingerprint: str
    width: int
    details: dict[str, Any]
    generation: int
    """Counts the saves."""
    options: SearchOptions = field(default_factory=SearchOptions)
    segments: list[dict[str, Any]] = field(default_factory=list)
    """Entries as of `clover.search.segment_files`."""
    removed: dict[str, list[int]] = field(default_factory=dict)
    """Per segment number, which of its videos were removed."""
    version: int = _VERSION
    num_moments: int = 0
    """Of version 1."""
    checksum: int = 0
    """Of version 1: CRC-32 of the moments' file."""

    def write(self, folder: Path) -> None:
        """Make this the state of the library.

        Raises:
            WriteError: the folder cannot be written, or the disk is full; the previous state is intact.
        """
        plain = {"format": _FORMAT, **{name: value for name, value in asdict(self).items() if name in _KINDS[2]}}
        plain["version"] = _VERSION
        write_text(folder / "library.json", json.dumps(plain | {"checksum": _digest(plain)}, indent=1) + "\n")


def _digest(plain: dict[str, Any]) -> str:
    """SHA-256 of a header without its checksum."""
    rest = {name: value for name, value in plain.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def generation_of(folder: Path) -> int:
    """Number of the last save; 0 where there is no library yet."""
    return read_header(folder).generation if (folder / "library.json").is_file() else 0


def read_header(folder: Path) -> Header:
    """Read ``library.json``.

    Raises:
        LibraryError: it is missing, broken, or of a later version.
    """
    path = folder / "library.json"
    if not path.is_file():
        raise LibraryError(f"{folder} is not a library: it has no library.json; make one with clover index")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LibraryError(f"{path} is not readable ({error}); index again in another folder") from error
    if not isinstance(plain, dict) or plain.get("format") != _FORMAT:
        raise LibraryError(f"{path} does not describe a library; make one with clover index")
    version = plain.get("version")
    if version not in _KINDS:
        raise LibraryError(
            f"{folder} is of version {version}; this program reads versions up to {_VERSION}: use a newer Clover"
        )
    broken = [name for name, kind in _KINDS[version].items() if not isinstance(plain.get(name), kind)]
    if broken:
        raise LibraryError(f"{path} lacks {', '.join(broken)}; index again in another folder")
    named = {name: plain[name] for name in _KINDS[version] if name != "checksum"}
    if version == 1:
        return Header(**named, version=1, checksum=plain["checksum"])
    if plain["checksum"] != _digest(plain):
        raise LibraryError(f"{path} is damaged: it is not as it was written; index again in another folder")
    return Header(**named | {"options": SearchOptions(**named["options"])})


def open_version_1(folder: Path, header: Header) -> Segment:
    """The moments and vectors of a library of version 1, as a segment that the next save writes anew.

    Raises:
        LibraryError: it is incomplete or damaged.
    """
    try:
        content = (folder / f"moments-{header.generation:06d}.jsonl").read_bytes()
        path = folder / f"vectors-{header.generation:06d}.npy"
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise LibraryError(f"{folder} is incomplete ({error}); index again in another folder") from error
    shape = (header.num_moments, header.width)
    if vectors.shape != shape or vectors.dtype != np.float32 or zlib.crc32(content) != header.checksum:
        raise LibraryError(f"{folder} is damaged: its files do not belong together; index again in another folder")
    return Segment.of([Moment(**json.loads(line)) for line in content.decode().splitlines()], vectors)
