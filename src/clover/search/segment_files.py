"""Segments on disk: writing (joining several), opening, checking.

``videos-N.jsonl`` and ``moments-N.npy`` say what there is; the vectors are in ``vectors-N.npy`` (float32), or
``codes-N.npy``, ``codec-N.npz`` and ``lists-N.faiss`` (compressed). A header's entry of a segment holds the size and
the SHA-256 of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from clover.errors import LibraryError
from clover.files import checksum, written_aside
from clover.search.calibration import calibrate
from clover.search.codec import Codec
from clover.search.compressed import SPLITS, CompressedVectors, Compressor, Effort, faiss, has_faiss
from clover.search.exact import ExactVectors
from clover.search.interface import SearchOptions, VideoRecord
from clover.search.segment import ROW, Segment

_BLOCK = 16_384
_FEWEST_COMPRESSED = 2_000
"""Fewer moments are too few to learn an inverted file from."""
PATTERNS = ("videos-*.jsonl", "moments-*", "vectors-*.npy", "codes-*.npy", "codec-*.npz", "lists-*.faiss")
"""Names of the files of segments, and of those of version 1."""


def write_joined(
    segments: Sequence[Segment],
    folder: Path,
    number: int,
    *,
    width: int,
    options: SearchOptions,
    may_compress: bool,
    sample_queries: Float32[np.ndarray, "q d"] | None = None,
) -> Segment:
    """One segment of all that was not removed from several, in files.

    Args:
        segments: In the order of adding.
        folder: Of the library.
        number: Goes into the files' names; not used before.
        width: Of the vectors.
        options: When to compress, and how well.
        may_compress: Whether there is time for it.
        sample_queries: For `calibrate`.

    Raises:
        WriteError: the folder cannot be written, or the disk is full.
    """
    live = [segment.live_rows() for segment in segments]
    numbers: dict[VideoRecord, int] = {}
    rows = np.empty(sum(map(len, live)), dtype=ROW)
    done = 0
    for segment, kept in zip(segments, live, strict=True):
        part = segment.rows[kept]
        used = np.unique(part["video"])
        renumbered = np.zeros(len(segment.videos), dtype=np.uint32)
        renumbered[used] = [numbers.setdefault(segment.videos[video], len(numbers)) for video in used]
        part["video"] = renumbered[part["video"]]
        rows[done : done + len(part)] = part
        done += len(part)
    paths = _Paths(folder, number)
    with written_aside(paths.videos) as aside, aside.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(video)) + "\n" for video in numbers)
    _write_array(paths.moments, [rows], (len(rows),), ROW)
    blocks = (
        segment.vectors.rows(kept[start : start + _BLOCK])
        for segment, kept in zip(segments, live, strict=True)
        for start in range(0, len(kept), _BLOCK)
    )
    _write_array(paths.vectors, blocks, (len(rows), width), np.dtype(np.float32))
    exact = ExactVectors(_mapped(paths.vectors))
    search: dict[str, Any] = {"kind": "exact"}
    vectors: ExactVectors | CompressedVectors = exact
    if may_compress and len(rows) > max(options.exact_up_to, _FEWEST_COMPRESSED):
        vectors, search = _compress(exact, paths, options, sample_queries)
    names = [paths.videos, paths.moments, *paths.of_vectors(search["kind"])]
    entry = {"number": number, "num_moments": len(rows), "files": {path.name: _state(path) for path in names}}
    return Segment(list(numbers), _mapped(paths.moments), vectors, entry | {"search": search})


def _compress(
    exact: ExactVectors, paths: _Paths, options: SearchOptions, sample_queries: Float32[np.ndarray, "q d"] | None
) -> tuple[ExactVectors | CompressedVectors, dict[str, Any]]:
    """Write compressed vectors beside exact ones and take them, if they find enough."""
    if not has_faiss():
        return exact, {"kind": "exact", "why": "FAISS is not installed; pip install 'clover-vl[search]'"}
    for split in SPLITS:
        compressor = Compressor(exact, sample_queries, split)
        _write_array(paths.codes, compressor.codes(), (len(exact), compressor.codec.size), np.dtype(np.uint8))
        everything = Effort(num_lists=compressor.lists.nlist, num_candidates=len(exact))
        vectors = CompressedVectors(compressor.codec, _mapped(paths.codes), compressor.lists, everything)
        if found := calibrate(exact, vectors, options.target_recall, sample_queries):
            break
    else:
        paths.codes.unlink()
        return exact, {"kind": "exact", "why": f"compressed, a recall of {options.target_recall} is out of reach"}
    with written_aside(paths.codec) as aside:
        aside.write_bytes(compressor.codec.to_bytes())
    with written_aside(paths.lists) as aside:
        aside.write_bytes(faiss().serialize_index(compressor.lists).tobytes())
    vectors.effort = found.effort
    return vectors, {"kind": "compressed", "recall_at_10": found.recall, **asdict(found.effort)}


class _Paths:
    """Names of a segment's files."""

    def __init__(self, folder: Path, number: int) -> None:
        self.videos = folder / f"videos-{number:06d}.jsonl"
        self.moments = folder / f"moments-{number:06d}.npy"
        self.vectors = folder / f"vectors-{number:06d}.npy"
        self.codes = folder / f"codes-{number:06d}.npy"
        self.codec = folder / f"codec-{number:06d}.npz"
        self.lists = folder / f"lists-{number:06d}.faiss"

    def of_vectors(self, kind: str) -> list[Path]:
        return [self.vectors] if kind == "exact" else [self.codes, self.codec, self.lists]


def open_segment(folder: Path, entry: dict[str, Any], width: int) -> Segment:
    """Open what a header's entry describes; large files are mapped, not read.

    Raises:
        LibraryError: a file is missing, of another size, or not what it should be; or FAISS is missing.
    """
    paths = _Paths(folder, entry["number"])
    for name, state in entry["files"].items():
        if not (folder / name).is_file():
            raise LibraryError(f"{folder} is incomplete: {name} is missing; index again in another folder")
        if (folder / name).stat().st_size != state["bytes"]:
            raise LibraryError(
                f"{folder} is damaged: {name} has {(folder / name).stat().st_size} bytes instead of {state['bytes']}; "
                "index again in another folder"
            )
    search = entry["search"]
    try:
        for path in (paths.videos, paths.codec, paths.lists):  # what is read as a whole, and taken apart
            if path.name in entry["files"] and checksum(path) != entry["files"][path.name]["sha256"]:
                raise ValueError(f"{path.name} is not as it was written")
        lines = [json.loads(line) for line in paths.videos.read_text(encoding="utf-8").splitlines()]
        videos = [VideoRecord(**line | {"tags": tuple(line["tags"])}) for line in lines]
        rows = _mapped(paths.moments)
        vectors: ExactVectors | CompressedVectors
        if search["kind"] == "exact":
            vectors = ExactVectors(_mapped(paths.vectors))
            shape: tuple[int, ...] = vectors.vectors.shape
        else:
            codec = Codec.from_bytes(paths.codec.read_bytes())
            lists = faiss().deserialize_index(np.frombuffer(paths.lists.read_bytes(), dtype=np.uint8))
            effort = Effort(num_lists=search["num_lists"], num_candidates=search["num_candidates"])
            vectors = CompressedVectors(codec, _mapped(paths.codes), lists, effort)
            shape = (lists.ntotal, len(codec.low))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise LibraryError(f"{folder} is damaged ({error}); index again in another folder") from error
    if rows.dtype != ROW or rows.shape != (entry["num_moments"],) or shape != (len(rows), width):
        raise LibraryError(f"{folder} is damaged: its files do not belong together; index again in another folder")
    return Segment(videos, rows, vectors, entry)


def problems_of(folder: Path, entry: dict[str, Any], segment: Segment) -> list[str]:
    """What is not as it was written, of a segment's files and of what they hold."""
    problems = []
    for name, state in entry["files"].items():
        try:
            if checksum(folder / name) != state["sha256"]:
                problems.append(f"{name} is not as it was written (its SHA-256 differs)")
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror})")
    if problems:
        return problems
    if len(segment.rows) and int(segment.rows["video"].max()) >= len(segment.videos):
        problems.append(f"{next(iter(entry['files']))} lacks videos that moments refer to")
    for start in range(0, len(segment.rows), _BLOCK):
        lengths = np.linalg.norm(segment.vectors.rows(slice(start, start + _BLOCK)), axis=1)
        if not (np.abs(lengths - 1) < 0.1).all():
            problems.append(f"vectors of segment {entry['number']} behind row {start} are not of length 1")
    return problems


def num_bytes(segment: Segment) -> dict[str, int]:
    """Bytes on disk of a segment's files, by name; none where it is in memory alone."""
    return {} if segment.entry is None else {name: state["bytes"] for name, state in segment.entry["files"].items()}


def _state(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": checksum(path)}


def _mapped(path: Path) -> np.ndarray:
    """An array, mapped; as a plain one, whose rows are taken twice as fast.

    Raises:
        ValueError: it is no array.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # a broken header ends in whatever the tokenizer of Python's literals raises
        raise ValueError(f"{path.name}: {error}") from error


def _write_array(path: Path, blocks: Iterable[np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Write an npy file of blocks that follow one another.

    Written, not mapped: on a full disk a write fails with an error, while a mapping ends the process.

    Raises:
        WriteError: the folder cannot be written, or the disk is full.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with written_aside(path) as aside, aside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in _contiguous(blocks, dtype):
            file.write(block.data)


def _contiguous(blocks: Iterable[np.ndarray], dtype: np.dtype) -> Iterator[np.ndarray]:
    for block in blocks:
        if len(block):
            yield np.ascontiguousarray(block, dtype=dtype)
