"""DiDeMo files, trap by trap."""

import json
import shutil

import pytest
from annotation_fixtures import FORMATS, found, put, read

from clover.data.annotations.didemo import read_didemo_retrieval
from clover.data.annotations.media import MediaIndex, locate
from clover.errors import DataError

FOLDER = FORMATS / "didemo"


def test_sentences_of_a_video_are_joined_though_others_stand_between_them():
    pairs, problems = read(read_didemo_retrieval, FOLDER, "train")
    assert [(pair.text, pair.index, pair.text_id) for pair in pairs] == [
        ("the canoe tips over. someone swims back to the canoe", 0, "1+3"),
        ("a child points at the sky camera pans to the trees", 1, "2+4"),
        ("a red hat first appears", 4, "5"),
    ]
    assert not len(problems) and not problems.notes


def test_trailing_space_is_cut_and_no_stop_is_added():
    texts = [pair.text for pair in read(read_didemo_retrieval, FOLDER, "train")[0]]
    assert not any(text != text.strip() or "  " in text for text in texts)
    assert texts[1].count(".") == 0


@pytest.mark.parametrize("name", ["10000003@N02_2000000003_cccccccccc.", "10000003@N02_2000000003_cccccccccc.mp4"])
def test_a_name_that_ends_in_a_bare_dot_is_found(tmp_path, name):
    pairs, _ = read(read_didemo_retrieval, FOLDER, "train")
    assert pairs[2].video.name == "10000003@N02_2000000003_cccccccccc."
    put(tmp_path, f"videos/{name}", b"x")
    located = locate(pairs, MediaIndex.build(tmp_path), "drop")
    assert [record.video for record in located.records] == [tmp_path / "videos" / name]
    assert len(located.missing) == 2


def test_four_or_five_times_make_no_difference():
    rows = json.loads((FOLDER / "test_data.json").read_text())
    assert [len(row["times"]) for row in rows[:2]] == [4, 5]
    assert read(read_didemo_retrieval, FOLDER, "test")[0][0].text == "band starts to play first time we see the drummer"


def test_a_video_that_the_list_lacks_is_left_out_and_reported():
    pairs, problems = read(read_didemo_retrieval, FOLDER, "test")
    assert [pair.video.suffix for pair in pairs] == [".mp4"]
    assert found(problems) == [("test_data.json", 3, "a video of test_list.txt")]


def test_without_the_list_every_video_is_kept_and_a_note_says_so(tmp_path):
    shutil.copy(FOLDER / "test_data.json", tmp_path)
    pairs, problems = read(read_didemo_retrieval, tmp_path, "test")
    assert [pair.video.suffix for pair in pairs] == [".mp4", ".3gp"]
    assert not len(problems) and "no test_list.txt" in problems.notes[0]


def test_a_listed_video_without_description_and_a_bad_sentence_are_problems(tmp_path):
    rows = json.loads((FOLDER / "val_data.json").read_text())
    put(tmp_path, "val_data.json", [*rows, rows[0] | {"description": " "}, rows[0] | {"video": "/etc/passwd"}])
    put(tmp_path, "val_list.txt", (FOLDER / "val_list.txt").read_text() + "lost.mp4\nlost.mp4\n")
    pairs, problems = read(read_didemo_retrieval, tmp_path, "val")
    assert [pair.text for pair in pairs] == ["the dog shakes off water. dog runs left"]
    assert sorted(found(problems), key=str) == [
        ("val_data.json", 3, "text in 'description'"),
        ("val_data.json", 4, "a file name inside the folder of media"),
        ("val_list.txt", 2, "a video with a description"),
        ("val_list.txt", 3, "each video once"),
    ]


def test_the_mirrors_give_the_same_paragraphs(tmp_path):
    published = {pair.video.stem: pair.text for pair in read(read_didemo_retrieval, FOLDER, "train")[0]}
    clipbert, _ = read(read_didemo_retrieval, FOLDER / "clipbert", "train")
    table, _ = read(read_didemo_retrieval, FOLDER / "all_in_one", "train")
    captions = ["the canoe tips over. ", "someone swims back to the canoe"]
    put(tmp_path, "didemo_ret_train.json", [{"video": "10000001@N00_2000000001_aaaaaaaaaa.mov", "caption": captions}])
    joined, _ = read(read_didemo_retrieval, tmp_path, "train")
    assert len(clipbert) == 2 and len(table) == len(joined) == 1
    for pair in (*clipbert, *table, *joined):
        assert published[pair.video.stem] == pair.text


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="DiDeMo has no split named 'validation'; choose from train, val, test"):
        read(read_didemo_retrieval, FOLDER, "validation")
