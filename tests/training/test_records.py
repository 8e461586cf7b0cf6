"""run.json: what it says of code, machine and data, and how it grows when a run goes on."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clover.training.records import RunRecord, checksums, code_version, data_fingerprint, environment


def record(folder, **changes):
    values = {
        "title": "pre-training",
        "settings": {"seed": 1},
        "stages": {"first": 10, "second": 20},
        "data": lambda: {"files": {"a.json": "0f"}},
    }
    return RunRecord(folder, **(values | changes))


def written(folder):
    return json.loads((folder / "run.json").read_text())


def test_a_run_from_start_to_end(tmp_path):
    run = record(tmp_path)
    run.begin(resume=False)
    start = written(tmp_path)
    assert not start["is_finished"]
    assert start["experiment"] == {"seed": 1}
    assert start["stages"] == {"first": 10, "second": 20}
    run.enter(tmp_path / "first", 0)
    run.finish(lambda: "0a1b", benchmark="msrvtt-qa")
    end = written(tmp_path)
    assert end["is_finished"]
    assert end["benchmark"] == "msrvtt-qa"
    assert end["fingerprint"] == "0a1b"
    (session,) = end["sessions"]
    assert session["first_steps"] == {"first": 0}
    assert session["data"] == {"files": {"a.json": "0f"}}
    assert session["time_started"] <= session["time_finished"]
    assert session["command"]
    assert session["code"] == code_version()
    assert session["environment"] == environment()


def test_going_on_adds_a_session_and_keeps_the_rest(tmp_path):
    first = record(tmp_path)
    first.begin(resume=False)
    first.enter(tmp_path / "first", 0)
    again = record(tmp_path, settings={"seed": 1, "log_to": ["wandb"]})
    again.begin(resume=True)
    assert len(written(tmp_path)["sessions"]) == 1, "it may be refused yet"
    again.enter(tmp_path / "first", 6)
    again.enter(tmp_path / "second", 0)
    plain = written(tmp_path)
    assert [session["first_steps"] for session in plain["sessions"]] == [{"first": 0}, {"first": 6, "second": 0}]
    assert plain["experiment"] == {"seed": 1, "log_to": ["wandb"]}
    assert plain["sessions"][1]["settings_before"] == {"seed": 1}
    assert "settings_before" not in plain["sessions"][0]
    assert not plain["is_finished"]


@pytest.mark.parametrize("found", ["{", "[]", '{"sessions": 3}', '{"benchmark": "msvd-qa"}', None])
def test_going_on_refuses_no_record(tmp_path, found):
    if found is not None:
        (tmp_path / "run.json").write_text(found)
    run = record(tmp_path, stages={".": 5})
    run.begin(resume=True)
    run.enter(tmp_path, 3)
    plain = written(tmp_path)
    assert [session["first_steps"] for session in plain["sessions"]] == [{".": 3}]
    assert plain["title"] == "pre-training"
    assert ("benchmark" in plain) == (found is not None and "benchmark" in found)


def test_a_new_run_forgets_the_one_before(tmp_path):
    for _ in range(2):
        run = record(tmp_path)
        run.begin(resume=False)
    assert len(written(tmp_path)["sessions"]) == 1


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run = record(tmp_path)
    run.begin(resume=False)
    run.enter(tmp_path / "first", 0)
    run.finish(lambda: "0a1b")
    assert list(tmp_path.iterdir()) == []


def git(folder, *arguments):
    who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


def test_code_in_and_outside_a_work_tree(tmp_path):
    tree = tmp_path / "tree"
    package = tree / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    outside = code_version(package)
    assert outside["commit"] is None
    assert outside["is_modified"] is None
    git(tmp_path, "init", tree)
    (tree / ".gitignore").write_text("installed\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-m", "x")
    clean = code_version(package)
    head = subprocess.run(["git", "-C", tree, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert clean == outside | {"commit": head.stdout.strip(), "is_modified": False}
    (tree / "notes.txt").write_text("beside the package")
    assert code_version(package) == clean
    (package / "__init__.py").write_text("a = 2\n")
    changed = code_version(package)
    assert changed["is_modified"]
    assert changed["sources"] != clean["sources"]
    shutil.copytree(package, tree / "installed" / "package")
    assert code_version(tree / "installed" / "package")["commit"] is None, "a copy that this tree does not track"


def make_media(folder, sizes):
    folder.mkdir()
    for name, size in sizes.items():
        (folder / name).write_bytes(b"x" * size)
    (folder / "rows.json").write_text("[1]")
    return data_fingerprint(checksums(folder, "*.json"), [folder / name for name in sizes], folder)


def test_data_are_told_apart_by_what_they_are_and_not_by_where(tmp_path):
    sizes = {"a.mp4": 3, "b.mp4": 4}
    first = make_media(tmp_path / "one", sizes)
    assert first == make_media(tmp_path / "two", dict(reversed(sizes.items())))
    assert first["media"]["count"] == 2
    assert first["media"]["measured_bytes"] == 7
    assert len(first["files"]["rows.json"]) == 64
    for number, other in enumerate([{"a.mp4": 3}, {"a.mp4": 3, "c.mp4": 4}, {"a.mp4": 4, "b.mp4": 3}]):
        assert make_media(tmp_path / f"other{number}", other)["media"] != first["media"]
    gone = data_fingerprint({}, [tmp_path / "one" / "a.mp4", tmp_path / "one" / "gone.mp4"], tmp_path / "one")
    assert gone["media"]["count"] == 2
    assert gone["media"]["measured_bytes"] == 3


@given(st.sets(st.text("abc .ü", min_size=1, max_size=8), max_size=20), st.randoms())
def test_the_order_of_media_is_nothing(names, random):
    media = [Path("nowhere") / f"m{name}" for name in names]
    found = data_fingerprint({}, media, Path("nowhere"))
    random.shuffle(media)
    assert found == data_fingerprint({}, media, Path("nowhere"))
    assert found["media"]["count"] == len(names)


def test_sizes_of_many_media_are_taken_from_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr("clover.training.records._MOST_MEASURED", 10)
    media = [tmp_path / f"{number:04}.mp4" for number in range(95)]
    for place, path in enumerate(media):
        path.write_bytes(b"x" * place)
    found = data_fingerprint({}, media, tmp_path)["media"]
    assert found["count"] == 95
    assert found["measured"] == 10
    assert found["measured_bytes"] == sum(range(0, 95, 10))


def test_the_environment_names_no_machine():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["libraries"]["torch"]
    assert found["cpu"]["count"] >= 1
    assert "node" not in found and "host" not in found
