"""Media as files: found in any layout, and what is not there is counted."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.data.corpora.cc3m import read_cc3m
from clover.data.corpora.corpus import Corpus
from clover.data.corpora.loose import LooseCorpus
from clover.data.corpora.shards import open_shards
from clover.data.corpora.text_column import TextColumn
from clover.data.corpora.webvid import read_webvid
from clover.data.video import read_frames
from clover.errors import DataError

FORMATS = Path(__file__).parents[2] / "formats"


def webvid(folder):
    return LooseCorpus(read_webvid(FORMATS / "webvid/results_2M_train.csv", folder))


def cc3m(folder):
    return LooseCorpus(read_cc3m(FORMATS / "cc3m/Train_GCC-training.tsv", folder))


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def found(corpus):
    folder = corpus.table.folder
    return [corpus.media(place).relative_to(folder).as_posix() for place in range(len(corpus))]


USUAL = [
    "videos/000001_000050/900000001.mp4",
    "videos/000001_000050/900000002.mp4",
    "videos/000051_000100/900000003.mp4",
    "videos/000101_000150/900000005.mp4",
]


def test_the_usual_layout_is_never_listed(tmp_path):
    corpus = webvid(tmp_path)
    touch(tmp_path, *USUAL)
    assert found(corpus) == USUAL
    assert "files" not in vars(corpus)
    assert len(corpus.missing()) == 0


@pytest.mark.parametrize(
    "names",
    [
        [path.removeprefix("videos/") for path in USUAL],
        [Path(path).name for path in USUAL],
        [f"videos/{Path(path).name}" for path in USUAL],
        [f"deep/er/{Path(path).stem}.webm" for path in USUAL],
        [f"{Path(path).stem}.MP4" for path in USUAL],
    ],
)
def test_other_layouts_and_endings(tmp_path, names):
    touch(tmp_path, *names)
    corpus = webvid(tmp_path)
    assert found(corpus) == names
    assert len(corpus.missing()) == 0


def test_the_usual_place_goes_first_then_the_usual_name(tmp_path):
    touch(tmp_path, "a/900000001.mp4", USUAL[0], "a/900000002.webm", "b/900000002.mp4", "c/900000002.mp4")
    corpus = webvid(tmp_path)
    assert len(corpus.missing()) == 2
    assert found(corpus)[:2] == [USUAL[0], "b/900000002.mp4"]


def test_a_picture_is_no_video(tmp_path):
    touch(tmp_path, "900000001.jpg", "900000002", "900000003.json", ".900000005.mp4", ".trash/900000005.mp4")
    assert webvid(tmp_path).missing().tolist() == [0, 1, 2, 3]


def test_what_is_missing_is_listed_and_can_be_left_out(tmp_path):
    touch(tmp_path, USUAL[0], USUAL[3])
    corpus = webvid(tmp_path)
    assert [corpus.name(place) for place in corpus.missing()] == ["900000002", "900000003"]
    assert corpus.media(1) == tmp_path / USUAL[1]
    present = corpus.present()
    assert len(present) == 2
    assert found(present) == [USUAL[0], USUAL[3]]
    assert [pair.index for pair in present.table] == [0, 4]
    assert present.caption(1) == "Café terrace at dusk with paper lanterns"
    assert len(present.missing()) == 0


def test_a_folder_without_any_of_the_media(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"expected media of 4 rows .* found none of them among 1 files"):
        webvid(tmp_path).present()
    with pytest.raises(DataError, match="expected a folder of media files, found none"):
        webvid(tmp_path / "none").missing()
    with pytest.raises(DataError, match="expected a folder of media files, found none"):
        webvid(tmp_path / "none").media(0)


def test_a_link_back_up_ends(tmp_path):
    touch(tmp_path, USUAL[0])
    (tmp_path / "videos/up").symlink_to(tmp_path)
    assert webvid(tmp_path).missing().tolist() == [1, 2, 3]


@pytest.mark.parametrize("place", ["training/{}", "{}", "{}.jpg", "train/{}.webp"])
def test_images_named_after_links_are_read(tmp_path, place):
    images = open_shards(FORMATS / "webdataset/cc3m", cache_folder=tmp_path / "cache")
    corpus = cc3m(tmp_path / "images")
    for number in range(3):
        path = tmp_path / "images" / place.format(corpus.name(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.media(number))
    assert corpus.missing().tolist() == [3, 4]
    for number in range(3):
        frames = read_frames(corpus.media(number), 1)
        np.testing.assert_array_equal(frames.images, read_frames(images.media(number), 1).images)
        assert corpus.caption(number) == images.caption(number)


def test_both_kinds_are_corpora(tmp_path):
    assert isinstance(webvid(tmp_path), Corpus)
    assert isinstance(open_shards(FORMATS / "webdataset/webvid", cache_folder=tmp_path), Corpus)


@given(st.lists(st.text(st.characters(codec="utf-8"))), st.data())
def test_a_column_is_a_list_of_texts(texts, data):
    column = TextColumn(texts)
    assert list(column) == texts
    assert len(column) == len(texts)
    positions = data.draw(st.lists(st.integers(0, len(texts) - 1)) if texts else st.just([]))
    assert list(column.take(np.array(positions, dtype=np.int64))) == [texts[place] for place in positions]
    for beyond in (len(texts), -len(texts) - 1):
        with pytest.raises(IndexError):
            column[beyond]
    if texts:
        assert column[-1] == texts[-1]


def test_records_cost_less_than_their_text_and_a_hundred_bytes():
    table = read_webvid(FORMATS / "webvid/results_2M_train.csv", Path("media"))
    text = sum(len(pair.text.encode()) + len(str(pair.video)) for pair in table)
    assert table.num_bytes < text + 100 * len(table)
