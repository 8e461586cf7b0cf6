"""MSVD-QA: questions about numbered videos, whose file names are in a mapping of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clover.data.annotations.folders import check_split, find_file, read_first
from clover.data.annotations.problems import Problems, quoted
from clover.data.annotations.rows import BadRowError, Row, collect, media_path
from clover.data.annotations.tables import json_rows, read_json, read_json_list, read_list
from clover.types import OpenEnded

_SPLITS = ("train", "val", "test")


def read_youtube_mapping(folder: Path, problems: Problems) -> dict[str, Path]:
    """Read which file each ``vid1`` to ``vid1970`` is: lines of ``<YouTubeId>_<start>_<end> vidN``.

    Raises:
        DataError: ``youtube_mapping.txt`` is missing or unreadable.
    """
    path = find_file(folder, ("youtube_mapping.txt",), problems, what="mapping of MSVD videos to files")
    files: dict[str, Path] = {}

    def add(row: Row) -> None:
        words = row.text("name").split()
        if len(words) != 2:
            raise BadRowError(expected="a file name and vidN with a space between", found=quoted(row.value("name")))
        if words[1] in files:
            raise BadRowError(expected="each vidN once", found=f"{quoted(words[1])} again")
        files[words[1]] = media_path(f"{words[0]}.avi")

    collect(read_list(path, problems), problems, add)
    return files


def read_msvd_questions(
    folder: Path, split: str, problems: Problems, *, answers: Sequence[str] | None = None
) -> list[OpenEnded]:
    """Read the questions of MSVD-QA; their type is their first word.

    Args:
        folder: Holds ``train_qa.json``, ``val_qa.json``, ``test_qa.json`` and ``youtube_mapping.txt``, or VIOLET's
            ``txt_msvd-qa.json``, which needs no mapping and gives answers as classes.
        split: ``train``, ``val`` or ``test``.
        problems: Where rows that are left out go.
        answers: What the classes stand for, where a file gives answers as numbers.

    Raises:
        DataError: There is no such split, or a file is missing or unreadable.
    """
    check_split(split, _SPLITS, what="MSVD-QA")

    def question(row: Row, video: Path) -> OpenEnded:
        text = row.text("question")
        return OpenEnded(
            video=video,
            question=text,
            answer=row.answer_or_class("answer", answers),
            index=row.index,
            question_type=text.split()[0].lower(),
        )

    def published(path: Path) -> list[OpenEnded]:
        files = read_youtube_mapping(folder, problems)

        def parse(row: Row) -> OpenEnded:
            name = f"vid{row.integer('video_id')}"
            if name not in files:
                raise BadRowError(expected="a video of the mapping", found=name)
            return question(row, files[name])

        return collect(read_json_list(path, problems), problems, parse)

    def violet(path: Path) -> list[OpenEnded]:
        rows = json_rows(path, read_json(path, problems), problems, key=split)
        return collect(rows, problems, lambda row: question(row, row.media("video", ".avi")))

    readers = {f"{split}_qa.json": published, "txt_msvd-qa.json": violet}
    return read_first(folder, readers, problems, what=f"MSVD-QA {split} file")[1]
