import pytest

from clover.data.video import find_media
from clover.errors import MediaError


def test_folders_are_expanded_to_sorted_media(tmp_path):
    names = [
        "b.mp4",
        "a.MOV",
        "deep/er/c.webm",
        "deep/d.jpg",
        "deep/notes.txt",
        ".hidden.mp4",
        ".git/e.mp4",
        "f",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = sorted(tmp_path / name for name in ("b.mp4", "a.MOV", "deep/er/c.webm", "deep/d.jpg"))
    assert find_media([tmp_path]) == expected
    assert find_media([tmp_path, tmp_path / "b.mp4", tmp_path / "deep"]) == expected
    assert find_media([tmp_path / "f"]) == [tmp_path / "f"]
    assert find_media([]) == []


def test_links_are_followed_once(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.mp4").touch()
    (tmp_path / "real/up").symlink_to(tmp_path)
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert [path.name for path in find_media([tmp_path / "root"])] == ["a.mp4"]


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(MediaError, match="nowhere: no such file or folder"):
        find_media([tmp_path / "nowhere"])
