"""Damaged files: a reader refuses with a DataError or accounts for every row, and nothing else ever happens."""

import codecs
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from annotation_fixtures import FORMATS
from damage import DAMAGES, damage_bytes, damage_values

from clover.data.annotations.didemo import read_didemo_retrieval
from clover.data.annotations.lsmdc import (
    read_lsmdc_blind_clips,
    read_lsmdc_choices,
    read_lsmdc_cloze,
    read_lsmdc_retrieval,
)
from clover.data.annotations.msrvtt import read_msrvtt_choices, read_msrvtt_questions, read_msrvtt_retrieval
from clover.data.annotations.msvd import read_msvd_questions, read_youtube_mapping
from clover.data.annotations.problems import Problems
from clover.data.annotations.tgif import read_tgif_action, read_tgif_frame, read_tgif_transition
from clover.errors import DataError

CASES_PER_FILE = 80


def lines_of(data: bytes) -> list[bytes]:
    """The lines that are not blank, found without the readers."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16").encode()
    lines = (line.rstrip(b"\r") for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n"))
    return [line for line in lines if line.strip(b" ")]


def rows_below_a_header(data: bytes) -> int:
    return len(lines_of(data)) - 1


def rows_of_the_release(data: bytes) -> int:
    lines = lines_of(data)
    return len(lines) - bool(lines and lines[0].split(b"\t")[0].strip(b' "').lower() == b"clip_id")


def rows(data: bytes) -> int:
    return len(lines_of(data))


def document(data: bytes) -> Any:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return json.loads(data.decode("utf-16"))
    lines = []
    for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n"):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            lines.append(line.decode("cp1252"))
    return json.loads("\n".join(lines))


def elements(data: bytes) -> int:
    return len(document(data))


def num_sentences(pairs: list[Any]) -> int:
    return sum(pair.text_id.count("+") + 1 for pair in pairs)


@dataclass(frozen=True)
class Target:
    """One file to damage, how to read it, and how to count its rows and the records made of them."""

    path: str
    reader: Callable[..., Any]
    arguments: tuple[str, ...]
    count_rows: Callable[[bytes], int]
    count_records: Callable[[Any], int] = len
    beside: tuple[str, ...] = ()
    save_as: str | None = None

    def __str__(self) -> str:
        return f"{self.path} {' '.join(self.arguments)}".strip()


TARGETS = [
    Target("msrvtt/MSRVTT_JSFUSION_test.csv", read_msrvtt_retrieval, ("test_1k",), rows_below_a_header),
    Target(
        "msrvtt/MSRVTT_JSFUSION_test.semicolon.csv",
        read_msrvtt_retrieval,
        ("test_1k",),
        rows_below_a_header,
        save_as="MSRVTT_JSFUSION_test.csv",
    ),
    Target("msrvtt_mc/MSR_MC_test.csv", read_msrvtt_choices, ("test",), rows_below_a_header),
    Target("msrvtt_mc/msrvtt_mc_test.jsonl", read_msrvtt_choices, ("test",), rows),
    Target("msrvtt_mc/singularity_msrvtt_mc_test.json", read_msrvtt_choices, ("test",), elements),
    Target("msrvtt_qa/test_qa.json", read_msrvtt_questions, ("test",), elements),
    Target("msrvtt_qa/clipbert/train.jsonl", read_msrvtt_questions, ("train",), rows),
    Target("msvd_qa/test_qa.json", read_msvd_questions, ("test",), elements, beside=("msvd_qa/youtube_mapping.txt",)),
    Target("msvd_qa/youtube_mapping.txt", read_youtube_mapping, (), rows),
    Target("didemo/train_data.json", read_didemo_retrieval, ("train",), elements, num_sentences),
    Target("didemo/clipbert/train.jsonl", read_didemo_retrieval, ("train",), rows),
    Target("didemo/all_in_one/DiDeMo_train.tsv", read_didemo_retrieval, ("train",), rows_below_a_header),
    Target("lsmdc/LSMDC16_annos_training.csv", read_lsmdc_retrieval, ("train",), rows_of_the_release),
    Target("lsmdc/LSMDC16_challenge_1000_publictect.csv", read_lsmdc_retrieval, ("test",), rows_of_the_release),
    Target("lsmdc/LSMDC16_annos_blindtest.csv", read_lsmdc_blind_clips, (), rows_of_the_release),
    Target("lsmdc_mc/LSMDC16_multiple_choice_train.csv", read_lsmdc_choices, ("train",), rows_of_the_release),
    Target("lsmdc_mc/LSMDC16_multiple_choice_test_randomized.csv", read_lsmdc_choices, ("test",), rows_of_the_release),
    Target("lsmdc_mc/jsfusion/LSMDC16_MC_test.csv", read_lsmdc_choices, ("test",), rows_below_a_header),
    Target("lsmdc_fib/LSMDC16_annos_training_FIB.csv", read_lsmdc_cloze, ("train",), rows_of_the_release),
    Target("lsmdc_fib/with_header/LSMDC16_annos_test_FIB.csv", read_lsmdc_cloze, ("test",), rows_of_the_release),
    Target("lsmdc_fib/jsfusion/LSMDC16_FIB_train.csv", read_lsmdc_cloze, ("train",), rows_below_a_header),
    Target("tgif_qa/Train_action_question.csv", read_tgif_action, ("train",), rows_below_a_header),
    Target("tgif_qa/Test_transition_question.csv", read_tgif_transition, ("test",), rows_below_a_header),
    Target("tgif_qa/Train_frameqa_question.csv", read_tgif_frame, ("train",), rows_below_a_header),
    Target("tgif_qa/clipbert/frameqa_test.jsonl", read_tgif_frame, ("test",), rows),
    Target("tgif_qa/clipbert/action_test.jsonl", read_tgif_action, ("test",), rows),
]


def account_for(target: Target, folder: Path, data: bytes) -> bool:
    """Read a damaged file; return whether it was read rather than refused."""
    path = folder / (target.save_as or Path(target.path).name)
    path.write_bytes(data)
    problems = Problems()
    try:
        records = target.reader(folder, *target.arguments, problems)
    except DataError as error:
        assert str(path.parent) in str(error) and len(str(error).splitlines()) == 1, str(error)
        return False
    num_left_out = sum(problem.file == path for problem in problems)
    assert target.count_records(records) + num_left_out == target.count_rows(data)
    assert all(str(problem).isprintable() for problem in problems)
    indices = [record.index for record in records if not isinstance(record, str | Path)]
    assert len(indices) == len(set(indices)) and all(0 <= index < target.count_rows(data) for index in indices)
    return True


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_damaged_files_lose_no_row_in_silence(tmp_path, target):
    for name in target.beside:
        shutil.copy(FORMATS / name, tmp_path)
    whole = (FORMATS / target.path).read_bytes()
    assert account_for(target, tmp_path, whole)
    rng = random.Random(target.path)
    num_read = sum(account_for(target, tmp_path, rng.choice(DAMAGES)(whole, rng)) for _ in range(CASES_PER_FILE))
    assert num_read > 0.1 * CASES_PER_FILE  # most damage is to rows, not to the file


@pytest.mark.parametrize("name", ["MSRVTT_data.json", "MSRVTT_train.9k.csv"])
def test_damaged_captions_and_lists_lose_no_row_in_silence(tmp_path, name):
    for file in ("MSRVTT_data.json", "MSRVTT_train.9k.csv"):
        shutil.copy(FORMATS / "msrvtt" / file, tmp_path)
    data = json.loads((FORMATS / "msrvtt" / "MSRVTT_data.json").read_bytes())
    whole = (tmp_path / name).read_bytes()
    rng = random.Random(name)
    read = partial(read_msrvtt_retrieval, tmp_path, "train_9k")
    num_read = 0
    for _ in range(2 * CASES_PER_FILE):
        if name.endswith("json"):
            sentences = json.loads(damage_values(json.dumps(data["sentences"]).encode(), rng))
            damaged = json.dumps({**data, "sentences": sentences}).encode()
            damaged = damaged if rng.random() < 0.7 else damage_bytes(damaged, rng)
        else:
            damaged = rng.choice(DAMAGES)(whole, rng)
        (tmp_path / name).write_bytes(damaged)
        problems = Problems()
        try:
            pairs = read(problems)
        except DataError:
            continue
        num_read += 1
        left_out = [problem for problem in problems if problem.file.name == name]
        if name.endswith("csv"):
            assert len({pair.video_id for pair in pairs}) + len(left_out) == rows_below_a_header(damaged)
        else:
            listed = {"video0", "video1", "video7001", "video7010", "video7020"}
            sentences = document(damaged)["sentences"]
            others = [row for row in sentences if isinstance(row, dict) and is_unlisted(row.get("video_id"), listed)]
            assert len(pairs) + len(left_out) + len(others) == len(sentences)
    assert num_read > CASES_PER_FILE / 2


def is_unlisted(value: object, listed: set[str]) -> bool:
    """Whether this names a video of MSR-VTT outside the list."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        value = f"video{value}"
    if not isinstance(value, str):
        return False
    number = value.strip().removeprefix("video").removeprefix("msr")
    return value.strip() != number and number.isascii() and number.isdigit() and value.strip() not in listed
