"""A corpus in any layout: written in parallel, aside and renamed, resumed, and told from every other."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from clover.data.processes import num_usable_cores, obey_parent
from clover.data.shapes.sampling import ShapesConfig
from clover.data.shapes.splits import held_out
from clover.errors import DataError
from clover.files import shell_word, write_text

CLOVER = "clover"
"""Name of the corpus's own layout."""

_FORMAT = {"format": "clover-shapes", "version": 1}
_CHUNK = 16

Job = tuple[str, int]
"""Split and number of one video."""

Rows = dict[str, list[Any]]
"""Rows of one video, or of one chunk of videos, by the annotation file that they belong to."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What one call to `Layout.make` left behind.

    Attributes:
        rows: By annotation file, in the order of the jobs.
        media: Paths of the media within the folder, with forward slashes.
        num_written: How many of the media were missing.
    """

    rows: list[tuple[Job, Rows]]
    media: list[str]
    num_written: int


@runtime_checkable
class Layout(Protocol):
    """Which files a corpus has, where they are, and what is in them."""

    @property
    def name(self) -> str:
        """What the layout is called on the command line."""

    def chunks(self, config: ShapesConfig) -> list[list[Job]]:
        """The videos, in groups that one process makes at a time."""

    def make(self, folder: Path, config: ShapesConfig, jobs: list[Job]) -> Made:
        """Write the media of one chunk unless they are there; runs in a process of its own."""

    def texts(self, config: ShapesConfig, rows: Sequence[tuple[Job, Rows]]) -> dict[str, str]:
        """Content of every annotation file by its path within the folder, from the rows of all videos in order."""

    def files(self, config: ShapesConfig, summary: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Media and annotation files that a complete corpus has, given the content of its corpus.json."""

    def summary(self, annotations: list[str], media: list[str]) -> dict[str, Any]:
        """What corpus.json says besides the settings, the splits and the pairs held out."""


def chunks_of(jobs: list[Job], size: int = _CHUNK) -> list[list[Job]]:
    """The jobs in groups of one size; the last may be smaller."""
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


def write_layout(
    folder: Path,
    config: ShapesConfig,
    layout: Layout,
    *,
    progress: Callable[[int, int], None] | None = None,
    num_processes: int | None = None,
) -> int:
    """Write media and annotations; what is there is kept, a complete corpus is left alone.

    What an interrupted call did not reach, and what was deleted or emptied since, is written.

    Args:
        folder: Where to write.
        config: What to write; the same whatever the number of processes.
        layout: How it is laid out.
        progress: Called with (videos done, videos).
        num_processes: Processes that render; None takes one per core.

    Returns:
        How many files were missing; 0 means that the corpus was complete.

    Raises:
        DataError: the folder holds something else, or a corpus of another layout or other settings.
        WriteError: the folder cannot be written.
    """
    folder = Path(folder)
    settings = _settings(config, layout)
    chunks = layout.chunks(config)
    num_jobs = sum(map(len, chunks))
    is_finished = _is_finished(folder, settings)
    if is_finished and not _num_missing(folder, *layout.files(config, read_summary(folder))):
        if progress is not None:
            progress(num_jobs, num_jobs)
        return 0
    if not is_finished:
        _claim(folder, settings)
    rows: list[tuple[Job, Rows]] = []
    media: list[str] = []
    num_missing = done = 0
    for chunk, made in zip(chunks, _make_all(folder, config, layout, chunks, num_processes), strict=True):
        rows += made.rows
        media += made.media
        num_missing += made.num_written
        done += len(chunk)
        if progress is not None:
            progress(done, num_jobs)
    texts = layout.texts(config, rows)
    num_missing += _num_missing(folder, [], list(texts))
    for name, text in texts.items():
        write_text(folder / name, text)
    summary = {**settings, "splits": config.num_videos_per_split, "held_out": held_out(config.seed).to_json()}
    summary |= layout.summary(list(texts), media)
    write_text(folder / "corpus.json", json.dumps(summary, indent=2) + "\n")
    (folder / ".unfinished.json").unlink(missing_ok=True)
    for left in folder.rglob(".*.part*"):  # of workers that were killed
        left.unlink(missing_ok=True)
    return num_missing


def is_there(path: Path) -> bool:
    """Whether a file exists and is not empty."""
    return path.is_file() and path.stat().st_size > 0


def _num_missing(folder: Path, media: Sequence[str], annotations: Sequence[str]) -> int:
    """Media that are not there or empty, and annotation files that are not there (an empty one may be right)."""
    num_media = sum(not is_there(folder / name) for name in media)
    return num_media + sum(not (folder / name).is_file() for name in annotations)


def _make_all(
    folder: Path, config: ShapesConfig, layout: Layout, chunks: list[list[Job]], num_processes: int | None
) -> Iterator[Made]:
    num_processes = num_processes or num_usable_cores()
    if num_processes == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield layout.make(folder, config, chunk)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_processes, len(chunks)), mp_context=context, initializer=obey_parent) as pool:
        try:
            yield from pool.map(layout.make, [folder] * len(chunks), [config] * len(chunks), chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _settings(config: ShapesConfig, layout: Layout) -> dict[str, Any]:
    named = {} if layout.name == CLOVER else {"layout": layout.name}
    return {**_FORMAT, **named, "config": asdict(config)}


def _is_finished(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether this very corpus was once written to its end.

    Raises:
        DataError: there is a corpus of another layout or other settings.
    """
    if not (folder / "corpus.json").is_file():
        return False
    _check_same(folder, read_summary(folder), settings)
    return True


def _check_same(folder: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    there = {**there, "config": asdict(ShapesConfig()) | (there.get("config") or {})}  # older ones have fewer settings
    found, wanted = there.get("layout", CLOVER), asked.get("layout", CLOVER)
    if found != wanted:
        raise DataError(f"{folder} holds a corpus in the format {found!r}, not {wanted!r}; choose another folder")
    if {name: there.get(name) for name in asked} != asked:
        config, other = asked["config"], there["config"]
        differing = [
            f"{name} {other.get(name)}, not {value}" for name, value in config.items() if other.get(name) != value
        ]
        raise DataError(f"{folder} holds a corpus of other settings ({'; '.join(differing)}); choose another folder")


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Note in a new folder what is being written there, or find that note of an interrupted call.

    Raises:
        DataError: the folder holds something else.
    """
    note = folder / ".unfinished.json"
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; choose another folder")
    if note.is_file():
        _check_same(folder, json.loads(note.read_text(encoding="utf-8")), settings)
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty and holds no corpus; choose another folder")
    write_text(note, json.dumps(settings))


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of corpus.json.

    Raises:
        DataError: there is no complete corpus.
    """
    path = Path(folder) / "corpus.json"
    if not path.is_file():
        unfinished = (Path(folder) / ".unfinished.json").is_file()
        state = "is an unfinished corpus" if unfinished else "is not a corpus (it has no corpus.json)"
        raise DataError(f"{folder} {state}; write it with clover corpus shapes {shell_word(folder)}")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable ({error}); write the corpus again") from error
    if not isinstance(summary, dict) or any(summary.get(name) != value for name, value in _FORMAT.items()):
        raise DataError(f"{path} does not describe a moving-shapes corpus of version {_FORMAT['version']}")
    return summary
