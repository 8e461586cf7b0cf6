"""MSVD-QA files, trap by trap."""

import json

import pytest
from annotation_fixtures import FORMATS, found, put, read

from clover.data.annotations.msvd import read_msvd_questions, read_youtube_mapping
from clover.errors import DataError

FOLDER = FORMATS / "msvd_qa"


def test_youtube_names_with_dashes_and_underscores_are_not_taken_apart():
    files, problems = read(read_youtube_mapping, FOLDER)
    assert [files[f"vid{number}"].name for number in (2, 3, 1451)] == [
        "-Bmade_up02_15_29.avi",
        "Cc_made-u03_0_9.avi",
        "_madeup_006_7_18.avi",
    ]
    assert len(files) == 8 and not len(problems)


def test_an_answer_that_training_never_gives_is_kept():
    questions, problems = read(read_msvd_questions, FOLDER, "test")
    assert [(question.video.name, question.answer) for question in questions] == [
        ("_madeup_006_7_18.avi", "soup"),
        ("Gmadeup0007_200_210.avi", "farmer"),
        ("Hmadeup0008_1_6.avi", "sing"),
    ]
    assert not len(problems)


@pytest.mark.parametrize(("split", "count"), [("train", 5), ("val", 2)])
def test_the_other_splits(split, count):
    questions, problems = read(read_msvd_questions, FOLDER, split)
    assert [question.index for question in questions] == list(range(count)) and not len(problems)


def test_bad_mapping_lines_and_unmapped_videos_are_problems(tmp_path):
    put(tmp_path, "youtube_mapping.txt", "a_0_1 vid1\nb_0_1\nc_0_1 vid1\n../d vid2\n\n")
    rows = [{"answer": " A ", "question": "What is it?", "video_id": number} for number in (1, 2)]
    put(tmp_path, "val_qa.json", rows)
    questions, problems = read(read_msvd_questions, tmp_path, "val")
    assert [(question.answer, question.question_type) for question in questions] == [("a", "what")]
    assert found(problems) == [
        ("youtube_mapping.txt", 2, "a file name and vidN with a space between"),
        ("youtube_mapping.txt", 3, "each vidN once"),
        ("youtube_mapping.txt", 4, "a file name inside the folder of media"),
        ("val_qa.json", 2, "a video of the mapping"),
    ]


def test_without_the_mapping_the_questions_are_refused(tmp_path):
    put(tmp_path, "val_qa.json", [])
    with pytest.raises(DataError, match=r"looked for youtube_mapping\.txt"):
        read(read_msvd_questions, tmp_path, "val")


def test_answers_given_as_classes_need_the_vocabulary(tmp_path):
    rows = [{"video": "-a_1_2", "question": "who runs?", "answer": answer} for answer in (1, 2)]
    put(tmp_path, "txt_msvd-qa.json", json.loads(json.dumps({"train": rows})))
    questions, problems = read(read_msvd_questions, tmp_path, "train", answers=["boy", "Man"])
    assert [(question.video.name, question.answer) for question in questions] == [("-a_1_2.avi", "man")]
    assert found(problems) == [("txt_msvd-qa.json", 2, "a class of 2 answers in 'answer'")]
    questions, problems = read(read_msvd_questions, tmp_path, "train")
    assert not questions and len(problems) == 2
    with pytest.raises(DataError, match=r"expected a JSON object with 'test', found \['train'\]"):
        read(read_msvd_questions, tmp_path, "test")
