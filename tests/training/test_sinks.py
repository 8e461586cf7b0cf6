"""TensorBoard, Weights & Biases and trackio get the figures; none of them can stop or slow a run."""

import importlib.machinery
import json
import logging
import sys
import threading
import time
import types
from functools import partial

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clover.errors import ConfigError
from clover.training.logbook import Logbook
from clover.training.sinks import BackgroundSink, LoggedStage

PATIENCE_SECONDS = 300.0
"""For a busy machine."""


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """To import a foreign package and to open its files may take long; a run would go on without it."""
    made = partial(BackgroundSink, patience_seconds=PATIENCE_SECONDS)
    monkeypatch.setattr("clover.training.sinks.BackgroundSink", made)


def write(folder, steps=range(3), *, first_step=0, **options):
    with Logbook(folder, total_steps=6, batch_size=4, first_step=first_step, quiet=True, **options) as logbook:
        for step in steps:
            logbook.write(step, {"words": 1.0 / (step + 1)}, learning_rate=0.1, waiting_seconds=0.0)
        logbook.note(num_steps=max(steps) + 1, recall_at_10=50.0, checkpoint="best")


def scalars(folder):
    board = EventAccumulator(str(folder))
    board.Reload()
    return {name: [(row.step, row.value) for row in board.Scalars(name)] for name in board.Tags()["scalars"]}


def test_tensorboard_gets_steps_and_evaluations(tmp_path):
    write(tmp_path, log_to=("tensorboard",))
    found = scalars(tmp_path / "tensorboard")
    assert found["words"] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert found["recall_at_10"] == [(2, 50.0)]
    assert {"learning_rate", "time_samples_per_second", "time_waiting_share"} <= set(found)
    assert "step" not in found and "num_steps" not in found and "checkpoint" not in found


def test_tensorboard_forgets_the_steps_that_are_done_again(tmp_path):
    write(tmp_path, range(5), log_to=("tensorboard",))
    write(tmp_path, range(3, 6), first_step=3, log_to=("tensorboard",))
    assert [step for step, _ in scalars(tmp_path / "tensorboard")["words"]] == list(range(6))


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB__SERVICE_WAIT", f"{PATIENCE_SECONDS:g}")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", f"{PATIENCE_SECONDS:g}")
    write(tmp_path / "run", log_to=("wandb",), settings={"optimizer": {"learning_rate": 0.125}})
    name = (tmp_path / "run" / "sink-name").read_text().strip()
    wanted = (b"words", b"recall_at_10", b"learning_rate", b"0.125")

    def kept():
        """All files of runs."""
        return {path.stem: path.read_bytes() for path in (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")}

    patience = time.monotonic() + 120  # its own process writes the file, a moment later
    while not all(word in kept().get(f"run-{name}", b"") for word in wanted) and time.monotonic() < patience:
        time.sleep(0.05)
    ((stem, content),) = kept().items()
    assert stem == f"run-{name}"
    assert all(word in content for word in wanted)


@pytest.fixture
def trackio(monkeypatch):
    """A stand-in that records the calls: the real trackio excludes the version of pillow that is tested here."""
    calls = []
    module = types.ModuleType("trackio")
    module.__spec__ = importlib.machinery.ModuleSpec("trackio", None)
    module.init = lambda **options: calls.append(("init", options))
    module.log = lambda values, step: calls.append(("log", step, values))
    module.finish = lambda: calls.append(("finish",))
    monkeypatch.setitem(sys.modules, "trackio", module)
    return calls


def test_trackio_is_called_as_documented(tmp_path, trackio):
    write(tmp_path / "a run" / "pretraining", log_to=("trackio",), settings={"seed": 3})
    (kind, options), *steps, note, end = trackio
    assert kind == "init"
    assert options["project"] == "clover"
    assert options["name"].startswith("a-run-pretraining-")
    assert options["config"] == {"seed": 3}
    assert options["resume"] == "allow"
    assert [(step, values["words"]) for _, step, values in steps] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert note == ("log", 2, {"recall_at_10": 50.0})
    assert end == ("finish",)


def test_a_resumed_run_keeps_its_name_and_a_new_one_gets_another(tmp_path, trackio):
    for first_step in (0, 2, 0):
        write(tmp_path, range(first_step, 3), first_step=first_step, log_to=("trackio",))
    first, resumed, fresh = (call[1]["name"] for call in trackio if call[0] == "init")
    assert first == resumed != fresh


class Broken:
    def __init__(self, when):
        self.when = when
        if when == "opening":
            raise OSError("network is unreachable")

    def write(self, step, values):
        if self.when == "writing":
            raise RuntimeError("gone\nfor good")

    def close(self):
        if self.when == "closing":
            raise SystemExit(3)


@pytest.mark.parametrize("when", ["opening", "writing", "closing"])
def test_a_sink_that_fails_is_dropped_with_one_warning(when, caplog):
    sink = BackgroundSink("wandb", lambda: Broken(when), patience_seconds=PATIENCE_SECONDS)
    for step in range(100):
        sink.write(step, {"total": 1.0})
        time.sleep(0.0001)
    sink.close()
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith("wandb gets no more of this run's figures (")
    assert "\n" not in warning.getMessage()


def test_a_sink_that_hangs_costs_the_run_nothing(caplog):
    released = threading.Event()

    def held():
        return released.wait(300) and Broken("never")

    sink = BackgroundSink("wandb", held, most_waiting=5, patience_seconds=0.05)
    start = time.monotonic()
    for step in range(50):
        sink.write(step, {"total": 1.0})
    assert time.monotonic() - start < 100  # it would hang for 300
    sink.close()
    (warning,) = caplog.records
    assert "it is 5 rows behind" in warning.getMessage()
    released.set()


def test_closing_waits_for_a_slow_end_only_so_long(caplog):
    released = threading.Event()

    class Slow(Broken):
        def close(self):
            released.wait(300)

    sink = BackgroundSink("wandb", lambda: Slow("never"), patience_seconds=0.05)
    start = time.monotonic()
    sink.close()
    assert time.monotonic() - start < 100  # it would hang for 300
    assert "did not end within 0.05 seconds" in caplog.text
    released.set()


def test_a_network_that_is_down_leaves_the_log_whole(tmp_path, caplog, trackio):
    def fail(**_):
        raise ConnectionError("no route")

    sys.modules["trackio"].init = fail
    write(tmp_path, log_to=("trackio",))
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4
    assert "trackio gets no more of this run's figures (ConnectionError: no route)" in caplog.text


def test_nobody_is_asked_to_log_in(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("wandb.login", lambda prompt: prompt)
    write(tmp_path, log_to=("wandb",))
    assert "no one is logged in: wandb login, or WANDB_MODE=offline" in caplog.text


def test_a_package_that_is_not_installed_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("clover.training.sinks.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"wandb is not installed: pip install 'clover-vl\[wandb\]'"):
        write(tmp_path, log_to=("wandb",))


def test_notes_of_steps_that_are_done_again_are_dropped(tmp_path):
    write(tmp_path, range(5))
    write(tmp_path, range(3, 6), first_step=3)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["num_steps"] for row in rows if "num_steps" in row] == [6]


def test_names_are_fit_for_any_service(tmp_path):
    name = LoggedStage(folder=tmp_path / "ü b" / "c:d").run_name
    assert name.startswith("ü-b-c-d-")
