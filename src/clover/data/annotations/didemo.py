"""DiDeMo: the sentences about one video joined to a paragraph that finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clover.data.annotations.folders import check_split, present, read_first
from clover.data.annotations.problems import Problems, quoted
from clover.data.annotations.rows import BadRowError, Row, clean_text, collect
from clover.data.annotations.tables import read_json_lines, read_json_list, read_list, read_table
from clover.types import Pair

_SPLITS = ("train", "val", "test")


def read_didemo_retrieval(folder: Path, split: str, problems: Problems) -> list[Pair]:
    """Read one paragraph per video, in the order in which the videos first occur.

    Videos that ``<split>_list.txt`` does not list are left out; without the list all are kept, and a note says so.
    ``index`` is the row of a paragraph's first sentence, ``text_id`` joins the ids of its sentences by ``+``.

    Args:
        folder: Holds ``<split>_data.json`` and ``<split>_list.txt``, or ClipBERT's ``<split>.jsonl``, or All-in-one's
            ``DiDeMo_<split>.tsv``, or Singularity's ``didemo_ret_<split>.json``.
        split: ``train``, ``val`` or ``test``.
        problems: Where sentences and listed videos that are left out go.

    Raises:
        DataError: There is no such split, or the file is missing or unreadable.
    """
    check_split(split, _SPLITS, what="DiDeMo")

    def published(path: Path) -> list[Pair]:
        return _paragraphs(path, split, problems)

    def clipbert(path: Path) -> list[Pair]:
        rows = read_json_lines(path, problems)
        return collect(rows, problems, lambda row: _pair(row, row.media("clip_name"), row.text("caption")))

    def all_in_one(path: Path) -> list[Pair]:
        rows = read_table(path, ("caption", "filename"), problems)
        return collect(rows, problems, lambda row: _pair(row, row.media("filename"), row.text("caption")))

    def singularity(path: Path) -> list[Pair]:
        rows = read_json_list(path, problems)
        return collect(rows, problems, lambda row: _pair(row, row.media("video"), _joined(row)))

    readers: dict[str, Callable[[Path], list[Pair]]] = {
        f"{split}_data.json": published,
        f"{split}.jsonl": clipbert,
        f"DiDeMo_{split}.tsv": all_in_one,
        f"didemo_ret_{split}.json": singularity,
    }
    return read_first(folder, readers, problems, what=f"DiDeMo {split} file")[1]


def _joined(row: Row) -> str:
    sentences = row.value("caption")
    if not isinstance(sentences, list) or not sentences:
        return row.text("caption")
    return " ".join(clean_text(sentence, what="every sentence of 'caption'") for sentence in sentences)


def _pair(row: Row, video: Path, text: str) -> Pair:
    return Pair(video=video, text=text, index=row.index, video_id=video.name, text_id=str(row.index))


@dataclass(frozen=True)
class _Sentence:
    video: Path
    text: str
    index: int
    text_id: str


def _paragraphs(path: Path, split: str, problems: Problems) -> list[Pair]:
    listed = _listed(path, split, problems)

    def parse(row: Row) -> _Sentence:
        video = row.media("video")
        if listed is not None and video.name not in listed:
            raise BadRowError(expected=f"a video of {split}_list.txt", found=quoted(video.name), is_published=True)
        return _Sentence(video, row.text("description"), row.index, row.identity("annotation_id"))

    paragraphs: dict[Path, list[_Sentence]] = {}
    for sentence in collect(read_json_list(path, problems), problems, parse):
        paragraphs.setdefault(sentence.video, []).append(sentence)
    described = {video.name for video in paragraphs}
    for name, row in (listed or {}).items():
        if name not in described:
            problems.add(row.file, row.number, expected="a video with a description", found=f"none of {quoted(name)}")
    return [_paragraph(video, sentences) for video, sentences in paragraphs.items()]


def _paragraph(video: Path, sentences: Sequence[_Sentence]) -> Pair:
    return Pair(
        video=video,
        text=" ".join(sentence.text for sentence in sentences),
        index=sentences[0].index,
        video_id=video.name,
        text_id="+".join(sentence.text_id for sentence in sentences),
    )


def _listed(path: Path, split: str, problems: Problems) -> dict[str, Row] | None:
    """The listed videos by name; None when there is no list."""
    lists = present(path.parent, [f"{split}_list.txt"])
    if not lists:
        problems.note(path, f"no {split}_list.txt; all videos are kept, drop those that are not on disk")
        return None
    listed: dict[str, Row] = {}

    def enlist(row: Row) -> None:
        name = row.media("name").name
        if name in listed:
            raise BadRowError(expected="each video once", found=f"{quoted(name)} again")
        listed[name] = row

    collect(read_list(lists[0], problems), problems, enlist)
    return listed
