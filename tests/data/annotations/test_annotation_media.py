"""Finding media on disk: rules, order, policies."""

from pathlib import Path

import pytest
from annotation_fixtures import put

from clover.data.annotations.media import MediaIndex, locate, media_stem
from clover.errors import DataError
from clover.types import Pair


def pairs(*names):
    return [
        Pair(video=Path(name), text="t", index=index, video_id=name, text_id="t") for index, name in enumerate(names)
    ]


def index_of(root, *names):
    for name in names:
        put(root, name, b"x")
    return MediaIndex.build(root)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("video1.mp4", "video1"),
        ("video1.MP4", "video1"),
        ("a.b.mov", "a.b"),
        ("name.", "name"),
        ("name", "name"),
        ("1901_Film_00.10.00.123-00.10.04.456", "1901_Film_00.10.00.123-00.10.04.456"),
        ("-x_1_2.avi", "-x_1_2"),
        (".mp4", ".mp4"),
        ("caption.txt", "caption.txt"),
    ],
)
def test_only_media_endings_are_cut(name, stem):
    assert media_stem(name) == stem


def test_the_relative_path_wins_over_the_name_and_the_name_over_the_stem(tmp_path):
    index = index_of(tmp_path, "a/v.mp4", "b/v.mp4", "b/w.avi", "c/w.mp4", "d/x.mkv", "d/x.txt")
    assert index.candidates(Path("b/v.mp4")) == [tmp_path / "b/v.mp4"]
    assert index.candidates(Path("w.avi")) == [tmp_path / "b/w.avi"]
    assert index.candidates(Path("other/w.mp4")) == [tmp_path / "c/w.mp4"]
    assert index.candidates(Path("x.avi")) == index.candidates(Path("x")) == [tmp_path / "d/x.mkv"]
    assert index.candidates(Path("v.mp4")) == [tmp_path / "a/v.mp4", tmp_path / "b/v.mp4"]
    assert index.candidates(Path("none.mp4")) == []
    assert len(index) == 5


@pytest.mark.parametrize("name", ["n.", "n.mp4", "n.WEBM", "n.jpg", "n"])
def test_a_name_with_a_bare_dot_is_found_under_any_ending(tmp_path, name):
    assert index_of(tmp_path, name).candidates(Path("n.")) == [tmp_path / name]


def test_clips_with_dots_in_their_name_are_not_confused(tmp_path):
    first, second = "1_F_00.00.01.000-00.00.02.000", "1_F_00.00.01.000-00.00.02.500"
    index = index_of(tmp_path, f"{first}.mp4", f"{second}.mp4")
    assert index.candidates(Path(f"1_F/{second}.avi")) == [tmp_path / f"{second}.mp4"]


def test_missing_media_under_each_policy(tmp_path):
    index = index_of(tmp_path, "v0.mp4", "v2.avi")
    rows = pairs("v0.mp4", "v1.mp4", "v2.mp4")
    with pytest.raises(DataError, match=r"1 of 3 rows .*\(first: v1.mp4\); .* --missing drop"):
        locate(rows, index, "error")
    dropped = locate(rows, index, "drop")
    assert [row.video.name for row in dropped.records] == ["v0.mp4", "v2.avi"]
    assert dropped.missing == (rows[1],)
    assert dropped.summary() == ["1 of 3 rows have no media file (first: v1.mp4); left out"]
    wrong = locate(rows, index, "wrong")
    assert [row.index for row in wrong.records] == [0, 1, 2] and wrong.missing_indices == {1}
    assert wrong.summary() == ["1 of 3 rows have no media file (first: v1.mp4); kept, to be counted as wrong"]
    assert locate(rows[:1], index, "error").summary() == []


def test_nothing_found_at_all_is_an_error_under_every_policy(tmp_path):
    index = index_of(tmp_path, "v0.mp4")
    for policy in ("error", "drop", "wrong"):
        with pytest.raises(DataError, match=r"2 of 2 rows have no media file .*check the folder$"):
            locate(pairs("a.mp4", "b.mp4"), index, policy)


def test_several_files_of_one_name_are_reported(tmp_path):
    index = index_of(tmp_path, "a/v.mp4", "b/v.mp4")
    located = locate(pairs("v.mp4"), index, "drop")
    assert located.ambiguous == {Path("v.mp4"): (tmp_path / "a/v.mp4", tmp_path / "b/v.mp4")}
    assert located.records[0].video == tmp_path / "a/v.mp4" and "stand for several files" in located.summary()[0]
    with pytest.raises(DataError, match=r"v.mp4 may be .*a/v.mp4 or .*b/v.mp4; keep one of them"):
        locate(pairs("v.mp4"), index, "error")


def test_links_to_one_file_are_one_and_a_link_to_nowhere_is_none(tmp_path):
    put(tmp_path, "all/v.mp4", b"x")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/v.mp4").symlink_to(tmp_path / "all/v.mp4")
    (tmp_path / "links/w.mp4").symlink_to(tmp_path / "all/w.mp4")
    index = MediaIndex.build(tmp_path)
    assert index.candidates(Path("v.mp4")) == [tmp_path / "all/v.mp4"]
    assert index.candidates(Path("w.mp4")) == []


def test_a_folder_without_media_and_an_unknown_policy_are_refused(tmp_path):
    put(tmp_path, "notes.txt", b"x")
    with pytest.raises(DataError, match="expected videos or images, found none"):
        MediaIndex.build(tmp_path)
    with pytest.raises(DataError, match="expected a folder of videos"):
        MediaIndex.build(tmp_path / "nowhere")
