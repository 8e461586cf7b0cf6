"""The command line, started as a user starts it."""

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from clover.cli import COMMANDS, main
from clover.data.video import write_video
from clover.evaluation.benchmarks import BENCHMARKS


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "clover", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo at its smallest, run once."""
    folder = tmp_path_factory.mktemp("demo")
    done = run("demo", "--quick", "--out", folder / "demo")
    assert done.returncode == 0, done.stderr
    return folder / "demo", done


def test_help_is_fast_and_needs_no_torch():
    code = "import sys; import clover; from clover.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    try:
        assert main([name, "--help"]) == 0
    except SystemExit as leaving:
        assert not leaving.code
    assert "usage: clover" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["finetune", "evaluate"])
def test_help_names_the_eleven_benchmarks(name, capsys):
    with contextlib.suppress(SystemExit):
        main([name, "--help"])
    output = capsys.readouterr().out
    assert all(f"  {row.name} " in output and row.title in output for row in BENCHMARKS.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "unknown command 'dance'; choose one of demo, corpus"),
        (["pretrain", "nothing"], "unknown recipe 'nothing'; choose one of shapes"),
        (["pretrain", "shapes"], "no data: give a generated corpus with --data.corpus"),
        (["pretrain", "shapes", "--training.num-step", "3"], "Unrecognized options: --training.num-step"),
        (["search", "library", "a", "red", "ball"], "red, ball (a text of several words goes into quotes); see"),
        (["pretrain", "shapes", "--seed", "x"], "--seed takes a whole number; it is given x; see clover pretrain"),
        (
            ["pretrain", "shapes", "--training.num-epochs", "x"],
            "--training.num-epochs takes a number; it is given x; see clover pretrain",
        ),
        (["plan", "webvid_cc3m", "--epochs", "x"], "--epochs takes a number; it is given x; see clover plan"),
        (
            ["pretrain", "--out", "r", "shapes"],
            "the name of the recipe comes first, before --out: clover pretrain RECIPE [OPTIONS]; choose one of shapes",
        ),
        (
            ["finetune", "--out", "r", "shapes-questions"],
            "the name of the recipe comes first, before --out: clover fine",
        ),
        (["evaluate", "--corpus", "c", "retrieval"], "the name of the task comes first, before --corpus: clover evalu"),
        (["pretrain", "shapes", "--data.corpus", "nowhere"], "nowhere is not a corpus"),
        (["pretrain", "shapes", "--compute.device", "gpu"], "'gpu' is no device; give auto, cpu, cuda"),
        (["pretrain", "shapes", "--compute.device", "cpu", "--compute.precision", "tf32"], "tf32 is of NVIDIA GPUs"),
        (["pretrain", "shapes", "--init-parts", "fusion"], "--init-parts has no effect without --init"),
        (["pretrain", "shapes", "--lora.alpha", "2"], "--lora has no effect without a rank"),
        (
            ["pretrain", "shapes", "--video-encoder", "hf:x", "--model.video.window", "1", "4", "4"],
            "--model.video has no",
        ),
        (["pretrain", "shapes", "--text-encoder", "hf:x", "--data.vocabulary-size", "9"], "brings its own tokenizer"),
        (["evaluate", "retrieval", "nowhere", "--corpus", "c", "--device", "gpu"], "'gpu' is no device"),
        (["search", "nowhere", "a ball", "--device", "cpu"], "nowhere is not a library"),
        (["finetune", "shapes-questions"], "no checkpoint given"),
        (["evaluate", "retrieval", "nowhere", "--corpus", "c"], "nowhere is not a checkpoint folder"),
        (["evaluate", "dance"], "unknown task 'dance'"),
        (["finetune", "dance"], "choose one of shapes-questions, msrvtt-retrieval, "),
        (["finetune"], "no recipe given; choose one of shapes-questions, msrvtt-retrieval, "),
        (["index", "nowhere.mp4", "--checkpoint", "c", "--out", "l"], "nowhere.mp4"),
        (["search", "nowhere", "a ball"], "nowhere is not a library"),
        (["search", "nowhere", "a ball", "-k", "0"], "at least 1"),
        (["search", "nowhere"], "Missing"),
        (["evaluate", "retrieval", "c", "--corpus", "d", "--baselines"], "--baselines is for questions"),
        (["corpus", "circles"], "unknown corpus 'circles'"),
        (["corpus", "shapes", "c", "--num-videos", "1"], "give at least 3"),
        (["ask", "nowhere", "v.mp4", "what?"], "nowhere is not a checkpoint folder"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_quick_demo_leaves_everything(demo):
    folder, done = demo
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["seconds"] > 0
    retrieval, answers = metrics["zero_shot_retrieval"], metrics["question_answering"]
    assert retrieval["num_queries"] == 20
    assert retrieval["chance_recall_at_10"] == pytest.approx(50.0)
    for side in ("text_to_video", "video_to_text"):
        assert set(retrieval[side]) == {"recall_at_1", "recall_at_5", "recall_at_10", "median_rank"}
    assert set(answers) == {"num_questions", "accuracy", "most_frequent_answer", "question_only"}
    page = (folder / "report.html").read_text()
    assert page.count("data:image/jpeg") >= 10
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "text to video" in done.stdout


@pytest.mark.slow
def test_own_videos_are_indexed_searched_and_asked(demo, tmp_path):
    folder, _ = demo
    videos = tmp_path / "my videos"
    videos.mkdir()
    generator = np.random.default_rng(0)
    write_video(videos / "long film.mp4", generator.integers(0, 255, (90, 90, 160, 3), dtype=np.uint8), rate=9)
    write_video(videos / "one frame.mp4", generator.integers(0, 255, (1, 50, 50, 3), dtype=np.uint8))
    (videos / "broken.mp4").write_bytes(b"\x00" * 100)
    arguments = ("index", videos, "--checkpoint", folder / "checkpoint", "--out", tmp_path / "library")
    first = run(*arguments)
    assert first.returncode == 0, first.stderr
    assert "2 added, 0 unchanged" in first.stdout
    assert "left out 1 file" in first.stdout
    assert "broken.mp4" in first.stdout
    assert "0 added, 2 unchanged" in run(*arguments).stdout
    strict = run(*arguments, "--strict")
    assert strict.returncode == 2
    assert "broken.mp4" in strict.stderr
    found = run("search", tmp_path / "library", "a red ball moves left", "-k", "3", "--merge-drop", "0", "--json")
    results = json.loads(found.stdout)["results"]
    assert len(results) == 3
    for row in results:
        assert Path(row["video"]).exists()
        assert 0 <= row["start_seconds"] < row["end_seconds"] <= 10.1
        assert -1 <= row["score"] <= 1
    asked = run("ask", folder / "checkpoint", videos / "long film.mp4", "what color is the ball?", "--json")
    answers = json.loads(asked.stdout)["answers"]
    assert len(answers) == 3
    assert run("search", tmp_path / "library", "   ").returncode == 2
    other = run("index", videos, "--checkpoint", folder / "pretraining" / "checkpoint", "--out", tmp_path / "library")
    assert other.returncode == 2
    assert "was made by model" in other.stderr


@pytest.mark.slow
def test_evaluation_command_gives_the_demos_figures(demo):
    folder, _ = demo
    done = run("evaluate", "retrieval", folder / "checkpoint", "--corpus", folder / "corpus", "--json")
    figures = json.loads(done.stdout)
    metrics = json.loads((folder / "metrics.json").read_text())["zero_shot_retrieval"]
    assert figures["text_to_video"] == metrics["text_to_video"]
    table = run("evaluate", "questions", folder / "checkpoint", "--corpus", folder / "corpus")
    assert "most frequent training answer" in table.stdout


@pytest.mark.slow
def test_ctrl_c_leaves_one_line(demo, tmp_path):
    import signal

    folder, _ = demo
    arguments = [sys.executable, "-m", "clover", "pretrain", "shapes", "--data.corpus", str(folder / "corpus")]
    process = subprocess.Popen(
        [*arguments, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    log = tmp_path / "run" / "video_warm_start" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text()):  # a step: from then on signals are heard,
        time.sleep(0.05)  # even by a suite that was started in the background, where Ctrl-C is ignored at first
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert re.fullmatch(r"clover: asked to stop; .* go on with --resume auto", errors.splitlines()[-1])
    assert "Traceback" not in errors
    assert not (tmp_path / "run" / "checkpoint").exists()
