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

TOKENS = (
    *(
        b'"',
        b"\t",
        b",",
        b";",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\x81",
        b"\x92",
        b"\xff\xfe",
        b"\xe9",
        b"_____",
        b"[MASK]",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"../",
        b"nan",
        b"none",
        b"-1",
        b"5",
        b"1e9",
        b"{",
    ),
    *(
        b"}",
        b"[",
        b"]",
        b"null",
        b"true",
        b"NaN",
        b'\\ud800"',
        b"\\u0000",
        b"CLIP_ID",
        b"  ",
        b"9" * 5000,
        b"x" * 140_000,
    ),
)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(data))
        match rng.randrange(4):
            case 0:
                data = data[:place] + rng.choice(TOKENS) + data[place:]
            case 1:
                data = data[:place] + data[place + rng.randint(1, 20) :]
            case 2:
                data = data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
            case 3:
                data = data[:place]
    return data


def damage_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            lines.insert(place, rng.choice(lines))
        case 1:
            del lines[place]
        case 2:
            lines[place] = b""
        case 3:
            rng.shuffle(lines)
        case 4:
            fields = lines[place].split(b"\t")
            fields[rng.randrange(len(fields))] = rng.choice((*TOKENS, b"", b" "))
            lines[place] = b"\t".join(fields)
        case 5:
            lines[place] = b"\t".join(lines[place].split(b"\t")[: rng.randint(0, 6)])
    return b"\n".join(lines)


def damage_encoding(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8")
    match rng.randrange(5):
        case 0:
            return codecs.BOM_UTF8 + data
        case 1:
            return text.encode("utf-16")
        case 2:
            return text.encode("utf-16")[: rng.randint(0, 2 * len(text))]
        case 3:
            return text.replace("e", rng.choice("é€\u2028\x85")).encode(rng.choice(["utf-8", "utf-16-be", "utf-32"]))
        case _:
            return text.replace("\r\n", "\n").replace("\n", rng.choice(["\r\n", "\r", "\n\n", "\n \n"])).encode()


def damage_values(data: bytes, rng: random.Random) -> bytes:
    """Put something else in the place of a value, or leave it out, in the lines or the list of a JSON file."""
    odd = (None, True, -1, 5, 1.5, "", " ", "\ud800", "a\0b", [], {}, ["a"] * 5, [""] * 5, "x" * 9999, "../x", 10**30)
    try:
        values = json.loads(data)
        separator = None
    except ValueError:
        try:
            values = [json.loads(line) for line in data.splitlines()]
        except ValueError:
            return damage_lines(data, rng)
        separator = "\n"
    if isinstance(values, dict):
        values, separator = [values], "\n"
    for _ in range(rng.randint(1, 3)):
        row = rng.randrange(len(values))
        if isinstance(values[row], dict) and values[row] and rng.random() < 0.8:
            name = rng.choice(sorted(values[row]))
            values[row][name] = rng.choice(odd)
            if rng.random() < 0.3:
                del values[row][name]
        else:
            values[row] = rng.choice(odd)
    text = json.dumps(values) if separator is None else separator.join(map(json.dumps, values))
    return text.encode()


DAMAGES = (damage_bytes, damage_bytes, damage_lines, damage_encoding, damage_values)


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
