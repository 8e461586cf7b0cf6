"""MSR-VTT: retrieval (CLIP4Clip bundle, original release, Frozen-in-Time bundle), multiple choice, questions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from clover.data.annotations.checks import check_options_are_shuffled
from clover.data.annotations.folders import check_split, find_file, present, read_first
from clover.data.annotations.problems import Problems, quoted
from clover.data.annotations.rows import BadRowError, Row, collect
from clover.data.annotations.tables import read_json_lines, read_json_list, read_list, read_table
from clover.types import MultiChoice, OpenEnded, Pair

_FROZEN_LISTS = "high-quality/structured-symlinks"

_LISTS = {
    "train_9k": ("MSRVTT_train.9k.csv", f"{_FROZEN_LISTS}/train_list_jsfusion.txt"),
    "train_7k": ("MSRVTT_train.7k.csv",),
    "train_1k_b": (f"{_FROZEN_LISTS}/train_list_miech.txt",),
    "test_1k_b": (f"{_FROZEN_LISTS}/test_list_miech.txt",),
}

_OFFICIAL = {"train": range(6513), "val": range(6513, 7010), "test": range(7010, 10_000)}
"""Numbers of the videos in the official splits; the 7k list is the first two together."""

RETRIEVAL_SPLITS = ("train_9k", "train_7k", "test_1k", "train_1k_b", "test_1k_b", *_OFFICIAL)
"""Retrieval splits: ``train_9k`` and ``test_1k`` make 1k-A, ``*_1k_b`` make 1k-B, the last three are the official."""


def _video_id(row: Row, name: str) -> str:
    """``video7010`` from itself, from ``msr7010``, from ``video7010.mp4`` or from the number."""
    value = row.value(name)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return f"video{value}"
    number = re.fullmatch(r"(?:video|msr)([0-9]{1,9})(?:\.[a-z0-9]{2,4})?", row.text(name))
    if number is None:
        raise BadRowError(expected=f"a name like video7010 in {name!r}", found=quoted(value))
    return f"video{number[1]}"


def _file(video_id: str) -> Path:
    return Path(f"{video_id}.mp4")


def read_msrvtt_retrieval(folder: Path, split: str, problems: Problems) -> list[Pair]:
    """Read pairs of video and caption; of the training splits every caption of every video, repeated ones too.

    ``test_1k`` is ``MSRVTT_JSFUSION_test.csv``, one caption per video. The other splits select captions by a list of
    videos, or by the numbers of the official splits.

    Args:
        folder: Holds ``MSRVTT_data.json``, or ``train_val_videodatainfo.json`` and ``test_videodatainfo.json``, or the
            folders ``annotation`` and ``high-quality`` of Frozen in Time; and the lists.
        split: One of ``RETRIEVAL_SPLITS``.
        problems: Where rows that are left out go.

    Raises:
        DataError: There is no such split, or a file is missing or unreadable.
    """
    check_split(split, RETRIEVAL_SPLITS, what="MSR-VTT retrieval")
    if split == "test_1k":
        names = ("MSRVTT_JSFUSION_test.csv", "annotation/MSRVTT_JSFUSION_test.csv")
        path = find_file(folder, names, problems, what="MSR-VTT 1k-A test file")
        rows = read_table(path, ("video_id", "sentence"), problems)
        return collect(rows, problems, _test_pair)
    if split in _OFFICIAL:
        videos = {f"video{number}" for number in _OFFICIAL[split]}
        return _captions(folder, videos, problems)
    if split == "train_7k" and not present(folder, _LISTS[split]):
        problems.note(folder, "no MSRVTT_train.7k.csv; its videos are video0 to video7009")
        return _captions(folder, {f"video{number}" for number in range(7010)}, problems)
    return _listed_captions(folder, split, problems)


def _test_pair(row: Row) -> Pair:
    video_id = _video_id(row, "video_id")
    return Pair(
        video=_file(video_id),
        text=row.text("sentence"),
        index=row.index,
        video_id=video_id,
        text_id=row.identity("key"),
    )


def _listed_captions(folder: Path, split: str, problems: Problems) -> list[Pair]:
    path = find_file(folder, _LISTS[split], problems, what=f"list of the {split} videos")
    if path.suffix == ".csv":
        rows = [
            replace(row, fields={"name": row.fields["video_id"]}) for row in read_table(path, ["video_id"], problems)
        ]
    else:
        rows = read_list(path, problems)
    listed: dict[str, Row] = {}

    def enlist(row: Row) -> None:
        video_id = _video_id(row, "name")
        if video_id in listed:
            raise BadRowError(expected="each video once", found=f"{video_id} again")
        listed[video_id] = row

    collect(rows, problems, enlist)
    pairs = _captions(folder, listed, problems)
    captioned = {pair.video_id for pair in pairs}
    for video_id, row in listed.items():
        if video_id not in captioned:
            problems.add(row.file, row.number, expected="a video with captions", found=f"none of {video_id}")
    return pairs


@dataclass(frozen=True)
class _CaptionFile:
    name: str
    key: str
    video: str
    text_id: str


_CAPTION_FILES = (
    (_CaptionFile("MSRVTT_data.json", "sentences", "video_id", "sen_id"),),
    (
        _CaptionFile("train_val_videodatainfo.json", "sentences", "video_id", "sen_id"),
        _CaptionFile("test_videodatainfo.json", "sentences", "video_id", "sen_id"),
    ),
    (_CaptionFile("annotation/MSR_VTT.json", "annotations", "image_id", "id"),),
)


def _captions(folder: Path, videos: Collection[str], problems: Problems) -> list[Pair]:
    """The captions of some videos; ``index`` runs on from one file to the next."""
    layouts = [layout for layout in _CAPTION_FILES if present(folder, [file.name for file in layout])]
    if not layouts:
        find_file(folder, [file.name for layout in _CAPTION_FILES for file in layout], problems, what="captions file")
    pairs: list[Pair] = []
    num_rows = 0
    for file in layouts[0]:
        for path in present(folder, [file.name]):
            rows = read_json_list(path, problems, key=file.key)
            pairs += collect(rows, problems, partial(_caption, file=file, videos=videos, first_index=num_rows))
            num_rows += max((row.index + 1 for row in rows), default=0)
    return pairs


def _caption(row: Row, *, file: _CaptionFile, videos: Collection[str], first_index: int) -> Pair | None:
    video_id = _video_id(row, file.video)
    if video_id not in videos:
        return None
    return Pair(
        video=_file(video_id),
        text=row.text("caption"),
        index=first_index + row.index,
        video_id=video_id,
        text_id=row.identity(file.text_id),
    )


def read_msrvtt_choices(folder: Path, split: str, problems: Problems) -> list[MultiChoice]:
    """Read the videos of the multiple-choice test with five captions each; training for it is retrieval.

    Args:
        folder: Holds ``MSR_MC_test.csv``, or ClipBERT's ``msrvtt_mc_test.jsonl``, or Singularity's
            ``msrvtt_mc_test.json``.
        split: ``test``.
        problems: Where rows that are left out go.

    Raises:
        DataError: There is no such split, the file is missing or unreadable, or the first option is always right.
    """
    check_split(split, ("test",), what="MSR-VTT multiple choice")
    columns = ("a1", "a2", "a3", "a4", "a5")

    def table(path: Path) -> list[MultiChoice]:
        rows = read_table(path, ("vid_key", *columns, "answer"), problems)
        return collect(rows, problems, partial(_choice, video="vid_key", options=columns))

    def json_lines(path: Path) -> list[MultiChoice]:
        return collect(
            read_json_lines(path, problems), problems, partial(_choice, video="clip_name", options=("options",))
        )

    def json_list(path: Path) -> list[MultiChoice]:
        return collect(read_json_list(path, problems), problems, partial(_choice, video="video", options=("caption",)))

    readers: dict[str, Callable[[Path], list[MultiChoice]]] = {
        "MSR_MC_test.csv": table,
        "msrvtt_mc_test.jsonl": json_lines,
        "mc_test.jsonl": json_lines,
        "msrvtt_mc_test.json": json_list,
        "singularity_msrvtt_mc_test.json": json_list,
    }
    path, questions = read_first(folder, readers, problems, what="MSR-VTT multiple-choice test file")
    check_options_are_shuffled(path, questions)
    return questions


def _choice(row: Row, *, video: str, options: Sequence[str]) -> MultiChoice:
    return MultiChoice(
        video=_file(_video_id(row, video)),
        question="",
        options=row.options(*options),
        label=row.label("answer"),
        index=row.index,
    )


def read_msrvtt_questions(
    folder: Path, split: str, problems: Problems, *, answers: Sequence[str] | None = None
) -> list[OpenEnded]:
    """Read the questions of MSRVTT-QA; their type is their first word.

    Args:
        folder: Holds ``train_qa.json``, ``val_qa.json``, ``test_qa.json``, or ClipBERT's ``train.jsonl`` and so on.
        split: ``train``, ``val`` or ``test``.
        problems: Where rows that are left out go.
        answers: What classes stand for, where a file gives answers as numbers.

    Raises:
        DataError: There is no such split, or the file is missing or unreadable.
    """
    check_split(split, ("train", "val", "test"), what="MSRVTT-QA")

    def question(row: Row) -> OpenEnded:
        text = row.text("question")
        return OpenEnded(
            video=_file(_video_id(row, "video_id")),
            question=text,
            answer=row.answer_or_class("answer", answers),
            index=row.index,
            question_type=text.split()[0].lower(),
        )

    def json_list(path: Path) -> list[OpenEnded]:
        return collect(read_json_list(path, problems), problems, question)

    def json_lines(path: Path) -> list[OpenEnded]:
        return collect(read_json_lines(path, problems), problems, question)

    readers = {f"{split}_qa.json": json_list, f"{split}.jsonl": json_lines}
    return read_first(folder, readers, problems, what=f"MSRVTT-QA {split} file")[1]
