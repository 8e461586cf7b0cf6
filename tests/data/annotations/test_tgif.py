"""TGIF-QA files, trap by trap."""

import shutil

import pytest
from annotation_fixtures import FORMATS, found, put, read

from clover.data.annotations.checks import hold_out_videos
from clover.data.annotations.tgif import read_tgif_action, read_tgif_frame, read_tgif_transition
from clover.errors import DataError

FOLDER = FORMATS / "tgif_qa"
HEADER = "gif_name\tquestion\ta1\ta2\ta3\ta4\ta5\tanswer\tvid_id\tkey\r\n"


def test_tabs_and_windows_line_endings():
    assert b"\t" in (FOLDER / "Train_action_question.csv").read_bytes()
    assert (FOLDER / "Train_action_question.csv").read_bytes().endswith(b"\r\n")
    questions, problems = read(read_tgif_action, FOLDER, "train")
    assert [question.label for question in questions] == [2, 0, 3, 4, 0] and not len(problems)
    assert questions[0].video.name == "tumblr_madeup0000qzzzzo1_250.gif"
    assert questions[0].question == "What does the robot do 4 times ?"
    assert not any("\r" in option for question in questions for option in question.options)


def test_doubled_quotes():
    assert read(read_tgif_action, FOLDER, "train")[0][4].options[0] == '"air quote" gesture'


def test_a_name_with_its_ending_is_the_same_gif(tmp_path):
    rows = "".join(f"{name}\tq\ta\tb\tc\td\te\t{place}\tv\tk\r\n" for place, name in enumerate(("x", "x.gif")))
    put(tmp_path, "Train_action_question.csv", HEADER + rows)
    questions, _ = read(read_tgif_action, tmp_path, "train")
    assert [question.video.name for question in questions] == ["x.gif", "x.gif"]


def test_none_is_a_word():
    assert read(read_tgif_action, FOLDER, "train")[0][1].options[2] == "none"
    assert read(read_tgif_transition, FOLDER, "test")[0][0].options[2] == "none"


def test_a_gif_with_several_questions_keeps_them_all():
    questions, _ = read(read_tgif_transition, FOLDER, "test")
    assert questions[0].video == questions[1].video and [question.index for question in questions] == [0, 1]


def test_the_description_that_holds_the_answer_is_not_read():
    questions, problems = read(read_tgif_frame, FOLDER, "train")
    assert not any("holding a flag" in str(question) for question in questions) and not len(problems)
    assert [(question.answer, question.question_type) for question in questions] == [
        ("flag", "object"),
        ("two", "number"),
        ("orange", "color"),
        ("office", "location"),
        ("flag", "object"),
    ]


def test_the_clipbert_mirrors_agree():
    assert read(read_tgif_action, FOLDER / "clipbert", "test")[0][0] == read(read_tgif_action, FOLDER, "test")[0][0]
    (mirrored,), _ = read(read_tgif_frame, FOLDER / "clipbert", "test")
    published = read(read_tgif_frame, FOLDER, "test")[0][1]
    assert (
        (mirrored.answer, mirrored.question_type) == (published.answer, published.question_type) == ("orange", "color")
    )


def test_violet_s_file_holds_all_splits(tmp_path):
    row = {"question": "What?", "video": "gif_1", "answer": 3} | {
        f"option_{place}": "abcde"[place] for place in range(5)
    }
    put(tmp_path, "txt_tgif-action.json", {"val": [row]})
    (question,), problems = read(read_tgif_action, tmp_path, "val")
    assert question.options == tuple("abcde") and question.label == 3 and question.video.name == "gif_1.gif"
    with pytest.raises(DataError, match="expected a JSON object with 'train'"):
        read(read_tgif_action, tmp_path, "train")
    put(tmp_path, "txt_tgif-frame.json", {"val": [{"question": "What?", "video": "gif_1", "answer": 0}]})
    (frame,), problems = read(read_tgif_frame, tmp_path, "val", answers=["dog"])
    assert frame.answer == "dog" and not len(problems)


def test_bad_rows_are_problems_with_their_line(tmp_path):
    rows = [
        "gif\tq\ta\tb\tc\td\te\t4\tv\tk",
        "gif\tq\ta\tb\tc\td\te\t5\tv\tk",
        "gif\tq\ta\tb\tc\td\t\t1\tv\tk",
        "gif\tq\ta\tb\tc\td\te\t1\tv",
        'gif\tq\t"a\tb\tc\td\te\t1\tv\tk',
        HEADER.rstrip("\r\n"),
        "gif\tq\ta\tb\tc\td\te\t0\tv\tk",
    ]
    put(tmp_path, "Test_action_question.csv", HEADER + "\r\n".join([rows[0], "", *rows[1:]]))
    questions, problems = read(read_tgif_action, tmp_path, "test")
    assert [(question.index, question.label) for question in questions] == [(0, 4), (4, 1), (6, 0)]
    assert questions[1].options[0] == '"a'
    assert [problem[1:] for problem in found(problems)] == [
        (6, "10 columns"),
        (8, "data"),
        (4, "a right option from 0 to 4 in 'answer'"),
        (5, "text in every option"),
    ]


def test_a_test_file_with_the_first_option_always_right_is_refused_and_a_training_file_is_not(tmp_path):
    text = HEADER + "gif\tq\ta\tb\tc\td\te\t0\tv\tk\r\n" * 3
    for name in ("Train", "Test"):
        put(tmp_path, f"{name}_transition_question.csv", text)
    assert len(read(read_tgif_transition, tmp_path, "train")[0]) == 3
    with pytest.raises(DataError, match="found the first one in all 3 rows"):
        read(read_tgif_transition, tmp_path, "test")


def test_there_is_no_published_validation_split_but_one_can_be_held_out(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "tgif", ignore=shutil.ignore_patterns("clipbert"))
    with pytest.raises(DataError, match=r"looked for action_val\.jsonl, txt_tgif-action\.json"):
        read(read_tgif_action, tmp_path / "tgif", "val")
    questions, _ = read(read_tgif_action, FOLDER, "train")
    kept, held_out = hold_out_videos(questions, 0.25, seed=3)
    assert len(kept) + len(held_out) == 5 and {row.video for row in kept}.isdisjoint({row.video for row in held_out})
    assert (kept, held_out) == hold_out_videos(questions, 0.25, seed=3)
    with pytest.raises(DataError, match="0 < share < 1"):
        hold_out_videos(questions, 1.0)
