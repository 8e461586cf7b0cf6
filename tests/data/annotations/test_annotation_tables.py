"""Encodings, delimiters, quotes, JSON, and how problems are reported."""

import codecs
import json
from pathlib import Path

import pytest
from annotation_fixtures import put

from clover.data.annotations.problems import Problems
from clover.data.annotations.rows import BadRowError, Row, clean_text, media_path
from clover.data.annotations.tables import (
    read_columns,
    read_json,
    read_json_lines,
    read_json_list,
    read_lines,
    read_table,
)
from clover.errors import DataError


def table(tmp_path, content, columns=("a", "b")):
    problems = Problems()
    put(tmp_path, "t.csv", content)
    return [dict(row.fields) for row in read_table(tmp_path / "t.csv", columns, problems)], problems


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace("a,b", " A , B ").encode(),
        lambda text: text.replace("a,b", '"a","b"').encode(),
        lambda text: text.encode().rstrip(b"\n"),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
)
def test_one_table_in_many_guises(tmp_path, encode):
    rows, problems = table(tmp_path, encode("a,b\nété,2\n3,none\n"))
    assert rows == [{"a": "été", "b": "2"}, {"a": "3", "b": "none"}] and not len(problems)


def test_columns_are_found_by_name(tmp_path):
    rows, _ = table(tmp_path, "x,b,a\n1,2,3\n")
    assert rows == [{"x": "1", "b": "2", "a": "3"}]


def test_an_unpaired_quote_costs_one_row_and_not_the_rest_of_the_file(tmp_path):
    rows, problems = table(tmp_path, 'a,b\n1,"x\n2,"y, z"\n3,w\n')
    assert rows == [{"a": "2", "b": "y, z"}, {"a": "3", "b": "w"}]
    assert [str(problem).split(": ", 1)[1] for problem in problems] == ["expected paired quotes, found '1,\"x'"]


def test_a_field_longer_than_the_csv_limit_is_a_problem_and_not_a_crash(tmp_path):
    rows, problems = table(tmp_path, f'a,b\n1,"{"x" * 200_000}"\n2,y\n')
    assert rows == [{"a": "2", "b": "y"}] and len(problems) == 1 and len(str(next(iter(problems)))) < 400


@pytest.mark.parametrize("content", ["", "\n\n", "a\n1\n", "1,2\n", "a,b,b\n1,2,3\n", b"\x81\n"])
def test_a_wrong_header_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"t\.csv: expected a header with a, b"):
        table(tmp_path, content)


def test_a_line_in_no_encoding_is_a_problem_and_the_others_are_read(tmp_path):
    rows, problems = table(tmp_path, b"a,b\n1,\x81\n2,\x92\n3,\xc3\xa9\n")
    assert rows == [{"a": "2", "b": "’"}, {"a": "3", "b": "é"}]
    assert [problem.row for problem in problems] == [2]
    assert "1 line is not UTF-8" in problems.notes[0]


def test_broken_utf16_and_unreadable_files_are_named(tmp_path):
    put(tmp_path, "t.csv", codecs.BOM_UTF16_LE + b"a")
    for path, text in [
        (tmp_path / "t.csv", "expected UTF-8, found broken UTF-16"),
        (tmp_path / "none.csv", "expected a readable annotation file, found no such file or directory"),
        (tmp_path, "found is a directory"),
    ]:
        with pytest.raises(DataError, match=text):
            read_lines(path, Problems())


def test_tables_without_header_keep_quotes_and_pass_over_one(tmp_path):
    put(tmp_path, "t.csv", 'CLIP_ID\tB\n"1\t"x"\n2\ty\tz\n\t\n')
    problems = Problems()
    rows = read_columns(tmp_path / "t.csv", ("clip", "b"), problems, header="CLIP_ID")
    assert [(row.index, row.number, dict(row.fields)) for row in rows] == [
        (0, 2, {"clip": '"1', "b": '"x"'}),
        (2, 4, {"clip": "", "b": ""}),
    ]
    assert [problem.row for problem in problems] == [3]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[1,\n 2,,]", r"line 2, column 4"),
        ("", "expected JSON"),
        (b'["\x81"]', "found other bytes in line 1"),
        ("[" * 100_000, "expected JSON of plain records"),
        ("[1" + "0" * 5000 + "]", "expected JSON of plain records"),
        ('{"a": 1}', "expected a JSON list, found"),
        ("3", "expected a JSON list, found 3"),
    ],
)
def test_broken_json_is_refused_with_its_place(tmp_path, content, text):
    put(tmp_path, "t.json", content)
    with pytest.raises(DataError, match=text):
        read_json_list(tmp_path / "t.json", Problems())


def test_json_with_a_byte_order_mark_or_old_bytes_is_read(tmp_path):
    put(tmp_path, "t.json", codecs.BOM_UTF8 + b'["caf\xe9",\r\n"caf\xc3\xa9"]')
    problems = Problems()
    assert read_json(tmp_path / "t.json", problems) == ["café", "café"]
    assert len(problems.notes) == 1


def test_a_stray_byte_does_not_garble_the_rest_of_a_line_of_json(tmp_path):
    put(tmp_path, "t.json", b'["caf\xc3\xa9", "it\x92s \x93so\x94", "na\xc3\xafve"]')
    problems = Problems()
    assert read_json(tmp_path / "t.json", problems) == ["café", "it’s “so”", "naïve"]
    assert ["3 bytes are not UTF-8, read as Windows-1252 (first: line 1)" in note for note in problems.notes] == [True]


def test_bad_json_lines_are_problems(tmp_path):
    put(tmp_path, "t.jsonl", '{"a": 1}\n[2]\n{"a": \n\n{"a": 4}\n' + "[" * 100_000)
    problems = Problems()
    rows = read_json_lines(tmp_path / "t.jsonl", problems)
    assert [(row.index, row.number, row.fields["a"]) for row in rows] == [(0, 1, 1), (3, 5, 4)]
    assert [problem.row for problem in problems] == [2, 3, 6]


@pytest.mark.parametrize("value", [None, 3, "", " \t", "\ud800", ["a"], "\xa0"])
def test_what_is_no_text(value):
    with pytest.raises(BadRowError):
        clean_text(value, what="'a'")


@pytest.mark.parametrize("name", ["/a.mp4", "../a.mp4", "a/../../b", "..", ".", "", "a\0b"])
def test_paths_that_lead_out_of_the_folder_are_refused(name):
    with pytest.raises(BadRowError):
        media_path(name)
    assert media_path("a/b..mp4") == Path("a/b..mp4")


@pytest.mark.parametrize("value", [True, 1.0, "1.0", "", None, "٣", "9" * 19])
def test_what_is_no_whole_number(value):
    row = Row(Path("f"), 1, 0, {"n": value})
    with pytest.raises(BadRowError):
        row.integer("n")
    assert Row(Path("f"), 1, 0, {"n": " 7 "}).integer("n") == 7


def test_problems_are_grouped_counted_and_raised():
    problems = Problems()
    problems.raise_if_any()
    problems.add(Path("x/f.csv"), 3, expected="text", found="none")
    problems.add(Path("x/f.csv"), 9, expected="5 options", found="4")
    problems.add(Path("x/f.csv"), 11, expected="5 options", found="6")
    assert {kind: len(group) for kind, group in problems.by_kind().items()} == {
        "f.csv: expected 5 options": 2,
        "f.csv: expected text": 1,
    }
    assert problems.summary() == [
        "f.csv: expected 5 options: 2 rows left out (first: row 9, found 4)",
        "f.csv: expected text: 1 row left out (first: row 3, found none)",
    ]
    with pytest.raises(DataError, match=r"^x/f.csv, row 3: expected text, found none \(and 2 more\)"):
        problems.raise_if_any()


def test_messages_are_one_line_whatever_is_in_the_file(tmp_path):
    put(tmp_path, "t.json", [{"a": "x"}, "two\nlines\x1b[2J" * 50, {"b": "\n" * 900}])
    problems = Problems()
    read_json_list(tmp_path / "t.json", problems)
    (problem,) = problems
    assert str(problem).isprintable() and len(problem.found) < 400
    assert json.loads((tmp_path / "t.json").read_text())[0] == {"a": "x"}
