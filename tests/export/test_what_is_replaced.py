"""`clover export --overwrite` replaces what an earlier export wrote, and nothing of anybody else's."""

import pytest
from made_checkpoint import made_checkpoint

from clover.cli import main

WRITTEN = {"onnx": "video.int8.onnx", "torch": "video.pt2", "hub": "model.safetensors"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    place = tmp_path_factory.mktemp("made") / "checkpoint"
    made_checkpoint(depth=1).save_pretrained(place)
    return place


def export(checkpoint, to, out):
    return main(["export", str(checkpoint), "--to", to, str(out), "--overwrite"])


@pytest.mark.parametrize("to", WRITTEN)
@pytest.mark.parametrize("name", ["thesis.txt", "config.json/thesis.txt", "encoders.json"])
def test_a_folder_with_other_things_is_left_as_it_is(checkpoint, to, name, tmp_path, capsys):
    mine = tmp_path / "mine"
    (mine / name).parent.mkdir(parents=True)
    (mine / name).write_text("precious")
    (mine / WRITTEN[to]).write_text("of an earlier export")
    assert export(checkpoint, to, mine) == 2
    errors = capsys.readouterr().err
    assert f"holds other things ({name.partition('/')[0]}); export into a folder of its own" in errors
    assert errors.count("\n") == 1
    assert (mine / name).read_text() == "precious"
    assert (mine / WRITTEN[to]).read_text() == "of an earlier export"
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.parametrize("to", WRITTEN)
def test_what_another_export_wrote_is_not_this_ones(checkpoint, to, tmp_path, capsys):
    other = next(name for name in WRITTEN if name != to)
    (tmp_path / WRITTEN[other]).write_text("precious")
    assert export(checkpoint, to, tmp_path) == 2
    assert f"holds other things ({WRITTEN[other]})" in capsys.readouterr().err
    assert (tmp_path / WRITTEN[other]).read_text() == "precious"


@pytest.mark.parametrize("to", WRITTEN)
def test_a_file_is_no_place_for_a_folder(checkpoint, to, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    assert export(checkpoint, to, tmp_path / "thesis.txt") == 2
    assert "thesis.txt is a file, and a folder is written" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_folder_is_no_place_for_the_authors_file(checkpoint, is_empty, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    if not is_empty:
        (mine / "thesis.txt").write_text("precious")
    assert export(checkpoint, "official", mine) == 2
    assert "mine is a folder, and a file is written; name the file" in capsys.readouterr().err
    assert [path.name for path in mine.iterdir()] == ([] if is_empty else ["thesis.txt"])
    assert list(tmp_path.iterdir()) == [mine]


def test_an_earlier_export_is_replaced(checkpoint, tmp_path):
    assert export(checkpoint, "hub", tmp_path / "hub") == 0
    (tmp_path / "hub" / "README.md").write_text("old")
    assert export(checkpoint, "hub", tmp_path / "hub") == 0
    assert (tmp_path / "hub" / "README.md").read_text().startswith("---")
