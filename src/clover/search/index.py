"""An exact index of moments in a folder; every save is one transaction. No torch.

The folder holds ``library.json`` (what made the vectors, and which generation of the two data files counts),
``vectors-GENERATION.npy`` (memory-mapped) and ``moments-GENERATION.jsonl``. Data files are written first and
``library.json`` is renamed last, so that a kill at any instant leaves the previous or the new state.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float, Float32

from clover.errors import LibraryError
from clover.files import cannot_write, write_text, written_aside

_FORMAT = "clover-library"
_VERSION = 1
_BLOCK = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A window of a video.

    Attributes:
        video: Path of the file.
        start_seconds: Where the window begins.
        end_seconds: Where it ends.
        signature: State of the file when it was indexed, to notice changes.
        tags: What whoever indexed it called it.
        modified: When the file was last changed, in seconds since 1970.
        video_seconds: Length of the whole video.
    """

    video: str
    start_seconds: float
    end_seconds: float
    signature: str
    tags: tuple[str, ...] = ()
    modified: float = 0.0
    video_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A moment that was found; the score is the cosine similarity, -1 to 1."""

    moment: Moment
    score: float


class ExactIndex:
    """Normalised vectors of moments, searched one by one."""

    def __init__(
        self, folder: Path, *, width: int, fingerprint: str, details: dict[str, Any], generation: int = 0
    ) -> None:
        """Use `create` or `open`."""
        self.folder, self.width, self.fingerprint, self.details = folder, width, fingerprint, details
        self.moments: list[Moment] = []
        self._generation = generation
        self._saved: Float32[np.ndarray, "n d"] = np.zeros((0, width), dtype=np.float32)
        self._added: list[Float32[np.ndarray, "n d"]] = []

    @classmethod
    def create(cls, folder: Path, *, width: int, fingerprint: str, details: dict[str, Any]) -> ExactIndex:
        """Make an empty library in a new or empty folder.

        Args:
            folder: Where to put it.
            width: Width of the vectors.
            fingerprint: Of the model that makes them.
            details: Anything else worth keeping, as JSON values.

        Raises:
            LibraryError: the folder holds something else.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(path.name != ".lock" for path in folder.iterdir())):
            raise LibraryError(f"{folder} is not empty and not a library; choose another place")
        return cls(folder, width=width, fingerprint=fingerprint, details=details)

    @classmethod
    def open(cls, folder: Path, *, fingerprint: str | None = None) -> ExactIndex:
        """Open a library.

        Args:
            folder: Where it is.
            fingerprint: Of the model that will be used with it; None opens it just for looking.

        Raises:
            LibraryError: it is missing, broken, of a later version, or made by another model.
        """
        folder = Path(folder)
        header = _read_header(folder)
        if fingerprint is not None and header["fingerprint"] != fingerprint:
            raise LibraryError(
                f"{folder} was made by model {header['fingerprint']}, and this is model {fingerprint}: "
                "their vectors cannot be compared; use the model that made it "
                f"({header['details'].get('checkpoint')}), or index again in another folder"
            )
        index = cls(
            folder,
            width=header["width"],
            fingerprint=header["fingerprint"],
            details=header["details"],
            generation=header["generation"],
        )
        index._load(header)
        return index

    def _load(self, header: dict[str, Any]) -> None:
        vectors, moments = self._paths(self._generation)
        try:
            content = moments.read_bytes()
            self._saved = np.load(vectors, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise LibraryError(f"{self.folder} is incomplete ({error}); index again in another folder") from error
        shape = (header["num_moments"], self.width)
        if self._saved.shape != shape or self._saved.dtype != np.float32 or zlib.crc32(content) != header["checksum"]:
            raise LibraryError(
                f"{self.folder} is damaged: its files do not belong together; index again in another folder"
            )
        rows = [json.loads(line) for line in content.decode().splitlines()]
        self.moments = [Moment(**{**row, "tags": tuple(row.get("tags", ()))}) for row in rows]

    def _paths(self, generation: int) -> tuple[Path, Path]:
        return (
            self.folder / f"vectors-{generation:06d}.npy",
            self.folder / f"moments-{generation:06d}.jsonl",
        )

    def __len__(self) -> int:
        return len(self.moments)

    def videos(self) -> list[str]:
        """Distinct videos, in the order they were added."""
        return list(dict.fromkeys(moment.video for moment in self.moments))

    def add(self, moments: Sequence[Moment], vectors: Float[np.ndarray, "n d"]) -> None:
        """Add moments with one vector each; nothing is on disk before `save`.

        Raises:
            LibraryError: vectors of another number or width, or not finite.
        """
        if vectors.shape != (len(moments), self.width):
            raise LibraryError(
                f"{len(moments)} moments need vectors of shape {(len(moments), self.width)}, not {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            raise LibraryError("a vector is not finite: the model's embeddings are broken")
        norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-8)
        self._added.append((vectors / norms).astype(np.float32))
        self.moments.extend(moments)

    def remove(self, video: str) -> int:
        """Take all moments of a video out; returns how many there were."""
        keep = np.array([moment.video != video for moment in self.moments], dtype=bool)
        if keep.all():
            return 0
        vectors = self._vectors()[keep]
        self._saved, self._added = np.zeros((0, self.width), dtype=np.float32), [vectors]
        self.moments = [moment for moment, kept in zip(self.moments, keep, strict=True) if kept]
        return int((~keep).sum())

    def vectors_of(self, moments: Sequence[Moment]) -> Float32[np.ndarray, "n d"]:
        """Their normalised vectors, in the order given.

        Raises:
            LibraryError: a moment is not in the library.
        """
        places = {moment: row for row, moment in enumerate(self.moments)}
        missing = next((moment for moment in moments if moment not in places), None)
        if missing is not None:
            raise LibraryError(f"{missing.video} at {missing.start_seconds} s is not in {self.folder}")
        return self._vectors()[[places[moment] for moment in moments]]

    def _vectors(self) -> Float32[np.ndarray, "n d"]:
        if self._added:
            self._saved, self._added = np.concatenate([self._saved, *self._added]), []
        return self._saved

    def nearest(self, queries: Float[np.ndarray, "*q d"], k: int) -> list[list[Hit]]:
        """The ``k`` best moments of every query, best first; equal scores in the order of adding.

        Args:
            queries: One vector or several, of any length.
            k: Most hits per query.

        Raises:
            LibraryError: queries of another width.
        """
        rows = np.atleast_2d(np.asarray(queries, dtype=np.float32))
        if rows.shape[1] != self.width:
            raise LibraryError(f"queries have width {rows.shape[1]}; this library has width {self.width}")
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)
        vectors = self._vectors()
        if not len(vectors):
            return [[] for _ in rows]
        blocks = [rows @ vectors[start : start + _BLOCK].T for start in range(0, len(vectors), _BLOCK)]
        return [self._best(scores, k) for scores in np.concatenate(blocks, axis=1)]

    def _best(self, scores: Float32[np.ndarray, " n"], k: int) -> list[Hit]:
        k = min(k, len(scores))
        if k < len(scores):
            lowest = np.partition(scores, len(scores) - k)[len(scores) - k]
            candidates = np.flatnonzero(scores >= lowest)
        else:
            candidates = np.arange(len(scores))
        order = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
        return [Hit(moment=self.moments[row], score=float(scores[row])) for row in order]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from extending this library meanwhile; the lock ends with the process at the latest.

        Raises:
            LibraryError: another command is extending it, or has done so since it was opened.
            WriteError: the folder cannot be written.
        """
        made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("a")
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        with file:
            if not _lock(file):
                raise LibraryError(f"{self.folder} is being extended by another command; wait until it has ended")
            try:
                self._check_generation()
                yield
            finally:
                (self.folder / ".lock").unlink(missing_ok=True)
                if made and not any(self.folder.iterdir()):
                    self.folder.rmdir()

    def _check_generation(self) -> None:
        there = _read_header(self.folder)["generation"] if (self.folder / "library.json").is_file() else 0
        if there != self._generation:
            raise LibraryError(f"{self.folder} was changed by another command meanwhile; run this one again")

    def save(self) -> None:
        """Write everything; the previous state stays until the new one is whole.

        Raises:
            LibraryError: another command has changed the library since it was opened.
            WriteError: the folder cannot be written or the disk is full; the previous state is intact.
        """
        self._check_generation()
        generation = self._generation + 1
        vectors_path, moments_path = self._paths(generation)
        content = "".join(json.dumps(asdict(moment)) + "\n" for moment in self.moments).encode()
        vectors = self._vectors()
        with written_aside(vectors_path) as aside, aside.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
        with written_aside(moments_path) as aside:
            aside.write_bytes(content)
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "fingerprint": self.fingerprint,
            "width": self.width,
            "details": self.details,
            "generation": generation,
            "num_moments": len(self.moments),
            "checksum": zlib.crc32(content),
        }
        write_text(self.folder / "library.json", json.dumps(header, indent=2) + "\n")
        self._generation = generation
        for path in [*self.folder.glob("vectors-*.npy"), *self.folder.glob("moments-*.jsonl")]:
            if path not in (vectors_path, moments_path):
                path.unlink(missing_ok=True)


def _lock(file: TextIO) -> bool:
    """Take the lock of an open file, if the system has such locks; False where another process has it."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there the generation alone is compared
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / "library.json"
    if not path.is_file():
        raise LibraryError(f"{folder} is not a library: it has no library.json; make one with clover index")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LibraryError(f"{path} is not readable ({error}); index again in another folder") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise LibraryError(f"{path} does not describe a library; make one with clover index")
    if header.get("version") != _VERSION:
        raise LibraryError(f"{folder} is of version {header.get('version')}; this program reads version {_VERSION}")
    wanted = {
        "fingerprint": str,
        "width": int,
        "details": dict,
        "generation": int,
        "num_moments": int,
        "checksum": int,
    }
    broken = [name for name, kind in wanted.items() if not isinstance(header.get(name), kind)]
    if broken:
        raise LibraryError(f"{path} lacks {', '.join(broken)}; index again in another folder")
    return header
