"""CC3M's caption files: every planted trap, and what only other people's copies have."""

import json
from pathlib import Path

import pytest

from clover.data.corpora.cc3m import file_name_of, read_cc3m
from clover.data.corpora.delimited import MAX_ROW_LENGTH
from clover.errors import DataError
from clover.types import Pair

FORMATS = Path(__file__).parents[2] / "formats/cc3m"


def read(path):
    return read_cc3m(path, Path("media"))


def written(path, text):
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def rows(table):
    return [(pair.text, pair.video.relative_to("media").as_posix()) for pair in table]


def test_no_header_and_the_caption_first():
    table = read(FORMATS / "Train_GCC-training.tsv")
    assert table[0] == Pair(
        video=Path("media/training/3754129096"),
        text="a lighthouse painted on a tin box",
        index=0,
        video_id="3754129096",
        text_id="3754129096#0",
    )
    assert len(table) == table.num_rows == 5


def test_images_are_named_after_their_links():
    names = json.loads((FORMATS / "folder_variant_names.json").read_text())
    assert {link: file_name_of(link) for link in names} == names
    assert [pair.video_id for pair in read(FORMATS / "Train_GCC-training.tsv")] == list(names.values())


def test_bare_quotes_are_text(tmp_path):
    assert read(FORMATS / "Train_GCC-training.tsv")[3].text == 'the "old mill" seen from the river bank'
    table = read(written(tmp_path / "a.tsv", '"a quote\thttp://x.example/1\n" b ""\thttp://x.example/2\n'))
    assert [pair.text for pair in table] == ['"a quote', '" b ""']


def test_with_a_header():
    assert list(read(FORMATS / "cc3m_with_header.tsv")) == list(read(FORMATS / "Train_GCC-training.tsv"))


def test_validation_images_are_in_their_own_folder():
    table = read(FORMATS / "Validation_GCC-1.1.0-Validation.tsv")
    assert [pair.video.parent.name for pair in table] == ["validation", "validation"]
    other = read_cc3m(FORMATS / "Validation_GCC-1.1.0-Validation.tsv", Path("media"), split_folder="dev")
    assert other[0].video.parent == Path("media/dev")


def test_crlf_byte_order_mark_and_empty_lines(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"\xef\xbb\xbfone\thttp://x.example/1\r\n\r\ntwo\thttp://x.example/2")
    assert rows(read(path)) == [
        ("one", f"training/{file_name_of('http://x.example/1')}"),
        ("two", f"training/{file_name_of('http://x.example/2')}"),
    ]


def test_a_carriage_return_within_a_caption_does_not_end_the_row(tmp_path):
    table = read(written(tmp_path / "a.tsv", "one\rmore\thttp://x.example/1\n"))
    assert table[0].text == "one\rmore"


def test_a_list_of_file_names_with_a_header(tmp_path):
    text = "Caption\tfilename\none\ttrain/0001.jpg\ntwo\t./train/0002.png\nthree\thttp://x.example/3\n"
    assert rows(read(written(tmp_path / "a.tsv", text))) == [
        ("one", "train/0001.jpg"),
        ("two", "train/0002.png"),
        ("three", f"training/{file_name_of('http://x.example/3')}"),
    ]
    assert read(tmp_path / "a.tsv").name(0) == "0001"


def test_columns_are_found_by_name_and_delimiter(tmp_path):
    text = 'url,width,caption\nhttp://x.example/1,64,"one, two\nthree ""four"""\nhttp://x.example/2,64,five\n'
    table = read(written(tmp_path / "a.csv", text))
    assert [pair.text for pair in table] == ['one, two\nthree "four"', "five"]
    assert not len(table.problems)


def test_one_link_with_two_captions_is_two_rows(tmp_path):
    table = read(written(tmp_path / "a.tsv", "one\thttp://x.example/1\ntwo\thttp://x.example/1\n"))
    assert [pair.text for pair in table] == ["one", "two"]
    assert table[0].video == table[1].video


def test_two_links_of_one_name_are_left_out(tmp_path):
    first, second = "http://x.example/plumless", "http://x.example/buckeroo"
    assert file_name_of(first) == file_name_of(second)
    text = f"zero\thttp://x.example/0\none\t{first}\ntwo\t{second}\nthree\t{first}\nfour\thttp://x.example/4\n"
    table = read(written(tmp_path / "a.tsv", text))
    assert [(pair.text, pair.index) for pair in table] == [("zero", 0), ("four", 4)]
    assert [(problem.row, problem.expected) for problem in table.problems] == [
        (row, "an image of its own") for row in (1, 2, 3)
    ]


def test_rows_that_cannot_be_used_are_named(tmp_path):
    bad = {
        "no link": "1 in 'no link'",
        "one\ttwo\thttp://x.example/1": "3 in ",
        " \thttp://x.example/1": "an empty one",
        "caption\tnot a link": "'not a link'",
        "caf\udce9\thttp://x.example/1": "other bytes in 'caf�",
        "x\thttp://x.example/\udce9": "other bytes in 'x",
        "x" * MAX_ROW_LENGTH + "\thttp://x.example/1": "a line of",
    }
    lines = ["good\thttp://x.example/1", *bad, "good\thttp://x.example/2"]
    table = read(written(tmp_path / "a.tsv", "\n".join(lines)))
    assert [(pair.text, pair.index) for pair in table] == [("good", 0), ("good", len(bad) + 1)]
    assert [problem.row for problem in table.problems] == list(range(1, len(bad) + 1))
    for expected, problem in zip(bad.values(), table.problems, strict=True):
        assert expected in problem.found


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "a//b.jpg", "a/../b.jpg", "", "a\\b.jpg"])
def test_paths_out_of_the_folder_are_refused(tmp_path, path):
    table = read(written(tmp_path / "a.tsv", f"caption\tfile\ngood\ta.jpg\nbad\t{path}\n"))
    assert [pair.text for pair in table] == ["good"]
    assert [problem.row for problem in table.problems] == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"words\tpicture\none\t1.jpg\n", "row 0: expected a link, found 'picture'"),
        (b"caption\turl\n", "found none"),
        (b"\n\n", "found none"),
        ("one\thttp://x.example/1\n".encode("utf-16"), "found none in"),
        (b"PAR1\0\0\0\n\0\0", "found none in 2"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.tsv: .*{message}"):
        read(tmp_path / "a.tsv")
