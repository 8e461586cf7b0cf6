"""LSMDC files, trap by trap."""

import shutil
from collections import Counter

import pytest
from annotation_fixtures import FORMATS, found, put, read

from clover.data.annotations.lsmdc import (
    read_lsmdc_blind_clips,
    read_lsmdc_choices,
    read_lsmdc_cloze,
    read_lsmdc_retrieval,
)
from clover.data.annotations.vocabulary import answer_vocabulary, label_answers
from clover.errors import DataError

RETRIEVAL = FORMATS / "lsmdc"
CHOICES = FORMATS / "lsmdc_mc"
CLOZE = FORMATS / "lsmdc_fib"
CLIP = "1901_Film_00.00.01.000-00.00.02.000"
TIMES = "0\t1\t0\t1"


def test_a_clip_with_two_sentences_is_two_pairs():
    pairs, _ = read(read_lsmdc_retrieval, RETRIEVAL, "train")
    assert pairs[0].video == pairs[1].video and pairs[0].text_id != pairs[1].text_id
    assert [pair.text for pair in pairs[:2]] == ["SOMEONE lowers a rope from the deck.", "SOMEONE ties the boat."]


def test_an_unbalanced_quote_is_text_and_eats_no_row():
    pairs, _ = read(read_lsmdc_retrieval, RETRIEVAL, "train")
    assert pairs[2].text == '"Home, he whispers.' and len(pairs) == 4


def test_space_at_the_end_is_cut():
    assert read(read_lsmdc_retrieval, RETRIEVAL, "train")[0][3].text == "The train slows, then stops."


def test_a_movie_whose_title_looks_like_a_time():
    video = read(read_lsmdc_retrieval, RETRIEVAL, "train")[0][3].video
    clip = "3902_MIDNIGHT_00_TRAIN_00.05.06.700-00.05.09.800"
    assert video.as_posix() == f"3902_MIDNIGHT_00_TRAIN/{clip}.avi"


def test_a_row_without_sentence_is_left_out_and_reported():
    _, problems = read(read_lsmdc_retrieval, RETRIEVAL, "train")
    assert found(problems) == [("LSMDC16_annos_training.csv", 5, "text in 'sentence'")]


def test_bytes_that_are_not_utf8_are_windows_1252_and_noted(tmp_path):
    old = (RETRIEVAL / "LSMDC16_annos_training.cp1252.csv").read_bytes()
    new = old.replace(b"SOMEONE\x92s", "Zoë’s".encode())
    put(tmp_path, "LSMDC16_annos_training.csv", old + new)
    pairs, problems = read(read_lsmdc_retrieval, tmp_path, "train")
    assert [pair.text for pair in pairs] == ["SOMEONE’s cup is empty.", "Zoë’s cup is empty."]
    assert not len(problems)
    assert len(problems.notes) == 1 and "1 line is not UTF-8, read as Windows-1252 (first: line 1)" in problems.notes[0]


@pytest.mark.parametrize("name", ["LSMDC16_challenge_1000_publictect.csv", "LSMDC16_challenge_1000_publictest.csv"])
def test_the_retrieval_test_has_its_odd_name_and_a_stray_quote_before_a_clip(tmp_path, name):
    shutil.copy(RETRIEVAL / "LSMDC16_challenge_1000_publictect.csv", tmp_path / name)
    pairs, problems = read(read_lsmdc_retrieval, tmp_path, "test")
    assert pairs[3].video_id == "3904_STONE_HOUSE_00.12.00.000-00.12.03.000"
    assert pairs[3].video.parts[0] == "3904_STONE_HOUSE"
    assert len(pairs) == 5 and not len(problems)


def test_the_blind_test_has_clips_and_no_sentences(tmp_path):
    clips, problems = read(read_lsmdc_blind_clips, RETRIEVAL)
    assert [clip.name for clip in clips] == ["1905_Blue_Door_00.04.00.000-00.04.02.500.avi"] and not len(problems)
    with pytest.raises(DataError, match="blind test of LSMDC has no sentences"):
        read(read_lsmdc_retrieval, RETRIEVAL, "blindtest")
    shutil.copy(RETRIEVAL / "LSMDC16_annos_blindtest.csv", tmp_path / "LSMDC16_annos_val.csv")
    pairs, problems = read(read_lsmdc_retrieval, tmp_path, "val")
    assert not pairs and found(problems) == [("LSMDC16_annos_val.csv", 1, "6 columns")]


@pytest.mark.parametrize(("split", "count"), [("val", 1), ("test_full", 1)])
def test_the_other_retrieval_splits(split, count):
    pairs, problems = read(read_lsmdc_retrieval, RETRIEVAL, split)
    assert len(pairs) == count and not len(problems)


def test_training_options_begin_with_the_right_one_and_are_shuffled_by_row(tmp_path):
    questions, problems = read(read_lsmdc_choices, CHOICES, "train")
    right = ["SOMEONE lowers a rope from the deck.", "Home, he whispers.", "The train slows, then stops."]
    assert [question.options[question.label] for question in questions] == right and not len(problems)
    assert questions == read(read_lsmdc_choices, CHOICES, "train")[0]
    assert questions != read(read_lsmdc_choices, CHOICES, "train", seed=1)[0]
    row = "\t".join([CLIP, TIMES, "right", "w", "x", "y", "z"])
    put(tmp_path, "LSMDC16_multiple_choice_train.csv", "\n".join([row] * 2000))
    many, _ = read(read_lsmdc_choices, tmp_path, "train")
    counts = Counter(question.label for question in many)
    assert sorted(counts) == [0, 1, 2, 3, 4] and min(counts.values()) > 340
    assert all(sorted(question.options) == ["right", "w", "x", "y", "z"] for question in many)


def test_validation_options_are_shuffled_too():
    (question,), _ = read(read_lsmdc_choices, CHOICES, "val")
    assert question.options[question.label] == "She walks along the pier."


def test_the_release_counts_options_from_1_and_jsfusion_from_0():
    release, problems = read(read_lsmdc_choices, CHOICES, "test")
    assert [question.label for question in release] == [0, 1, 2, 3, 4] and not len(problems)
    assert read(read_lsmdc_choices, CHOICES / "jsfusion", "test")[0] == release


@pytest.mark.parametrize(("answers", "text"), [("01234", "found 0 in 2 rows and 5 in none: it counts from 0")])
def test_a_release_file_that_counts_from_0_is_refused(tmp_path, answers, text):
    rows = ["\t".join([CLIP, TIMES, *"abcde", answer]) for answer in answers * 2]
    put(tmp_path, "LSMDC16_multiple_choice_test_randomized.csv", "\n".join(rows))
    with pytest.raises(DataError, match=text):
        read(read_lsmdc_choices, tmp_path, "test")


def test_a_jsfusion_file_that_counts_from_1_is_refused(tmp_path):
    rows = ["\t".join(["k", CLIP, *"abcde", answer]) for answer in "1234512345"]
    put(tmp_path, "LSMDC16_MC_test.csv", "\n".join(["key\tvid_key\ta1\ta2\ta3\ta4\ta5\tanswer", *rows]))
    with pytest.raises(DataError, match="found 5 in 2 rows and 0 in none: it counts from 1"):
        read(read_lsmdc_choices, tmp_path, "test")


def test_a_test_file_whose_first_option_is_always_right_is_refused(tmp_path):
    rows = ["\t".join(["k", CLIP, *"abcde", "0"])] * 3
    put(tmp_path, "LSMDC16_MC_test.csv", "\n".join(["key\tvid_key\ta1\ta2\ta3\ta4\ta5\tanswer", *rows]))
    with pytest.raises(DataError, match="found the first one in all 3 rows; this is an unshuffled training file"):
        read(read_lsmdc_choices, tmp_path, "test")


def test_a_training_file_under_the_name_of_the_test_gives_problems_and_no_rows(tmp_path):
    name = "LSMDC16_multiple_choice_test_randomized.csv"
    shutil.copy(CHOICES / "LSMDC16_multiple_choice_train.csv", tmp_path / name)
    questions, problems = read(read_lsmdc_choices, tmp_path, "test")
    assert not questions and found(problems) == [(name, row, "11 columns") for row in (1, 2, 3)]


def test_a_label_out_of_range_is_a_problem(tmp_path):
    rows = ["\t".join([CLIP, TIMES, *"abcde", answer]) for answer in ("5", "6", "0", "x")]
    put(tmp_path, "LSMDC16_multiple_choice_test_randomized.csv", "\n".join(rows))
    questions, problems = read(read_lsmdc_choices, tmp_path, "test")
    assert [question.label for question in questions] == [4]
    assert [problem.row for problem in problems] == [2, 3, 4]
    assert "found 6" in str(next(iter(problems)))


def test_jsfusion_training_draws_wrong_sentences_from_the_captions(tmp_path):
    texts = [f"sentence {number}" for number in (0, 1, 2, 3, 4, 5, 5)]
    lines = [f"CAP{place}\t{CLIP}\t{text}" for place, text in enumerate(texts)]
    put(tmp_path, "LSMDC16_CAP_train.csv", "\n".join(["key\tvid_key\tdescription", *lines]))
    questions, problems = read(read_lsmdc_choices, tmp_path, "train")
    assert [question.options[question.label] for question in questions] == texts and not len(problems)
    assert all(len(set(question.options)) == 5 for question in questions)
    with pytest.raises(DataError, match="expected at least 5 different captions to draw from, found 3"):
        read(read_lsmdc_choices, CHOICES / "jsfusion", "train")


def test_several_blanks_of_a_clip_are_rows_of_their_own():
    rows, _ = read(read_lsmdc_cloze, CLOZE, "train")
    assert [(row.question, row.answer) for row in rows[:2]] == [
        ("SOMEONE lowers a [MASK] from the deck", "rope"),
        ("SOMEONE [MASK] a rope from the deck", "lowers"),
    ]
    assert rows[0].video == rows[1].video == rows[2].video


def test_nothing_to_blank_and_a_sentence_without_blank_are_left_out_and_reported():
    rows, problems = read(read_lsmdc_cloze, CLOZE, "train")
    assert len(rows) == 4 and found(problems) == [("LSMDC16_annos_training_FIB.csv", 5, "a word that is blanked")]
    rows, problems = read(read_lsmdc_cloze, CLOZE, "val")
    assert len(rows) == 1
    assert found(problems) == [("LSMDC16_annos_val_FIB.csv", 2, "a blank (_____) in the sentence")]


def test_a_test_answer_outside_the_training_answers_is_kept():
    train, _ = read(read_lsmdc_cloze, CLOZE, "train")
    test, _ = read(read_lsmdc_cloze, CLOZE, "test")
    labelled = label_answers(test, answer_vocabulary(train))
    assert [(row.answer, row.label) for row in labelled] == [("gate", -1), ("covers", -1), ("boat", 0)]


def test_a_header_of_the_release_is_no_row():
    with_header, problems = read(read_lsmdc_cloze, CLOZE / "with_header", "test")
    without, _ = read(read_lsmdc_cloze, CLOZE, "test")
    assert with_header == without[:1] and not len(problems)


def test_another_header_is_not_read_as_data(tmp_path):
    put(tmp_path, "LSMDC16_annos_val.csv", f"clip\ta\tb\tc\td\ttext\n{CLIP}\t{TIMES}\tfine\n")
    pairs, problems = read(read_lsmdc_retrieval, tmp_path, "val")
    assert [pair.text for pair in pairs] == ["fine"]
    assert found(problems) == [("LSMDC16_annos_val.csv", 1, "a clip named <movie>_<start>-<end>")]


def test_the_jsfusion_cloze_agrees():
    assert read(read_lsmdc_cloze, CLOZE / "jsfusion", "train")[0] == read(read_lsmdc_cloze, CLOZE, "train")[0]


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("A s_____k falls", "A s [MASK] k falls"),
        ("_____ and then _____ sleeps", "[MASK] and then something sleeps"),
        ("______  .", "[MASK] ."),
        ("[MASK] and _____", None),
        ("____", None),
    ],
)
def test_every_question_has_exactly_one_mask(tmp_path, sentence, question):
    put(tmp_path, "LSMDC16_annos_val_FIB.csv", "\t".join([CLIP, TIMES, "whole", sentence, " Word "]))
    rows, problems = read(read_lsmdc_cloze, tmp_path, "val")
    assert [row.question for row in rows] == [question] * (question is not None)
    assert len(problems) == (question is None) and all(row.answer == "word" for row in rows)


def test_a_quoted_sentence_of_jsfusion_and_an_unpaired_quote_are_read(tmp_path):
    lines = [
        "key\tvid_key\tdescription",
        f'a\t{CLIP}\t"""Home,"" he says"',
        f'b\t{CLIP}\t"Home, he says',
        f"c\t{CLIP}\tx",
    ]
    lines += [f"{place}\t{CLIP}\ttext {place}" for place in range(4)]
    put(tmp_path, "LSMDC16_CAP_train.csv", "\n".join(lines))
    questions, problems = read(read_lsmdc_choices, tmp_path, "train")
    assert [question.options[question.label] for question in questions[:3]] == [
        '"Home," he says',
        '"Home, he says',
        "x",
    ]
    assert not len(problems)
