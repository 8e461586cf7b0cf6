"""From files in the publishers' layouts to results, through the commands."""

import json
import math
import shutil

import pytest
from helpers import FORMATS, finetune, places, run

from clover.evaluation.benchmarks import BENCHMARKS
from clover.pipeline import Clover


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_runs_from_its_files_to_its_result(name, checkpoint, corpus, tmp_path):
    folder, out = corpus(FORMATS[name]), tmp_path / "run"
    status, output, errors = finetune(name, checkpoint, folder, out)
    assert status == 0, errors
    assert f"checkpoint: {out / 'checkpoint'}" in output
    lines = tmp_path / "predictions.jsonl"
    status, output, errors = run(
        "evaluate", name, out / "checkpoint", *places(folder), "--baselines", "--predictions", lines
    )
    assert status == 0, errors
    result = json.loads((out / "result.json").read_text())
    assert result["benchmark"] == name
    assert result["metric"] == BENCHMARKS[name].metric
    assert result["interval"][0] <= result["value"] <= result["interval"][1]
    assert 0 <= result["chance"] <= 100
    assert 0 <= result["shuffled_frames"] <= 100
    assert 0 <= result["single_frame"] <= 100
    assert result["is_complete"]
    assert result["selected_on"] == "last"
    assert result["checksums"]
    assert result["published"] == BENCHMARKS[name].published
    assert f"{result['num_queries']:,}" in result["protocol"]
    assert any("the published split has" in line for line in result["remarks"])
    predictions = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(predictions) == result["num_queries"]
    if result["metric"] == "accuracy":
        right = sum(row["said"] == row["right"] for row in predictions)
        assert result["value"] == pytest.approx(100 * right / len(predictions))
    else:
        right = sum(row["found"][0] == row["video"] for row in predictions)
        assert result["value"] == pytest.approx(100 * right / len(predictions))
        assert "dual_softmax_recall_at_1" in result["figures"]
    assert BENCHMARKS[name].title in output
    assert result["protocol"].split(";")[0] in output.replace("\n", " ")


def test_zero_shot_retrieval_needs_no_fine_tuning(checkpoint, corpus):
    folder = corpus("msrvtt")
    status, output, _ = run("evaluate", "msrvtt-retrieval", checkpoint, *places(folder), "--zero-shot", "--json")
    result = json.loads(output)
    assert status == 0
    assert result["is_zero_shot"]
    assert Clover.from_pretrained(checkpoint).is_of_this(result)
    assert result["published"]["recall_at_1"] == 26.4
    assert result["selected_on"] == "unknown"


def test_selection_on_training_videos_that_are_held_out(checkpoint, corpus, tmp_path):
    out = tmp_path / "run"
    folder = corpus("tgif-transition")
    status, _, errors = finetune("tgif-transition", checkpoint, folder, out, "--select-on", "held_out")
    assert status == 0, errors
    notes = json.loads((out / "run.json").read_text())
    everything = len((folder / "annotations/Train_transition_question.csv").read_text().splitlines()) - 1
    assert 0 < notes["num_rows"] < everything
    assert (notes["title"], notes["benchmark"], notes["recipe"]) == (
        "fine-tuning on tgif-transition",
        "tgif-transition",
        "small",
    )
    assert notes["is_finished"]
    assert notes["sessions"][0]["data"]["media"]["count"] == len(notes["training_videos"])
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert all(set(row) == {"num_steps", "score"} for row in rows if "step" not in row)
    assert [row["step"] for row in json.loads((out / "selection.json").read_text())][-1] == 2
    output = run("evaluate", "tgif-transition", out / "checkpoint", *places(folder))[1]
    assert "checkpoint chosen on: held_out" in output


def test_a_ready_made_vocabulary(checkpoint, corpus, tmp_path):
    (tmp_path / "answers.txt").write_text("red\nblue\nsquare\n")
    folder, out = corpus("msvd-qa"), tmp_path / "run"
    status, output, errors = finetune("msvd-qa", checkpoint, folder, out, "--vocabulary", tmp_path / "answers.txt")
    assert status == 0, errors
    assert "rows whose answer is outside the vocabulary" in output
    result = json.loads(run("evaluate", "msvd-qa", out / "checkpoint", *places(folder), "--json")[1])
    assert result["num_gallery"] == 3
    assert result["figures"]["outside_vocabulary"] > 0


def test_selection_on_a_real_validation_split(checkpoint, corpus, tmp_path):
    out = tmp_path / "run"
    status, _, errors = finetune("msrvtt-qa", checkpoint, corpus("msrvtt-qa"), out, "--select-on", "validation")
    assert status == 0, errors
    assert json.loads((out / "selection.json").read_text())
    left = Clover.from_pretrained(out / "checkpoint")
    assert json.loads((out / "run.json").read_text())["fingerprint"] == left.fingerprint


def test_msrvtt_choices_by_fusion(checkpoint, corpus, tmp_path):
    folder, out = corpus("msrvtt-mc"), tmp_path / "run"
    status, _, errors = finetune("msrvtt-mc", checkpoint, folder, out, "--by-fusion")
    assert status == 0, errors
    status, output, errors = run("evaluate", "msrvtt-mc", out / "checkpoint", *places(folder), "--by-fusion")
    assert status == 0, errors
    assert "by fusion" in output
    assert (out / "result-by-fusion.json").is_file()
    assert not (out / "result.json").exists()


def test_a_new_run_takes_old_results_away(checkpoint, corpus, tmp_path):
    folder, out = corpus("msrvtt-qa"), tmp_path / "run"
    finetune("msrvtt-qa", checkpoint, folder, out)
    run("evaluate", "msrvtt-qa", out / "checkpoint", *places(folder))
    assert (out / "result.json").is_file()
    finetune("msrvtt-qa", checkpoint, folder, out, "--overwrite")
    assert not (out / "result.json").exists()


def test_resuming_with_other_rows_is_refused(checkpoint, corpus, tmp_path):
    folder, out = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(corpus("msrvtt-qa"), folder)
    assert finetune("msrvtt-qa", checkpoint, folder, out)[0] == 0
    folder = folder.rename(tmp_path / "moved")
    status, _, errors = finetune("msrvtt-qa", checkpoint, folder, out, "--resume")
    assert status == 0, errors  # it may lie elsewhere
    questions = json.loads((folder / "annotations/train_qa.json").read_text())
    (folder / "annotations/train_qa.json").write_text(json.dumps(questions[:-3]))
    status, _, errors = finetune("msrvtt-qa", checkpoint, folder, out, "--resume")
    assert status == 2
    assert "other settings" in errors[-1]


def test_starting_over_forgets_the_best_moment_of_the_run_before(checkpoint, corpus, tmp_path):
    folder, out = corpus("msrvtt-qa"), tmp_path / "run"
    assert finetune("msrvtt-qa", checkpoint, folder, out, "--select-on", "validation")[0] == 0
    assert (out / "best").is_dir()
    assert finetune("msrvtt-qa", checkpoint, folder, out, "--overwrite")[0] == 0
    assert not (out / "best").exists()
    assert not (out / "selection.json").exists()


def test_a_first_score_that_is_no_number_leaves_no_older_weights(checkpoint, corpus, tmp_path, monkeypatch):
    scores = iter([30.0, float("nan"), 20.0, float("nan"), 10.0])
    monkeypatch.setattr("clover.experiment.benchmarks.quick_score", lambda *_, **__: next(scores))
    folder, out = corpus("msrvtt-qa"), tmp_path / "run"
    select = ("--select-on", "validation", "--save-every", 100)
    assert finetune("msrvtt-qa", checkpoint, folder, out, *select)[0] == 0
    first = (out / "best/model.safetensors").read_bytes()
    assert finetune("msrvtt-qa", checkpoint, folder, out, *select, "--seed", 1, "--overwrite")[0] == 0
    assert math.isnan(json.loads((out / "selection.json").read_text())[0]["score"])
    assert (out / "best/model.safetensors").read_bytes() != first
    assert Clover.from_pretrained(out / "checkpoint").fingerprint == Clover.from_pretrained(out / "best").fingerprint


@pytest.mark.parametrize("option", ["--annotations", "--videos"])
def test_forgotten_folders_are_named(option, checkpoint, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(corpus("msrvtt-qa") / "annotations")
    arguments = [str(argument) for argument in places(corpus("msrvtt-qa"))]
    place = arguments.index(option)
    del arguments[place : place + 2]
    for command in (
        ("finetune", "msrvtt-qa", "--checkpoint", checkpoint, "--out", tmp_path / "run"),
        ("evaluate", "msrvtt-qa", checkpoint),
    ):
        status, _, errors = run(*command, *arguments)
        assert (status, len(errors)) == (2, 1)
        assert option in errors[0]
    assert not (tmp_path / "run").exists()


def test_what_is_trained_on_is_said_and_what_is_left_out_of_a_batch_too(checkpoint, corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus("msrvtt-qa"), folder)
    path = folder / "annotations/train_qa.json"
    questions = json.loads(path.read_text())
    first = questions[0]["video_id"]
    of_others = [row for row in questions if row["video_id"] != first]
    few = [questions[0], *of_others[:3]]
    path.write_text(json.dumps([*few, *of_others[3:4]]))
    output = finetune("msrvtt-qa", checkpoint, folder, tmp_path / "a")[1]
    assert f"trained on 5 rows of {len({row['video_id'] for row in (*few, of_others[3])})} videos" in output
    path.write_text(json.dumps(few))
    (folder / f"videos/video{first}.mp4").write_bytes(b"")
    status, _, errors = finetune("msrvtt-qa", checkpoint, folder, tmp_path / "b")
    assert status == 2
    assert "3 samples do not fill a batch of 4 (1 row of videos that cannot be read (first: " in errors[-1]
    assert f"video{first}.mp4" in errors[-1]


def test_training_says_why_it_reads_the_test_file(checkpoint, corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus("msrvtt-mc"), folder)
    (folder / "annotations/MSR_MC_test.csv").unlink()
    status, _, errors = finetune("msrvtt-mc", checkpoint, folder, tmp_path / "run")
    assert status == 2
    assert "training reads the test file too, to refuse videos that are in both" in errors[-1]
