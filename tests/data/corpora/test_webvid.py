"""WebVid's caption files: every planted trap, and what only other people's copies have."""

import csv
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clover.data.corpora.delimited import MAX_ROW_LENGTH
from clover.data.corpora.webvid import read_webvid
from clover.errors import DataError
from clover.types import Pair

FORMATS = Path(__file__).parents[2] / "formats/webvid"
HEADER = "videoid,contentUrl,duration,page_dir,name"


def line(number, caption):
    return f"{number},https://videos.example/{number}/preview.mp4,PT00H00M12S,000001_000050,{caption}"


def written(path, *lines, end="\n"):
    path.write_bytes("".join(text + end for text in (HEADER, *lines)).encode("utf-8", "surrogateescape"))
    return path


def read(path):
    return read_webvid(path, Path("media"))


def captions(table):
    return [pair.text for pair in table]


def reasons(table):
    return [(problem.row, problem.expected, problem.found) for problem in table.problems]


def test_training_file():
    table = read(FORMATS / "results_2M_train.csv")
    assert table[0] == Pair(
        video=Path("media/videos/000001_000050/900000001.mp4"),
        text="Red kite turning above a wet field",
        index=0,
        video_id="900000001",
        text_id="900000001#0",
    )
    assert len(table) == 4
    assert table.num_rows == 5


def test_quoted_commas_and_doubled_quotes():
    table = read(FORMATS / "results_2M_train.csv")
    assert table[1].text == "Baker dusting flour, slow motion, close up"
    assert table[2].text == 'Sign that reads "open" swinging in a shop window'


def test_letters_beyond_ascii():
    assert read(FORMATS / "results_2M_train.csv")[-1].text == "Café terrace at dusk with paper lanterns"


def test_an_empty_caption_is_left_out_and_the_numbers_of_others_stay():
    table = read(FORMATS / "results_2M_train.csv")
    assert [pair.index for pair in table] == [0, 1, 2, 4]
    assert reasons(table) == [(3, "a caption", "an empty one")]
    assert str(next(iter(table.problems))).endswith(
        "results_2M_train.csv, row 3: expected a caption, found an empty one"
    )


def test_an_absurd_duration_is_no_problem():
    assert read(FORMATS / "results_2M_train.csv")[2].video_id == "900000003"


def test_other_column_order_and_an_extra_column():
    table = read(FORMATS / "results_10M_train.csv")
    assert captions(table) == ["Snow plough clearing a mountain road", "Sparrow hopping along a wooden fence"]
    assert str(table[1].video) == "media/videos/000001_000050/920000002.mp4"


def test_validation_file():
    assert [pair.video_id for pair in read(FORMATS / "results_2M_val.csv")] == ["910000001", "910000002"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_within_quotes_belong_to_the_caption(tmp_path, end):
    text = end.join([line(1, f'"first{end}{end}second, third"'), line(2, "next")])
    table = read(written(tmp_path / "a.csv", text, end=end))
    assert captions(table) == [f"first{end}{end}second, third", "next"]
    assert not len(table.problems)


def test_crlf_byte_order_mark_and_empty_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{line(1, ' one ')}\r\n\r\n{line(2, 'two')}".encode())
    assert captions(read(path)) == ["one", "two"]
    assert [pair.index for pair in read(path)] == [0, 1]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_saved_again_with_another_delimiter(tmp_path, delimiter):
    with (FORMATS / "results_2M_train.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    assert list(read(tmp_path / "a.csv")) == list(read(FORMATS / "results_2M_train.csv"))


def test_a_video_id_that_is_a_file_name(tmp_path):
    assert read(written(tmp_path / "a.csv", line(1, "one").replace("1,", "1.mp4,", 1)))[0].video_id == "1"


def test_none_and_nan_are_words(tmp_path):
    assert captions(read(written(tmp_path / "a.csv", line(1, "None"), line(2, "nan")))) == ["None", "nan"]


def test_a_quote_inside_an_unquoted_caption_is_text(tmp_path):
    table = read(written(tmp_path / "a.csv", line(1, '5" nails'), line(2, "two")))
    assert captions(table) == ['5" nails', "two"]


@pytest.mark.parametrize("after", ["plain", '"quoted, closed"', 'ends with a quote"', '"not closed either'])
def test_a_quote_that_is_not_closed_costs_its_own_row(tmp_path, after):
    table = read(written(tmp_path / "a.csv", line(1, "one"), line(2, '"never closed'), line(3, after), line(4, "four")))
    assert captions(table)[0] == "one"
    assert captions(table)[-1] == "four"
    assert table.num_rows == 4
    assert reasons(table)[0][0] == 1
    assert "a quote that is not closed in '2,https" in reasons(table)[0][2]


def test_rows_that_cannot_be_used_are_named(tmp_path):
    rows = {
        "1,2,3": "3 in '1,2,3'",
        line(1, "one, two"): "6 in ",
        HEADER: "'videoid'",
        line(" ", "no id"): "' '",
        line("12.0", "a float"): "'12.0'",
        line("١٢", "digits of another script"): "'١٢'",
        line(1, "up").replace("000001_000050", ".."): "'..'",
        line(1, "away").replace("000001_000050", "/etc"): "'/etc'",
        line(1, "nowhere").replace("000001_000050", ""): "''",
        line(1, "caf\udce9"): "other bytes in 'caf� videos",
        line(1, "x" * MAX_ROW_LENGTH): f"a line of {MAX_ROW_LENGTH} characters",
        line(1, '"open" sign'): "broken quoting",
    }
    table = read(written(tmp_path / "a.csv", line(1, "good"), *rows, line(2, "good")))
    assert captions(table) == ["good", "good"]
    assert [pair.index for pair in table] == [0, len(rows) + 1]
    assert [row for row, *_ in reasons(table)] == list(range(1, len(rows) + 1))
    for expected, (_, _, found) in zip(rows.values(), reasons(table), strict=True):
        assert expected in found
    assert all("\n" not in str(problem) and len(str(problem)) < 400 for problem in table.problems)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a table of captions, found an empty file"),
        (b"a,b,c\n1,2,3\n", "header with the columns videoid, page_dir, name, found 'a,b,c'"),
        (line(1, "no header").encode(), "expected a header"),
        (HEADER.replace("name", "name,name").encode(), "expected a header"),
        (HEADER.encode("utf-16"), "expected a header"),
        (HEADER.encode(), "expected rows with a caption and its media, found none"),
        (f"{HEADER}\n1,2\n".encode(), r"found none in 1; the first: .*row 0: expected 5 columns, found 2 in '1,2'"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv: .*{message}"):
        read(tmp_path / "a.csv")


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="found no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="found a folder"):
        read(tmp_path)


# Beyond 100 lines a quoted field is taken for one that was never closed.
texts = st.text(st.characters(codec="utf-8"), max_size=60)


@given(st.lists(texts, min_size=1, max_size=8))
@example(['"', "a"])
@example(["\r", "a\r\nb", "a\rb", "\n"])
@example(["\0", "\x85 a \u2028", "\ufeffa", '",'])
@settings(deadline=None)
def test_any_caption_that_was_written_is_read(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("round") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER.split(","))
        writer.writerows([number, "u", "d", "1_50", text] for number, text in enumerate([*texts, "last"]))
    table = read(path)
    assert [(pair.index, pair.text) for pair in table] == [
        (index, text.strip()) for index, text in enumerate([*texts, "last"]) if text.strip()
    ]
    assert len(table) + len(table.problems) == table.num_rows == len(texts) + 1
