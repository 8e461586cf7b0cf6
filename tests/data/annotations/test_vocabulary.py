"""Answer vocabularies."""

from pathlib import Path

import pytest
from annotation_fixtures import FORMATS, put, read
from hypothesis import given
from hypothesis import strategies as st

from clover.data.annotations.msrvtt import read_msrvtt_questions
from clover.data.annotations.problems import Problems
from clover.data.annotations.vocabulary import answer_vocabulary, label_answers, read_vocabulary
from clover.errors import DataError
from clover.types import OpenEnded


def questions(*answers):
    return [
        OpenEnded(video=Path("v"), question="q", answer=answer, index=index) for index, answer in enumerate(answers)
    ]


def test_most_frequent_first_then_alphabetical_and_normalised():
    rows = questions("b", "a", " A", "c", "B ", "d")
    assert answer_vocabulary(rows) == ("a", "b", "c", "d")
    assert answer_vocabulary(rows, 3) == ("a", "b", "c")
    assert answer_vocabulary(rows, 99) == ("a", "b", "c", "d")


@given(st.lists(st.sampled_from(["a", "b", "C", " c", "dd"]), min_size=1), st.integers(1, 6))
def test_a_larger_vocabulary_begins_with_the_smaller(answers, size):
    rows = questions(*answers)
    assert answer_vocabulary(rows, size + 1)[:size] == answer_vocabulary(rows, size)
    assert all(
        0 <= row.label < size + 1 or row.label == -1 for row in label_answers(rows, answer_vocabulary(rows, size))
    )


def test_answers_outside_stay_in_the_denominator():
    train, _ = read(read_msrvtt_questions, FORMATS / "msrvtt_qa", "train")
    test, _ = read(read_msrvtt_questions, FORMATS / "msrvtt_qa", "test")
    vocabulary = answer_vocabulary(train)
    assert vocabulary == ("man", "boat", "sit", "two")
    assert [row.label for row in label_answers(test, vocabulary)] == [-1, 0, -1, 3, -1]


def test_the_ready_made_vocabulary_gives_the_same_classes():
    path = FORMATS / "msrvtt_qa/clipbert/train_ans2label.json"
    assert read_vocabulary(path, Problems()) == ("man", "boat", "sit", "two")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.json", {"Boat": 1, "man": 0}),
        ("v.json", ["man ", "boat"]),
        ("v.txt", "man\r\n\nBoat\n"),
        ("v.JSON", '["man","boat"]'),
    ],
)
def test_three_forms_of_vocabulary(tmp_path, name, content):
    put(tmp_path, name, content)
    assert read_vocabulary(tmp_path / name, Problems()) == ("man", "boat")


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("v.json", {"a": 0, "b": 2}, r"row 2: expected a class from 0 to 1, found 2 for 'b'"),
        ("v.json", {"a": 0, "b": 0}, r"row 2: expected each class once, found 0 again for 'b'"),
        ("v.json", {"a": "0"}, "expected a class from 0 to 0, found '0'"),
        ("v.json", ["a", 3], "row 2: expected text in every answer, found 3"),
        ("v.json", ["a", "A "], "row 2: expected each answer once, found 'a' as in row 1"),
        ("v.json", 3, "expected a JSON list of answers"),
        ("v.json", [], "expected answers, found none"),
        ("v.txt", "a\n\na\n", "row 3: expected each answer once"),
        ("v.txt", b"a\n\x81\n", "row 2: expected text"),
    ],
)
def test_vocabularies_that_would_shift_classes_are_refused(tmp_path, name, content, text):
    put(tmp_path, name, content)
    with pytest.raises(DataError, match=text):
        read_vocabulary(tmp_path / name, Problems())


def test_no_questions_or_no_room_is_refused():
    with pytest.raises(DataError, match="no training questions"):
        answer_vocabulary([])
    with pytest.raises(DataError, match="too small"):
        answer_vocabulary(questions("a"), 0)
