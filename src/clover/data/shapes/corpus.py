"""The corpus on disk: written in parallel, resumed after an interruption, read back as records."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clover.data.shapes.captions import captions, labels, moments, paragraph
from clover.data.shapes.choices import choice, transition
from clover.data.shapes.questions import cloze, questions
from clover.data.shapes.rendering import render
from clover.data.shapes.sampling import ShapesConfig, sample_scene
from clover.data.shapes.scene import video_name
from clover.data.shapes.splits import held_out
from clover.data.shapes.vocabulary import SPLITS
from clover.data.video_writer import write_video
from clover.errors import DataError
from clover.files import write_text
from clover.types import Cloze, MultiChoice, OpenEnded, Pair

__all__ = [
    "ShapesConfig",
    "read_choices",
    "read_cloze",
    "read_labels",
    "read_moments",
    "read_pairs",
    "read_questions",
    "write_corpus",
]

_FORMAT = {"format": "clover-shapes", "version": 1}
_KINDS = ("", "_questions", "_choices", "_cloze", "_scenes")
_CHUNK = 16

Rows = dict[str, list[dict[str, Any]]]
"""Lines of every annotation file of one video, by the kind of file."""


def write_corpus(
    folder: Path,
    config: ShapesConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
    num_processes: int | None = None,
) -> int:
    """Write videos and annotations; what is there is kept, a complete corpus is left alone.

    What an interrupted call did not reach, and what was deleted or emptied since, is written.

    Args:
        folder: Where to write.
        config: What to write; the same whatever the number of processes.
        progress: Called with (videos done, videos).
        num_processes: Processes that render; None takes one per core.

    Returns:
        How many files were missing; 0 means that the corpus was complete.

    Raises:
        DataError: the folder holds something else, or a corpus of other settings.
        WriteError: the folder cannot be written.
    """
    folder = Path(folder)
    settings = {**_FORMAT, "config": asdict(config)}
    jobs = [(split, index) for split, count in config.num_videos_per_split.items() for index in range(count)]
    is_finished = _is_finished(folder, settings)
    num_missing = _num_missing(folder, jobs)
    if is_finished and not num_missing:
        if progress is not None:
            progress(len(jobs), len(jobs))
        return 0
    if not is_finished:
        _claim(folder, settings)
    for split in SPLITS:
        (folder / "videos" / split).mkdir(parents=True, exist_ok=True)
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    rows: dict[str, list[Rows]] = {split: [] for split in SPLITS}
    done = 0
    for chunk, made in zip(chunks, _render_all(folder, config, chunks, num_processes), strict=True):
        for (split, _), video_rows in zip(chunk, made, strict=True):
            rows[split].append(video_rows)
        done += len(chunk)
        if progress is not None:
            progress(done, len(jobs))
    for split in SPLITS:
        for kind in _KINDS:
            lines = [json.dumps(row) for video_rows in rows[split] for row in video_rows[kind]]
            write_text(folder / f"{split}{kind}.jsonl", "".join(line + "\n" for line in lines))
    summary = {**settings, "splits": config.num_videos_per_split, "held_out": held_out(config.seed).to_json()}
    write_text(folder / "corpus.json", json.dumps(summary, indent=2) + "\n")
    (folder / ".unfinished.json").unlink(missing_ok=True)
    return num_missing


def _is_there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _num_missing(folder: Path, jobs: list[tuple[str, int]]) -> int:
    """Videos that are not there or empty, and annotation files that are not there (an empty one may be right)."""
    annotations = [folder / f"{split}{kind}.jsonl" for split in SPLITS for kind in _KINDS]
    num_videos = sum(not _is_there(folder / video_name(*job)) for job in jobs)
    return num_videos + sum(not path.is_file() for path in annotations)


def _render_all(
    folder: Path, config: ShapesConfig, chunks: list[list[tuple[str, int]]], num_processes: int | None
) -> Iterator[list[Rows]]:
    num_processes = num_processes or num_usable_cores()
    if num_processes == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield _make_chunk(folder, config, chunk)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_processes, len(chunks)), mp_context=context, initializer=_obey_parent) as pool:
        try:
            yield from pool.map(_make_chunk, [folder] * len(chunks), [config] * len(chunks), chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def num_usable_cores() -> int:
    """Cores that this process may run on, which can be less than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _obey_parent() -> None:
    """Let this worker end when its parent does, and leave Ctrl-C to the parent.

    A killed parent would leave it waiting for work for ever; interrupted, every worker would print its own traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def wait() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()


def _make_chunk(folder: Path, config: ShapesConfig, jobs: list[tuple[str, int]]) -> list[Rows]:
    return [make_video(folder, config, split, index) for split, index in jobs]


def make_video(folder: Path, config: ShapesConfig, split: str, index: int) -> Rows:
    """Write one video unless it is there, and return its lines of the annotation files."""
    scene = sample_scene(config, split, index)
    path = folder / scene.video
    if not _is_there(path):
        write_video(
            path,
            render(scene),
            rate=scene.frames_per_second,
            quality=23,
            keyframe_interval=scene.keyframe_interval,
            num_b_frames=scene.num_b_frames,
        )
    video = {"video": scene.video}
    options, label = choice(scene, config.seed)
    choices = [{"type": "sentence", "question": "", "options": options, "label": label}]
    order = transition(scene, config.seed)
    if order is not None:
        choices.append({"type": "transition", "question": order[0], "options": order[1], "label": order[2]})
    blank = cloze(scene, config.seed)
    described = {
        "captions": captions(scene, config.seed),
        "paragraph": paragraph(scene, config.seed),
        "labels": labels(scene),
        "duration_seconds": scene.duration_seconds,
        "moments": [
            {"start_seconds": start, "end_seconds": end, "text": text}
            for start, end, text in moments(scene, config.seed)
        ],
    }
    return {
        "": [video | described],
        "_questions": [video | asdict(question) for question in questions(scene, config.seed)],
        "_choices": [video | row for row in choices],
        "_cloze": [] if blank is None else [video | {"question": blank[0], "answer": blank[1]}],
        "_scenes": [video | asdict(scene)],
    }


def _is_finished(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether this very corpus was once written to its end.

    Raises:
        DataError: there is a corpus of other settings.
    """
    if not (folder / "corpus.json").is_file():
        return False
    there = read_summary(folder)
    if {name: there.get(name) for name in settings} != settings:
        raise _other_settings(folder, there, settings)
    return True


def _other_settings(folder: Path, there: dict[str, Any], asked: dict[str, Any]) -> DataError:
    found, wanted = there.get("config") or {}, asked["config"]
    differing = [f"{name} {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value]
    return DataError(f"{folder} holds a corpus of other settings ({'; '.join(differing)}); choose another folder")


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Note in a new folder what is being written there, or find that note of an interrupted call.

    Raises:
        DataError: the folder holds something else.
    """
    note = folder / ".unfinished.json"
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; choose another folder")
    if note.is_file():
        there = json.loads(note.read_text(encoding="utf-8"))
        if there != settings:
            raise _other_settings(folder, there, settings)
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
        raise DataError(f"{folder} {state}; write it with clover corpus shapes {folder}")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable ({error}); write the corpus again") from error
    if not isinstance(summary, dict) or any(summary.get(name) != value for name, value in _FORMAT.items()):
        raise DataError(f"{path} does not describe a moving-shapes corpus of version {_FORMAT['version']}")
    return summary


def _read_rows(folder: Path, split: str, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of every line of an annotation file."""
    read_summary(folder)
    if split not in SPLITS:
        raise DataError(f"there is no split named {split!r}; choose from {', '.join(SPLITS)}")
    path = Path(folder) / f"{split}{kind}.jsonl"
    if not path.is_file():
        raise DataError(f"{path} is missing; write the corpus again")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                row["video_id"] = row["video"].removeprefix("videos/").removesuffix(".mp4")
                row["video"] = Path(folder) / row["video"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{path}, line {number}: not a row of this corpus ({error})") from error
            yield number - 1, row


def _field(folder: Path, split: str, kind: str, number: int, row: dict[str, Any], name: str) -> Any:
    if name not in row:
        raise DataError(f"{Path(folder) / f'{split}{kind}.jsonl'}, line {number + 1}: no field {name!r}")
    return row[name]


def read_pairs(folder: Path, split: str) -> list[Pair]:
    """One pair per caption; ``video_id`` groups them by video.

    Raises:
        DataError: the corpus or a file is missing, or a row is malformed (file and line are named).
    """
    pairs: list[Pair] = []
    for number, row in _read_rows(folder, split, ""):
        for text in _field(folder, split, "", number, row, "captions"):
            pairs.append(
                Pair(
                    video=row["video"],
                    text=text.strip(),
                    index=len(pairs),
                    video_id=row["video_id"],
                    text_id=f"{row['video_id']}#{len(pairs)}",
                )
            )
    return pairs


def read_labels(folder: Path, split: str) -> dict[str, tuple[str, ...]]:
    """What every video shows, by ``video_id``; errors as in `read_pairs`."""
    return {
        row["video_id"]: tuple(_field(folder, split, "", number, row, "labels"))
        for number, row in _read_rows(folder, split, "")
    }


def read_moments(folder: Path, split: str) -> dict[str, list[tuple[float, float, str]]]:
    """Start, end and text of what happens, by ``video_id``; errors as in `read_pairs`."""
    return {
        row["video_id"]: [
            (moment["start_seconds"], moment["end_seconds"], moment["text"])
            for moment in _field(folder, split, "", number, row, "moments")
        ]
        for number, row in _read_rows(folder, split, "")
    }


def read_questions(folder: Path, split: str) -> list[OpenEnded]:
    """Open-ended questions; errors as in `read_pairs`."""
    kind = "_questions"
    return [
        OpenEnded(
            video=row["video"],
            question=_field(folder, split, kind, number, row, "question"),
            answer=_field(folder, split, kind, number, row, "answer"),
            index=number,
            question_type=row.get("type"),
        )
        for number, row in _read_rows(folder, split, kind)
    ]


def read_choices(folder: Path, split: str) -> list[MultiChoice]:
    """Multiple-choice rows; errors as in `read_pairs`."""
    kind = "_choices"
    return [
        MultiChoice(
            video=row["video"],
            question=_field(folder, split, kind, number, row, "question"),
            options=tuple(_field(folder, split, kind, number, row, "options")),
            label=_field(folder, split, kind, number, row, "label"),
            index=number,
        )
        for number, row in _read_rows(folder, split, kind)
    ]


def read_cloze(folder: Path, split: str) -> list[Cloze]:
    """Fill-in-the-blank rows; errors as in `read_pairs`."""
    kind = "_cloze"
    return [
        Cloze(
            video=row["video"],
            question=_field(folder, split, kind, number, row, "question"),
            answer=_field(folder, split, kind, number, row, "answer"),
            index=number,
        )
        for number, row in _read_rows(folder, split, kind)
    ]
