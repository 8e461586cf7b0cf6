"""The eleven benchmarks through the commands, from files in the publishers' layouts to results."""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import pytest

from clover.cli import main
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.evaluation.benchmarks import BENCHMARKS
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.pipeline import Clover, CloverConfig, InputConfig
from clover.recipes.benchmarks import published, recipe_for

FORMATS = {
    "msrvtt-retrieval": "msrvtt",
    "didemo-retrieval": "didemo",
    "lsmdc-retrieval": "lsmdc",
} | {name: name for name in BENCHMARKS if not name.endswith("-retrieval")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model that was never trained."""
    texts = ["a red ball moves left Options: Answer: jump spin", "what color is the star? which object grows twice"]
    tokenizer = Tokenizer.train(texts, 200)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), initial_weights="fan_in")
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    config = CloverConfig(model=model, inputs=InputConfig(num_frames=8, frames=frames, max_text_length=64))
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    Clover(new_model(model, seed=0), tokenizer, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Folders by format, each written when first asked for."""
    made = {}
    root = tmp_path_factory.mktemp("publishers")

    def make(name):
        if name not in made:
            num_videos = 240 if name.startswith("tgif") else 40
            write_corpus(root / name, ShapesConfig(num_videos=num_videos, size=64), format=name, num_processes=2)
            made[name] = root / name
        return made[name]

    return make


def run(*arguments):
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            status = leaving.code
    return status, output.getvalue(), errors.getvalue().splitlines()


def places(folder):
    return "--annotations", folder / "annotations", "--videos", folder / "videos"


def finetune(name, checkpoint, folder, out, *more):
    few = ("--max-steps", 2, "--batch-size", 4)
    return run("finetune", name, "--checkpoint", checkpoint, *places(folder), "--out", out, *few, *more)


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
    assert result["published"]["recall_at_1"] == 26.4
    assert result["selected_on"] == "unknown"


def test_a_checkpoint_without_the_head_is_refused(checkpoint, corpus):
    for name in ("tgif-transition", "msrvtt-qa", "lsmdc-fib"):
        status, _, errors = run("evaluate", name, checkpoint, *places(corpus(name)))
        assert status == 2
        assert f"clover finetune {name} makes one" in errors[-1]


def test_validation_is_never_silently_the_test_split(checkpoint, corpus, tmp_path):
    folder = corpus("msrvtt")
    status, _, errors = finetune("msrvtt-retrieval", checkpoint, folder, tmp_path / "a", "--select-on", "validation")
    assert status == 2
    assert "has no validation split" in errors[-1]
    out = tmp_path / "b"
    assert finetune("msrvtt-retrieval", checkpoint, folder, out, "--select-on", "test")[0] == 0
    status, output, _ = run("evaluate", "msrvtt-retrieval", out / "checkpoint", *places(folder))
    assert status == 0
    assert "checkpoint chosen on: test" in output
    assert "chosen on this very test split" in " ".join(output.split())
    assert json.loads((out / "result.json").read_text())["selected_on"] == "test"


def test_selection_on_training_videos_that_are_held_out(checkpoint, corpus, tmp_path):
    out = tmp_path / "run"
    folder = corpus("tgif-transition")
    status, _, errors = finetune("tgif-transition", checkpoint, folder, out, "--select-on", "held_out")
    assert status == 0, errors
    notes = json.loads((out / "run.json").read_text())
    everything = len((folder / "annotations/Train_transition_question.csv").read_text().splitlines()) - 1
    assert 0 < notes["num_rows"] < everything
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


def test_strict_takes_a_bad_row_for_an_error(checkpoint, corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus("msrvtt-qa"), folder)
    path = folder / "annotations/train_qa.json"
    questions = json.loads(path.read_text())
    del questions[0]["answer"]
    path.write_text(json.dumps(questions))
    assert finetune("msrvtt-qa", checkpoint, folder, tmp_path / "a")[0] == 0
    status, _, errors = finetune("msrvtt-qa", checkpoint, folder, tmp_path / "b", "--strict")
    assert status == 2
    assert "train_qa.json, row 1" in errors[-1]


def test_selection_on_a_real_validation_split(checkpoint, corpus, tmp_path):
    out = tmp_path / "run"
    status, _, errors = finetune("msrvtt-qa", checkpoint, corpus("msrvtt-qa"), out, "--select-on", "validation")
    assert status == 0, errors
    assert json.loads((out / "selection.json").read_text())


@pytest.fixture
def without_a_video(corpus, tmp_path):
    """MSRVTT-QA and MSR-VTT with one test video gone."""

    def make(name):
        folder = tmp_path / "copy"
        shutil.copytree(corpus(name), folder)
        if name == "msrvtt":
            rows = (folder / "annotations/MSRVTT_JSFUSION_test.csv").read_text().splitlines()
            video = rows[1].split(",")[2]
        else:
            video = f"video{json.loads((folder / 'annotations/test_qa.json').read_text())[0]['video_id']}"
        (folder / f"videos/{video}.mp4").unlink()
        return folder, video

    return make


def test_missing_media_follow_the_policy(checkpoint, corpus, without_a_video, tmp_path):
    out = tmp_path / "run"
    assert finetune("msrvtt-qa", checkpoint, corpus("msrvtt-qa"), out)[0] == 0
    folder, video = without_a_video("msrvtt-qa")
    arguments = ("evaluate", "msrvtt-qa", out / "checkpoint", *places(folder), "--json")
    status, _, errors = run(*arguments)
    assert status == 2
    assert video in errors[-1]
    dropped = json.loads(run(*arguments, "--missing", "drop")[1])
    wrong = json.loads(run(*arguments, "--missing", "wrong")[1])
    assert not dropped["is_complete"]
    assert not wrong["is_complete"]
    assert wrong["num_queries"] > dropped["num_queries"]
    right = dropped["value"] * dropped["num_queries"] / 100
    assert wrong["value"] == pytest.approx(100 * right / wrong["num_queries"])
    status, output, _ = run(*arguments[:-1], "--missing", "drop")
    assert "INCOMPLETE" in output


def test_missing_videos_cannot_be_counted_wrong_in_retrieval(checkpoint, without_a_video):
    folder, _ = without_a_video("msrvtt")
    arguments = ("evaluate", "msrvtt-retrieval", checkpoint, *places(folder), "--zero-shot")
    status, _, errors = run(*arguments, "--missing", "wrong")
    assert status == 2
    assert "--missing error or drop" in errors[-1]
    assert run(*arguments, "--missing", "drop")[0] == 0


def test_training_on_test_videos_is_refused(checkpoint, corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus("msrvtt-mc"), folder)
    lists = folder / "annotations"
    test = {
        line.split("\t")[1].replace("msr", "video")
        for line in (lists / "MSR_MC_test.csv").read_text().split("\n")[1:]
        if line
    }
    train = (lists / "MSRVTT_train.7k.csv").read_text()
    (lists / "MSRVTT_train.7k.csv").write_text(train.rstrip("\n") + "\n" + "\n".join(sorted(test)) + "\n")
    status, _, errors = finetune("msrvtt-mc", checkpoint, folder, tmp_path / "run")
    assert status == 2
    assert "are also training videos" in errors[-1]


def test_a_check_lists_everything_at_once(corpus, without_a_video):
    folder, video = without_a_video("msrvtt-qa")
    questions = json.loads((folder / "annotations/val_qa.json").read_text())
    del questions[0]["answer"]
    questions[1]["video_id"] = "seven"
    (folder / "annotations/val_qa.json").write_text(json.dumps(questions))
    (folder / "annotations/train_qa.json").write_text("[")
    number = json.loads((folder / "annotations/test_qa.json").read_text())[-1]["video_id"]
    (folder / f"videos/video{number}.mp4").write_bytes(b"junk")
    status, output, _ = run("data", "check", "msrvtt-qa", *places(folder))
    assert status == 1
    for expected in ("train_qa.json", "row 1", "row 2", f"{video}.mp4", f"video{number}.mp4", "published 12,278"):
        assert expected in output
    assert "Traceback" not in output


def test_the_report_has_ours_beside_theirs_and_pictures_of_differences(checkpoint, corpus, tmp_path):
    files = []
    for name in ("msrvtt-retrieval", "tgif-transition"):
        out = tmp_path / name
        folder = corpus(FORMATS[name])
        finetune(name, checkpoint, folder, out)
        run("evaluate", name, out / "checkpoint", *places(folder), "--predictions", out / "said.jsonl")
        files.append(out / "said.jsonl")
    rows = [json.loads(line) for line in files[1].read_text().splitlines()]
    for row in rows:
        row["said"] = row["right"] if row["said"] != row["right"] else (row["right"] + 1) % 5
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = tmp_path / "report.html"
    status, _, errors = run(
        "report",
        tmp_path / "msrvtt-retrieval",
        tmp_path / "tgif-transition",
        "--out",
        page,
        "--compare",
        files[1],
        other,
    )
    assert status == 0, errors
    content = page.read_text()
    for expected in ("MSR-VTT 1k-A", "40.5", "98.2", rows[0]["question"], "data:image/jpeg", "95 % interval"):
        assert expected in content
    assert content.count("data:image/jpeg") == min(8, len(rows))
    assert run("report", tmp_path / "nowhere")[0] == 2
    assert run("report", "--compare", files[0], other)[0] == 2
    assert run("report")[0] == 2


def test_the_table_says_what_is_needed():
    status, output, _ = run("benchmarks")
    assert status == 0
    assert all(name in output for name in BENCHMARKS)
    one = json.loads(run("benchmarks", "tgif-action")[1])
    assert one["inputs"]["num_views"] == 4
    assert run("benchmarks", "tgif")[0] == 2


# rate, decay, batch, epochs, warm-up epochs, start, stepping, norm, head rate, training frames, test frames, views,
# training fit, test fit, flip, training length, test length, answers: the authors' configs, row by row
PUBLISHED = {
    "msrvtt-retrieval": (
        1.2e-5,
        0.01,
        128,
        100,
        10,
        1e-3,
        "epoch",
        5,
        1,
        12,
        32,
        1,
        "random_crop",
        "center_crop",
        0.5,
        30,
        25,
        0,
    ),
    "didemo-retrieval": (
        1.2e-5,
        0.01,
        256,
        50,
        5,
        1e-3,
        "epoch",
        5,
        1,
        8,
        32,
        1,
        "random_crop",
        "center_crop",
        0,
        50,
        64,
        0,
    ),
    "lsmdc-retrieval": (
        1.2e-5,
        0.01,
        256,
        50,
        5,
        1e-3,
        "epoch",
        5,
        1,
        8,
        32,
        1,
        "random_crop",
        "center_crop",
        0,
        40,
        40,
        0,
    ),
    "tgif-action": (5e-6, 0.01, 128, 100, 10, 1e-4, "epoch", 50, 10, 8, 8, 4, "random_crop", "square", 0, 100, 100, 0),
    "tgif-transition": (
        5e-6,
        0.01,
        128,
        50,
        5,
        1e-4,
        "epoch",
        50,
        10,
        8,
        8,
        4,
        "random_crop",
        "square",
        0,
        100,
        100,
        0,
    ),
    "msrvtt-mc": (1.2e-5, 0.01, 16, 100, 10, 1e-3, "epoch", 5, 1, 8, 32, 1, "random_crop", "center_crop", 0, 30, 30, 0),
    "lsmdc-mc": (1.2e-5, 0.01, 128, 20, 2, 1e-4, "iteration", 50, 10, 8, 8, 1, "random_crop", "square", 0, 256, 256, 0),
    "tgif-frame": (
        1.2e-5,
        0.01,
        128,
        20,
        2,
        1e-4,
        "iteration",
        50,
        10,
        8,
        8,
        1,
        "random_crop",
        "center_crop",
        0,
        40,
        40,
        1540,
    ),
    "msrvtt-qa": (1.2e-5, 0.001, 256, 20, 2, 1e-4, "epoch", 50, 10, 8, 8, 1, "random_crop", "square", 0, 40, 40, 1500),
    "msvd-qa": (1.2e-5, 0.01, 128, 40, 4, 1e-4, "iteration", 50, 10, 8, 8, 1, "square", "square", 0, 40, 40, 1000),
    "lsmdc-fib": (
        1.2e-5,
        0.01,
        128,
        20,
        2,
        1e-4,
        "iteration",
        50,
        10,
        8,
        8,
        1,
        "random_crop",
        "square",
        0,
        200,
        200,
        908,
    ),
}
DROPOUT = {"tgif-frame": 0.1, "msrvtt-qa": 0.1}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_recipes_are_the_published_rows(name):
    made = published(BENCHMARKS[name])
    optimizer, inputs = made.optimizer, made.inputs
    assert (
        optimizer.learning_rate,
        optimizer.weight_decay,
        made.batch_size,
        made.num_epochs,
        round(optimizer.warmup_share * made.num_epochs),
        optimizer.warmup_start,
        optimizer.stepping,
        optimizer.gradient_norm,
        optimizer.head_rate_factor,
        made.training_frames,
        inputs.num_frames,
        inputs.num_views,
        inputs.frames.training_fit,
        inputs.frames.test_fit,
        inputs.frames.flip_probability,
        made.training_text_length,
        inputs.max_text_length,
        BENCHMARKS[name].num_answers,
    ) == PUBLISHED[name]
    assert made.batch_size == made.reference_batch_size
    assert inputs.lists_options
    if BENCHMARKS[name].family != "retrieval" and name != "msrvtt-mc":
        assert made.dropout == DROPOUT.get(name, 0.5)


def test_a_recipe_follows_the_networks_size(checkpoint):
    clover = Clover.from_pretrained(checkpoint)
    made = recipe_for(BENCHMARKS["tgif-action"], clover)
    assert made.inputs.num_frames == clover.config.inputs.num_frames
    assert not made.inputs.lists_options


def test_zero_shot_is_not_believed_of_a_fine_tuned_checkpoint(checkpoint, corpus, tmp_path):
    folder, out = corpus("msrvtt"), tmp_path / "run"
    finetune("msrvtt-retrieval", checkpoint, folder, out)
    status, _, errors = run("evaluate", "msrvtt-retrieval", out / "checkpoint", *places(folder), "--zero-shot")
    assert status == 2
    assert "its result is not zero-shot" in errors[-1]
    assert not (out / "result.json").exists()


def test_test_videos_that_a_checkpoint_was_trained_on_are_named(checkpoint, corpus, tmp_path):
    """MSR-VTT's training list holds test videos of another benchmark on the same clips."""
    folder, out = corpus("msrvtt-mc"), tmp_path / "run"
    finetune("msrvtt-mc", checkpoint, folder, out)
    notes = json.loads((out / "run.json").read_text())
    rows = (folder / "annotations/MSR_MC_test.csv").read_text().splitlines()[1:]
    notes["training_videos"] += [row.split("\t")[1].replace("msr", "video") for row in rows[:2]]
    (out / "run.json").write_text(json.dumps(notes))
    run("evaluate", "msrvtt-mc", out / "checkpoint", *places(folder))
    remarks = json.loads((out / "result.json").read_text())["remarks"]
    assert any(line.startswith("SEEN IN TRAINING: 2 of these") for line in remarks)


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


def test_what_the_publishers_own_file_lacks_does_not_make_a_result_incomplete(checkpoint, corpus, tmp_path):
    folder, out = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(corpus("lsmdc-fib"), folder)
    finetune("lsmdc-fib", checkpoint, folder, out)
    path = folder / "annotations/LSMDC16_annos_test_FIB.csv"
    lines = path.read_text().splitlines()
    fields = lines[0].split("\t")
    lines.append("\t".join([*fields[:-1], "NOTHINGTOBLANK"]))
    path.write_text("\n".join(lines) + "\n")
    result = json.loads(run("evaluate", "lsmdc-fib", out / "checkpoint", *places(folder), "--json")[1])
    assert result["is_complete"]
    assert result["num_queries"] == len(lines)
    lines[1] = "\t".join(lines[1].split("\t")[:4])
    path.write_text("\n".join(lines) + "\n")
    result = json.loads(run("evaluate", "lsmdc-fib", out / "checkpoint", *places(folder), "--json")[1])
    assert not result["is_complete"]
    assert result["num_queries"] == len(lines)


def test_resuming_with_other_rows_is_refused(checkpoint, corpus, tmp_path):
    folder, out = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(corpus("msrvtt-qa"), folder)
    assert finetune("msrvtt-qa", checkpoint, folder, out)[0] == 0
    questions = json.loads((folder / "annotations/train_qa.json").read_text())
    (folder / "annotations/train_qa.json").write_text(json.dumps(questions[:-3]))
    status, _, errors = finetune("msrvtt-qa", checkpoint, folder, out, "--resume")
    assert status == 2
    assert "other settings" in errors[-1]
