"""Damaged corpora: nothing but DataError is raised, no row is lost without a word, and what was not damaged is read."""

import csv
import io
import random
import tarfile
from pathlib import Path

import pytest

from clover.data.corpora.cc3m import read_cc3m
from clover.data.corpora.shard_index import index_shard
from clover.data.corpora.webvid import read_webvid
from clover.errors import DataError

FORMATS = Path(__file__).parents[2] / "formats"
NASTY = [
    b'"',
    b'""',
    b",",
    b"\t",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"../",
    b" ",
]
NUM_CASES = 300


def damage(data, generator):
    """One change that may make the file longer or shorter."""
    place, length = generator.randrange(len(data)), generator.choice([1, 1, 2, 7, 60])
    kind = generator.choice(["insert", "delete", "replace", "repeat", "cut"])
    if kind == "insert":
        return data[:place] + generator.choice(NASTY) + data[place:]
    if kind == "delete":
        return data[:place] + data[place + length :]
    if kind == "replace":
        return data[:place] + generator.randbytes(length) + data[place + length :]
    if kind == "repeat":
        return data[: place + length] + data[place:]
    return data[:place]


def every_row_is_accounted_for(table):
    problem_rows = [problem.row for problem in table.problems]
    assert sorted([*table.indices.tolist(), *problem_rows]) == list(range(table.num_rows))
    assert len(table) + len(table.problems) == table.num_rows
    assert all(pair.text == pair.text.strip() != "" and ".." not in pair.video.parts for pair in table)
    assert all("\n" not in str(problem) for problem in table.problems)


@pytest.mark.parametrize("name", ["Train_GCC-training.tsv", "cc3m_with_header.tsv"])
def test_cc3m(tmp_path, name):
    original = (FORMATS / "cc3m" / name).read_bytes()
    num_read = 0
    for seed in range(NUM_CASES):
        generator, data = random.Random(seed), original
        for _ in range(generator.randint(1, 3)):
            data = damage(data, generator) or b"x"
        (tmp_path / "a.tsv").write_bytes(data)
        lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(b"\r")]
        try:
            table = read_cc3m(tmp_path / "a.tsv", Path("media"))
        except DataError:
            continue
        every_row_is_accounted_for(table)
        names = [field.strip(b' "\r').lower() for field in lines[0].split(b"\t")]
        assert table.num_rows == len(lines) - (names == [b"caption", b"url"])
        num_read += 1
    assert num_read > NUM_CASES * 0.9


def test_webvid(tmp_path):
    original = (FORMATS / "webvid/results_2M_train.csv").read_bytes()
    num_read = 0
    for seed in range(NUM_CASES):
        generator, data = random.Random(seed), original
        for _ in range(generator.randint(1, 3)):
            data = damage(data, generator) or b"x"
        (tmp_path / "a.csv").write_bytes(data)
        try:
            table = read_webvid(tmp_path / "a.csv", Path("media"))
        except DataError:
            continue
        every_row_is_accounted_for(table)
        num_read += 1
    assert num_read > NUM_CASES * 0.6


BAD_ROWS = [
    '{0},u,d,1_50,"never closed',
    '{0},u,d,1_50,"never closed, with a comma',
    '"{0},u,d,1_50,never closed',
    '{0},u,"d,1_50,caption {0}',
    '{0},u,d,1_50,"closed" too early',
    "{0},u,d,1_50,one, too many",
    "{0},u,d,1_50",
    "{0}",
    "{0},u,d,1_50,",
    "{0},u,d,..,caption {0}",
    "x{0},u,d,1_50,caption {0}",
    ",",
]
GOOD_CAPTIONS = [
    "caption {0}",
    'inches: 5" {0}',
    'ends in a quote {0}"',
    "with, comma {0}",
    'a "sign" {0}',
    '"quoted" {0}',
    "é {0}",
]


def test_webvid_rows_beside_broken_ones(tmp_path):
    for seed in range(NUM_CASES):
        generator = random.Random(seed)
        text = io.StringIO("videoid,contentUrl,duration,page_dir,name\n", newline="")
        text.seek(0, io.SEEK_END)
        good = {}
        for row in range(20):
            if generator.random() < 0.3:
                text.write(generator.choice(BAD_ROWS).format(row) + "\n")
            else:
                good[row] = generator.choice(GOOD_CAPTIONS).format(row)
                quoting = generator.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
                csv.writer(text, lineterminator="\n", quoting=quoting).writerow([row, "u", "d", "1_50", good[row]])
        (tmp_path / "a.csv").write_text(text.getvalue(), encoding="utf-8")
        table = read_webvid(tmp_path / "a.csv", Path("media"))
        every_row_is_accounted_for(table)
        assert {pair.index: pair.text for pair in table} == good, f"seed {seed}"
        assert table.num_rows == 20


def regions(data):
    """Of every key, the bytes that its members and their headers take."""
    taken = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            end = member.offset_data + -(-member.size // 512) * 512
            taken.setdefault(member.name.split(".")[0], []).append((member.offset, end))
    return taken


@pytest.mark.parametrize("name", ["webvid", "cc3m"])
def test_shards(tmp_path, name):
    original = (FORMATS / "webdataset" / name / "00000.tar").read_bytes()
    taken, whole = regions(original), index_shard(FORMATS / "webdataset" / name / "00000.tar")
    end = max(end for spans in taken.values() for _, end in spans)
    path = tmp_path / "00000.tar"
    num_read = 0
    for seed in range(NUM_CASES):
        generator, data = random.Random(seed), bytearray(original)
        changed = {generator.randrange(end) for _ in range(generator.randint(1, 3))}
        for place in changed:
            data[place : place + 4] = generator.randbytes(4)
        size = generator.randrange(512, end) if generator.random() < 0.3 else len(data)
        path.write_bytes(data[:size])
        try:
            index = index_shard(path)
        except DataError:
            assert min(changed) < 512
            continue
        num_read += 1
        untouched = [
            sample
            for sample in whole.samples
            if not any(
                last > size or any(first - 4 < place < last for place in changed) for first, last in taken[sample.key]
            )
        ]
        assert [sample for sample in index.samples if sample in untouched] == untouched, f"seed {seed}"
        keys = [sample.key for sample in index.samples] + [failed.key for failed in index.failed]
        rows = [problem.row for problem in index.problems if problem.row is not None]
        assert len(set(keys)) == len(keys)
        assert len(set(rows)) == len(rows)
        lost = set(taken) - set(keys)
        assert not lost or index.problems, f"seed {seed}: {lost} are lost without a word"
    assert num_read > NUM_CASES * 0.8


def test_shards_of_other_lengths(tmp_path):
    original = (FORMATS / "webdataset/webvid/00000.tar").read_bytes()
    (tmp_path / "00000.tar").write_bytes(original)
    whole = index_shard(tmp_path / "00000.tar")
    for seed in range(NUM_CASES):
        generator, data = random.Random(seed), original
        for _ in range(generator.randint(1, 3)):
            data = damage(data, generator)[: generator.choice([None, None, 6000])] or b"x"
        (tmp_path / "00000.tar").write_bytes(data)
        try:
            index = index_shard(tmp_path / "00000.tar")
        except DataError:
            continue
        assert index.problems or [index.samples, index.failed] == [whole.samples, whole.failed] or len(data) >= 17_920
        for sample in index.samples:
            assert 0 <= sample.offset <= sample.offset + sample.size <= len(data)
