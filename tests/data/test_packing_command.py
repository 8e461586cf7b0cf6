"""clover data pack as a user types it, and on a real Ray cluster of one machine."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from clover.cli import main
from clover.data.packing.encoding import EncodingConfig
from clover.data.packing.pack import pack_here
from clover.data.packing.ray_tasks import run_on_ray
from clover.data.packing.settings import PackingConfig, Part
from clover.data.packing.sources import SourceOptions
from clover.errors import ConfigError, DataError

FORMATS = Path(__file__).parents[1] / "formats"


@pytest.fixture
def tars(tmp_path):
    return shutil.copytree(FORMATS / "webdataset/cc3m", tmp_path / "tars")


def shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


def test_pack_and_pack_again(tars, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["data", "pack", tars, out, "--workers", "1", "--short-side", "32", "--samples-per-shard", "2"]
    assert main(list(map(str, command))) == 0
    printed = capsys.readouterr().out
    assert "source: shards, 3 samples" in printed
    assert "note: 2 samples were never fetched (the first: 000000003, not in the shard)" in printed
    assert "part 0/1: 3 samples in 2 shards\n" in printed
    assert f"pack {out}: complete: 3 samples in 2 shards, 0.000 GB, 0.00 hours of video, 0 bad" in printed
    before = shards(out)
    assert sorted(before) == ["shard-0000-00000.tar", "shard-0000-00001.tar"]
    assert main(list(map(str, command))) == 0
    assert shards(out) == before
    assert main([*map(str, command), "--quality", "30"]) == 2
    assert f"{out} holds a pack of other settings (quality 23, not 30)" in capsys.readouterr().err


def test_a_part_at_a_time(tars, tmp_path, capsys):
    (tars / "00000_stats.json").unlink()
    out = tmp_path / "out"
    assert main(["data", "pack", str(tars), str(out), "--part", "1/2"]) == 0
    printed = capsys.readouterr().out
    assert "part 1/2: 2 samples in 1 shards" in printed
    assert "1 of 2 parts, so far: 2 samples" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "unknown data command 'dance'; choose check or pack"),
        ([], "unknown data command ''"),
        (["pack", "nowhere", "out"], "nowhere: no such file or folder; check the path"),
        (["pack", "a", "b", "--part", "8/8"], "counted from 0/8 to 7/8"),
        (["pack", "a", "b", "--part", "0/8", "--ray", "local"], "--part and --ray contradict each other"),
        (["pack", "a", "b", "--workers", "2", "--ray", "local"], "--workers and --ray contradict each other"),
        (["pack", "a", "b", "--parts", "2"], "--parts 2 is for --ray"),
        (["pack", "a", "b", "--short-side", "0"], "short_side is 0"),
        (["pack", "a"], "clover data pack --help"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main(["data", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "pack"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["data", command, "--help"])
    assert not leaving.value.code
    assert f"usage: clover data {command}" in capsys.readouterr().out
    assert main(["data", "--help"]) == 0
    assert f"clover data {command}" in capsys.readouterr().out


def test_a_cluster_that_does_not_answer(tars, tmp_path, capsys):
    assert main(["data", "pack", str(tars), str(tmp_path / "out"), "--ray", "127.0.0.1:1"]) == 2
    assert "no Ray cluster answers at '127.0.0.1:1'" in capsys.readouterr().err


@pytest.mark.slow
def test_on_ray(tars, tmp_path):
    """In a process of its own: Ray leaves threads behind, and sets handlers."""
    command = [sys.executable, "-m", "clover", "data", "pack", str(tars), str(tmp_path / "ray")]
    options = ["--short-side", "32", "--samples-per-shard", "2"]
    done = subprocess.run(
        [*command, "--ray", "local", "--parts", "2", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"pack {tmp_path / 'ray'}: complete: 3 samples in 2 shards" in done.stdout
    config = PackingConfig(encoding=EncodingConfig(short_side=32), samples_per_shard=2)
    for index in range(2):
        pack_here(SourceOptions(path=str(tars)), tmp_path / "here", config, Part(index=index, count=2))
    assert shards(tmp_path / "ray") == shards(tmp_path / "here")


class FakeRay:
    """Runs a task when it is handed over; the last handed over is done first."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

    def __init__(self):
        self.is_running = False

    def init(self, **options):
        self.is_running = True

    def shutdown(self):
        self.is_running = False

    def remote(self, **options):
        def task(function):
            return SimpleNamespace(remote=lambda *arguments: Future(function, arguments))

        return task

    def wait(self, waiting, num_returns):
        return waiting[-1:], waiting[:-1]

    def get(self, future):
        return future.function(*future.arguments)


class Future(NamedTuple):
    function: Callable
    arguments: tuple


def test_results_of_tasks_are_in_order_and_errors_come_back_as_they_are(monkeypatch):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    done = []
    assert run_on_ray("local", str.upper, [("a",), ("b",)], lambda *counts: done.append(counts)) == ["A", "B"]
    assert done == [(1, 2), (2, 2)]

    def fail(message):
        raise DataError(message)

    with pytest.raises(DataError, match=r"^b$"):
        run_on_ray("local", fail, [("a",), ("b",)])

    def crash(message):
        raise ray.exceptions.RayError(f"The task\ndied: {message}")

    with pytest.raises(ConfigError, match=r"a Ray task failed \(died: b\)"):
        run_on_ray("local", crash, [("a",), ("b",)])
    assert not ray.is_running
