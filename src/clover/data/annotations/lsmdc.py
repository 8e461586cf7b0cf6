"""LSMDC: retrieval, multiple choice and fill-in-the-blank, of the release and of JSFusion.

The release has TAB files without header and without quoting; JSFusion's have a header. Clips are
``<movie>/<movie>_<start>-<end>.avi``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from clover.data.annotations.checks import check_options_are_shuffled
from clover.data.annotations.folders import check_split, find_file, read_first
from clover.data.annotations.problems import Problems, quoted
from clover.data.annotations.rows import NUM_OPTIONS, BadRowError, Row, collect, media_path
from clover.data.annotations.tables import read_columns, read_table
from clover.errors import DataError
from clover.types import Cloze, MultiChoice, Pair

MASK = "[MASK]"

_HEADER = "CLIP_ID"
_CLIP = ("clip_id", "start_aligned", "end_aligned", "start_extracted", "end_extracted")
_OPTIONS = ("a1", "a2", "a3", "a4", "a5")

_RETRIEVAL_FILES = {
    "train": ("LSMDC16_annos_training.csv",),
    "val": ("LSMDC16_annos_val.csv",),
    "test": ("LSMDC16_challenge_1000_publictect.csv", "LSMDC16_challenge_1000_publictest.csv"),
    "test_full": ("LSMDC16_annos_test.csv",),
}

RETRIEVAL_SPLITS = tuple(_RETRIEVAL_FILES)
"""Retrieval splits; ``test`` is the thousand clips that results are reported on."""

_SPLITS = ("train", "val", "test")
_JSFUSION_NAMES = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}


def _clip_id(row: Row, name: str) -> str:
    """The clip's name; some files have a stray quote before it."""
    clip_id = row.text(name).strip('"').strip()
    if not re.fullmatch(r".+_[0-9][0-9.]*-[0-9][0-9.]*", clip_id):
        raise BadRowError(expected="a clip named <movie>_<start>-<end>", found=quoted(clip_id))
    return clip_id


def _file(clip_id: str) -> Path:
    """Everything before the last underscore is the movie: titles may hold what looks like a time."""
    return media_path(f"{clip_id.rpartition('_')[0]}/{clip_id}.avi")


def read_lsmdc_retrieval(folder: Path, split: str, problems: Problems) -> list[Pair]:
    """Read pairs of clip and sentence; a clip with several sentences makes several pairs.

    Args:
        folder: Holds ``LSMDC16_annos_training.csv``, ``LSMDC16_annos_val.csv``, ``LSMDC16_annos_test.csv`` and
            ``LSMDC16_challenge_1000_publictect.csv`` (spelt so).
        split: One of ``RETRIEVAL_SPLITS``.
        problems: Where rows that are left out go.

    Raises:
        DataError: There is no such split, or the file is missing or unreadable.
    """
    if split == "blindtest":
        raise DataError("the blind test of LSMDC has no sentences to search by; read_lsmdc_blind_clips lists its clips")
    check_split(split, RETRIEVAL_SPLITS, what="LSMDC retrieval")
    path = find_file(folder, _RETRIEVAL_FILES[split], problems, what=f"LSMDC retrieval {split} file")

    def pair(row: Row) -> Pair:
        clip_id = _clip_id(row, "clip_id")
        return Pair(
            video=_file(clip_id),
            text=row.text("sentence"),
            index=row.index,
            video_id=clip_id,
            text_id=str(row.index),
        )

    return collect(read_columns(path, (*_CLIP, "sentence"), problems, header=_HEADER), problems, pair)


def read_lsmdc_blind_clips(folder: Path, problems: Problems) -> list[Path]:
    """Read which clips the blind test has; its file has no sentences.

    Raises:
        DataError: ``LSMDC16_annos_blindtest.csv`` is missing or unreadable.
    """
    path = find_file(folder, ("LSMDC16_annos_blindtest.csv",), problems, what="LSMDC blind test file")
    rows = read_columns(path, _CLIP, problems, header=_HEADER)
    return collect(rows, problems, lambda row: _file(_clip_id(row, "clip_id")))


def read_lsmdc_choices(folder: Path, split: str, problems: Problems, *, seed: int = 0) -> list[MultiChoice]:
    """Read clips with five sentences each.

    The release's training and validation files put the right sentence first: it is moved to a place drawn from the
    seed and the row. JSFusion's training draws four wrong sentences from the other captions in the same way.

    Args:
        folder: Holds ``LSMDC16_multiple_choice_train.csv``, ``..._valid.csv`` and ``..._test_randomized.csv``, or
            JSFusion's ``LSMDC16_MC_<split>.csv``, or ``LSMDC16_CAP_train.csv`` for training.
        split: ``train``, ``val`` or ``test``.
        problems: Where rows that are left out go.
        seed: Order of the options, where the file gives none.

    Raises:
        DataError: There is no such split, the file is missing or unreadable, a test file always has the first option
            right or counts from another number than it should, or there are too few captions to draw from.
    """
    check_split(split, _SPLITS, what="LSMDC multiple choice")

    def correct_first(path: Path) -> list[MultiChoice]:
        rows = read_columns(path, (*_CLIP, *_OPTIONS), problems, header=_HEADER)
        return collect(rows, problems, partial(_shuffled_choice, seed=seed))

    def randomized(path: Path) -> list[MultiChoice]:
        rows = read_columns(path, (*_CLIP, *_OPTIONS, "answer"), problems, header=_HEADER)
        _check_counting(path, rows, first=1)
        return collect(rows, problems, partial(_choice, clip="clip_id", first=1))

    def jsfusion(path: Path) -> list[MultiChoice]:
        rows = read_table(path, ("vid_key", *_OPTIONS, "answer"), problems)
        _check_counting(path, rows, first=0)
        return collect(rows, problems, partial(_choice, clip="vid_key", first=0))

    def captions(path: Path) -> list[MultiChoice]:
        return _drawn_choices(path, problems, seed)

    readers: dict[str, Callable[[Path], list[MultiChoice]]] = {
        {
            "train": "LSMDC16_multiple_choice_train.csv",
            "val": "LSMDC16_multiple_choice_valid.csv",
            "test": "LSMDC16_multiple_choice_test_randomized.csv",
        }[split]: randomized if split == "test" else correct_first
    }
    readers.update({f"LSMDC16_MC_{name}.csv": jsfusion for name in _JSFUSION_NAMES[split]})
    if split == "train":
        readers["LSMDC16_CAP_train.csv"] = captions
    path, questions = read_first(folder, readers, problems, what=f"LSMDC multiple-choice {split} file")
    if split == "test":
        check_options_are_shuffled(path, questions)
    return questions


def _choice(row: Row, *, clip: str, first: int) -> MultiChoice:
    return MultiChoice(
        video=_file(_clip_id(row, clip)),
        question="",
        options=row.options(*_OPTIONS),
        label=row.label("answer", first=first),
        index=row.index,
    )


def _shuffled_choice(row: Row, *, seed: int) -> MultiChoice:
    options = row.options(*_OPTIONS)
    order = np.random.default_rng([seed, row.index]).permutation(NUM_OPTIONS).tolist()
    return MultiChoice(
        video=_file(_clip_id(row, "clip_id")),
        question="",
        options=tuple(options[place] for place in order),
        label=order.index(0),
        index=row.index,
    )


def _check_counting(path: Path, rows: Sequence[Row], *, first: int) -> None:
    """Options counted from 0 where 1 is due, or the reverse, would shift every label that still is in range."""
    counts = Counter(str(row.fields["answer"]).strip() for row in rows)
    outside, last = ("0", "5") if first == 1 else ("5", "0")
    if counts[outside] > 1 and not counts[last]:
        raise DataError(
            f"{path}: expected right options from {first} to {first + NUM_OPTIONS - 1}, found {outside} in "
            f"{counts[outside]:,} rows and {last} in none: it counts from {1 - first}; fetch the publisher's file"
        )


@dataclass(frozen=True)
class _Caption:
    clip_id: str
    text: str
    index: int


def _drawn_choices(path: Path, problems: Problems, seed: int) -> list[MultiChoice]:
    rows = read_table(path, ("vid_key", "description"), problems)
    captions = collect(
        rows, problems, lambda row: _Caption(_clip_id(row, "vid_key"), row.text("description"), row.index)
    )
    texts = sorted({caption.text for caption in captions})
    if len(texts) < NUM_OPTIONS:
        raise DataError(f"{path}: expected at least {NUM_OPTIONS} different captions to draw from, found {len(texts)}")
    questions: list[MultiChoice] = []
    for caption in captions:
        rng = np.random.default_rng([seed, caption.index])
        drawn = rng.choice(len(texts), NUM_OPTIONS, replace=False).tolist()
        wrong = [texts[place] for place in drawn if texts[place] != caption.text][: NUM_OPTIONS - 1]
        label = int(rng.integers(NUM_OPTIONS))
        options = (*wrong[:label], caption.text, *wrong[label:])
        questions.append(
            MultiChoice(video=_file(caption.clip_id), question="", options=options, label=label, index=caption.index)
        )
    return questions


def read_lsmdc_cloze(folder: Path, split: str, problems: Problems) -> list[Cloze]:
    """Read sentences with one blank, written as ``[MASK]``; further blanks become ``something``.

    Rows without a blank to fill are problems: an evaluation adds their number to what it divides by.

    Args:
        folder: Holds ``LSMDC16_annos_training_FIB.csv``, ``LSMDC16_annos_val_FIB.csv``, ``LSMDC16_annos_test_FIB.csv``,
            with or without a header, or JSFusion's ``LSMDC16_FIB_<split>.csv``.
        split: ``train``, ``val`` or ``test``.
        problems: Where rows that are left out go.

    Raises:
        DataError: There is no such split, or the file is missing or unreadable.
    """
    check_split(split, _SPLITS, what="LSMDC fill-in-the-blank")

    def release(path: Path) -> list[Cloze]:
        rows = read_columns(path, (*_CLIP, "sentence", "fill_in", "blank"), problems, header=_HEADER)
        return collect(rows, problems, partial(_cloze, clip="clip_id", sentence="fill_in", answer="blank"))

    def jsfusion(path: Path) -> list[Cloze]:
        rows = read_table(path, ("vid_key", "blank_sentence", "answer"), problems)
        return collect(rows, problems, partial(_cloze, clip="vid_key", sentence="blank_sentence", answer="answer"))

    name = "training" if split == "train" else split
    readers: dict[str, Callable[[Path], list[Cloze]]] = {f"LSMDC16_annos_{name}_FIB.csv": release}
    readers.update({f"LSMDC16_FIB_{name}.csv": jsfusion for name in _JSFUSION_NAMES[split]})
    return read_first(folder, readers, problems, what=f"LSMDC fill-in-the-blank {split} file")[1]


def _cloze(row: Row, *, clip: str, sentence: str, answer: str) -> Cloze:
    clip_id = _clip_id(row, clip)
    word = row.answer(answer)
    if word == "nothingtoblank":
        raise BadRowError(expected="a word that is blanked", found="NOTHINGTOBLANK", is_published=True)
    return Cloze(video=_file(clip_id), question=_masked(row.text(sentence)), answer=word, index=row.index)


def _masked(sentence: str) -> str:
    before, *after = re.split("_{5,}", sentence)
    if not after:
        raise BadRowError(expected="a blank (_____) in the sentence", found=quoted(sentence), is_published=True)
    question = " ".join(f"{before} {MASK} {' something '.join(after)}".split())
    if question.count(MASK) != 1:
        raise BadRowError(expected=f"exactly one {MASK}", found=quoted(question))
    return question
