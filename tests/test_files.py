"""Files and folders appear whole or not at all, and what was there stays until then."""

from pathlib import Path

import pytest

from clover.files import WriteError, check_writable, write_folder, write_text


def fill(text):
    return lambda aside: (aside / "a.txt").write_text(text)


def test_a_folder_replaces_an_older_one(tmp_path):
    for text in ("old", "new"):
        write_folder(tmp_path / "f", fill(text))
    assert (tmp_path / "f/a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt(), ValueError("bug")])
def test_a_failure_leaves_the_older_folder(error, tmp_path):
    write_folder(tmp_path / "f", fill("old"))

    def break_off(aside):
        (aside / "a.txt").write_text("half")
        raise error

    with pytest.raises(WriteError if isinstance(error, OSError) else type(error)):
        write_folder(tmp_path / "f", break_off)
    assert (tmp_path / "f/a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("error", [OSError("busy"), KeyboardInterrupt()])
def test_a_failure_between_the_two_renames_puts_the_older_folder_back(error, tmp_path, monkeypatch):
    write_folder(tmp_path / "f", fill("old"))
    rename = Path.rename

    def fail_second(self, target):
        if self.suffix == ".part":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises((WriteError, KeyboardInterrupt)):
        write_folder(tmp_path / "f", fill("new"))
    monkeypatch.undo()
    assert (tmp_path / "f/a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_link_to_a_folder_is_replaced_and_what_it_led_to_is_not(tmp_path):
    write_folder(tmp_path / "real", fill("old"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_folder(tmp_path / "link", fill("new"))
    assert (tmp_path / "link/a.txt").read_text() == "new"
    assert (tmp_path / "real/a.txt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_trying_whether_a_place_can_be_written_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot write"):
        check_writable(tmp_path / "file" / "b")
    with pytest.raises(WriteError, match="cannot write"):
        write_text(tmp_path / "file" / "b.txt", "x")
