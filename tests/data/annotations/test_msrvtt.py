"""MSR-VTT files, trap by trap."""

import json
import shutil

import pytest
from annotation_fixtures import FORMATS, found, put, read

from clover.data.annotations.checks import check_no_video_is_shared, shared_videos
from clover.data.annotations.msrvtt import read_msrvtt_choices, read_msrvtt_questions, read_msrvtt_retrieval
from clover.errors import DataError

RETRIEVAL = FORMATS / "msrvtt"


def test_a_caption_repeated_within_a_video_stays_two_rows():
    pairs, problems = read(read_msrvtt_retrieval, RETRIEVAL, "train_7k")
    ties = [pair for pair in pairs if pair.text == "a man ties his shoes on a bench"]
    assert [(pair.video_id, pair.text_id, pair.index) for pair in ties] == [("video0", "0", 0), ("video0", "2", 2)]
    assert len(pairs) == 7 and not len(problems)


def test_the_9k_list_decides_and_not_the_official_split():
    pairs, problems = read(read_msrvtt_retrieval, RETRIEVAL, "train_9k")
    assert sorted({pair.video_id for pair in pairs}) == ["video0", "video1", "video7001", "video7010", "video7020"]
    assert [pair.index for pair in pairs] == list(range(11)) and not len(problems)


def test_training_on_9k_leaks_into_multiple_choice_and_7k_does_not():
    test, _ = read(read_msrvtt_choices, FORMATS / "msrvtt_mc", "test")
    leaking, _ = read(read_msrvtt_retrieval, RETRIEVAL, "train_9k")
    clean, _ = read(read_msrvtt_retrieval, RETRIEVAL, "train_7k")
    assert shared_videos(leaking, test) == ("video7010", "video7020")
    with pytest.raises(DataError, match=r"2 test videos are also training videos \(first: video7010\)"):
        check_no_video_is_shared(leaking, test)
    check_no_video_is_shared(clean, test)


def test_the_1k_test_keeps_quoted_commas_and_tied_captions():
    pairs, problems = read(read_msrvtt_retrieval, RETRIEVAL, "test_1k")
    assert [pair.video.name for pair in pairs] == [f"video{number}.mp4" for number in range(9770, 9775)]
    assert pairs[1].text == "boys try, and fail, to free a kite" and pairs[1].text_id == "ret1"
    assert pairs[2].text == pairs[3].text == "a person is cooking" and pairs[2].video != pairs[3].video
    assert [pair.index for pair in pairs] == list(range(5)) and not len(problems)


def test_the_1k_test_saved_with_semicolons_reads_the_same(tmp_path):
    shutil.copy(RETRIEVAL / "MSRVTT_JSFUSION_test.semicolon.csv", tmp_path / "MSRVTT_JSFUSION_test.csv")
    assert read(read_msrvtt_retrieval, tmp_path, "test_1k")[0] == read(read_msrvtt_retrieval, RETRIEVAL, "test_1k")[0]


@pytest.mark.parametrize(("split", "count"), [("train", 5), ("val", 2), ("test", 14)])
def test_the_original_release_gives_the_official_splits(tmp_path, split, count):
    for name in ("train_val_videodatainfo.json", "test_videodatainfo.json"):
        shutil.copy(RETRIEVAL / name, tmp_path)
    original, _ = read(read_msrvtt_retrieval, tmp_path, split)
    bundled, _ = read(read_msrvtt_retrieval, RETRIEVAL, split)
    assert [(pair.video, pair.text, pair.index) for pair in original] == [
        (pair.video, pair.text, pair.index) for pair in bundled
    ]
    assert len(original) == count


def test_the_frozen_layout_reads_the_same_and_has_the_1k_b_lists():
    frozen = RETRIEVAL / "frozen"
    assert read(read_msrvtt_retrieval, frozen, "train_9k")[0] == read(read_msrvtt_retrieval, RETRIEVAL, "train_9k")[0]
    assert {pair.video_id for pair in read(read_msrvtt_retrieval, frozen, "train_1k_b")[0]} == {"video0", "video1"}
    assert {pair.video_id for pair in read(read_msrvtt_retrieval, frozen, "test_1k_b")[0]} == {"video7010", "video9770"}
    pairs, problems = read(read_msrvtt_retrieval, frozen, "train_7k")
    assert len(pairs) == 7 and "video0 to video7009" in problems.notes[0]


def test_a_bad_caption_costs_its_row_and_a_listed_video_without_captions_is_named(tmp_path):
    sentences = [
        {"video_id": "video0", "caption": " fine ", "sen_id": 7},
        {"video_id": "video1", "caption": "", "sen_id": 8},
        {"video_id": "film1", "caption": "x", "sen_id": 9},
        "text",
        {"video_id": "video9", "caption": None, "sen_id": 10},
    ]
    put(tmp_path, "MSRVTT_data.json", {"sentences": sentences})
    put(tmp_path, "MSRVTT_train.9k.csv", "video_id\nvideo0\nvideo1\nvideo0\n")
    pairs, problems = read(read_msrvtt_retrieval, tmp_path, "train_9k")
    assert [(pair.text, pair.text_id) for pair in pairs] == [("fine", "7")]
    assert sorted(found(problems)) == [
        ("MSRVTT_data.json", 2, "text in 'caption'"),
        ("MSRVTT_data.json", 3, "a name like video7010 in 'video_id'"),
        ("MSRVTT_data.json", 4, "a JSON object"),
        ("MSRVTT_train.9k.csv", 3, "a video with captions"),
        ("MSRVTT_train.9k.csv", 4, "each video once"),
    ]


@pytest.mark.parametrize("name", ["MSR_MC_test.csv", "msrvtt_mc_test.jsonl", "singularity_msrvtt_mc_test.json"])
def test_the_three_variants_of_multiple_choice_agree(tmp_path, name):
    shutil.copy(FORMATS / "msrvtt_mc" / name, tmp_path)
    questions, problems = read(read_msrvtt_choices, tmp_path, "test")
    assert [question.video.name for question in questions][:2] == ["video7010.mp4", "video7020.mp4"]
    assert [question.label for question in questions] == [0, 2, 3, 1, 4]
    assert questions[2].options[3] == "a drummer taps on paint cans" and questions[2].question == ""
    assert not len(problems) and not problems.notes


def test_files_that_are_passed_over_are_noted():
    _, problems = read(read_msrvtt_choices, FORMATS / "msrvtt_mc", "test")
    assert "passed over msrvtt_mc_test.jsonl, singularity_msrvtt_mc_test.json" in problems.notes[0]


def test_options_and_labels_out_of_range_are_problems(tmp_path):
    good = {"qid": 0, "clip_name": "video1", "options": list("abcde"), "answer": 4}
    rows = [
        good,
        good | {"options": list("abcd")},
        good | {"answer": 5},
        good | {"answer": True},
        good | {"answer": -1},
    ]
    put(tmp_path, "mc_test.jsonl", "\n".join(map(json.dumps, rows)))
    questions, problems = read(read_msrvtt_choices, tmp_path, "test")
    assert [question.label for question in questions] == [4]
    assert found(problems) == [
        ("mc_test.jsonl", 2, "5 options"),
        ("mc_test.jsonl", 3, "a right option from 0 to 4 in 'answer'"),
        ("mc_test.jsonl", 4, "a whole number in 'answer'"),
        ("mc_test.jsonl", 5, "a right option from 0 to 4 in 'answer'"),
    ]


def test_answers_that_training_never_gives_are_kept():
    questions, problems = read(read_msrvtt_questions, FORMATS / "msrvtt_qa", "test")
    assert [question.answer for question in questions] == ["goat", "man", "onion", "two", "treehouse"]
    assert [question.question_type for question in questions] == ["what", "who", "what", "how", "where"]
    assert questions[0].video.name == "video7010.mp4" and not len(problems)


def test_the_clipbert_mirror_of_the_questions_agrees():
    assert (
        read(read_msrvtt_questions, FORMATS / "msrvtt_qa" / "clipbert", "train")[0]
        == read(read_msrvtt_questions, FORMATS / "msrvtt_qa", "train")[0]
    )


def test_an_unknown_split_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(DataError, match="no split named 'dev'; choose from train, val, test"):
        read(read_msrvtt_questions, FORMATS / "msrvtt_qa", "dev")
    with pytest.raises(DataError, match=r"looked for train_qa\.json, train\.jsonl"):
        read(read_msrvtt_questions, tmp_path, "train")
    with pytest.raises(DataError, match="which is no folder; looked for MSRVTT_JSFUSION_test"):
        read(read_msrvtt_retrieval, tmp_path / "nowhere", "test_1k")
    with pytest.raises(DataError, match=r"looked for MSRVTT_data\.json, train_val_videodatainfo\.json"):
        read(read_msrvtt_retrieval, tmp_path, "val")


def test_a_file_without_its_header_or_list_is_refused(tmp_path):
    put(tmp_path, "MSRVTT_JSFUSION_test.csv", "ret0,msr1,video1,a caption\n")
    with pytest.raises(
        DataError, match=r"expected a header with video_id, sentence, found 'ret0,msr1,video1,a caption'"
    ):
        read(read_msrvtt_retrieval, tmp_path, "test_1k")
    put(tmp_path, "MSRVTT_data.json", {"videos": []})
    with pytest.raises(DataError, match=r"expected a JSON object with 'sentences', found \['videos'\]"):
        read(read_msrvtt_retrieval, tmp_path, "val")
