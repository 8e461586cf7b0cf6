"""The shipped recipes, shrunk: a run learns, resumes to the same weights after a kill, and its checkpoint works."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clover.data.collators import UnreadableBatchError
from clover.data.shapes.corpus import ShapesConfig, read_pairs, read_questions, write_corpus
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.errors import CheckpointError, CloverError
from clover.evaluation.open_answer import evaluate_questions
from clover.evaluation.retrieval import evaluate_retrieval, one_text_per_video
from clover.experiment.configs import StageConfig
from clover.experiment.finetuning import Finetuning, Selection, finetune_questions
from clover.experiment.losses import ramp
from clover.experiment.pretraining import Pretraining
from clover.experiment.tasks import RetrievalTask
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.recipes.finetune import shapes_questions
from clover.recipes.pretrain import RECIPES, shapes
from clover.training.compute import ComputeConfig
from clover.training.logbook import Logbook


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "corpus"
    write_corpus(folder, ShapesConfig(num_videos=48, size=64), num_processes=2)
    return folder


def shrunk(experiment, corpus, num_steps=4):
    stages = {
        name: replace(getattr(experiment, name), num_steps=num_steps, batch_size=8)
        for name in ("video_warm_start", "text_warm_start", "training")
        if getattr(experiment, name).num_steps
    }
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    return replace(
        experiment,
        # with dropout, so that a resumed run must go on with the random numbers where they were
        model=replace(tiny(vocabulary_size=1), initial_weights="fan_in", fused_dropout=0.1),
        data=replace(experiment.data, corpus=str(corpus), num_kept_frames=8),
        inputs=replace(experiment.inputs, frames=frames),
        save_every=2,
        **stages,
    )


@pytest.fixture(scope="module")
def pretrained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return Pretraining(shrunk(shapes(), corpus), folder, quiet=True).run(), folder


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("shapes")])
def test_every_recipe_runs(name, corpus, tmp_path):
    experiment = shrunk(RECIPES[name](), corpus, num_steps=2)
    Pretraining(experiment, tmp_path, quiet=True).run()
    rows = [json.loads(line) for line in (tmp_path / "pretraining" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1]
    assert all(np.isfinite(row["total"]) for row in rows)
    assert load_file(tmp_path / "checkpoint" / "model.safetensors")


def test_training_learns_its_batch(corpus, tmp_path):
    experiment = shrunk(shapes(), corpus)
    training = replace(
        experiment.training, num_steps=40, optimizer=replace(experiment.training.optimizer, learning_rate=3e-3)
    )
    experiment = replace(experiment, training=training, video_warm_start=StageConfig(), text_warm_start=StageConfig())
    Pretraining(experiment, tmp_path, quiet=True).run()
    rows = [json.loads(line) for line in (tmp_path / "pretraining" / "log.jsonl").read_text().splitlines()]
    first, last = (np.mean([row["masked_words"] for row in part]) for part in (rows[:5], rows[-5:]))
    assert last < 0.8 * first


def test_another_number_format_trains_alike(corpus, tmp_path):
    """With recomputed activations and sorted texts, bfloat16 goes the way of float32."""
    experiment = shrunk(shapes(), corpus)
    experiment = replace(experiment, training=replace(experiment.training, micro_batch_size=3))
    totals = []
    for precision in ("float32", "bfloat16"):
        compute = ComputeConfig(device="cpu", precision=precision, checkpoints_activations=precision == "bfloat16")
        folder = tmp_path / precision
        Pretraining(replace(experiment, compute=compute), folder, quiet=True).run()
        rows = (folder / "pretraining" / "log.jsonl").read_text().splitlines()
        totals.append([json.loads(row)["total"] for row in rows])
    assert totals[1] != totals[0]
    assert totals[1] == pytest.approx(totals[0], rel=0.15)


def test_a_corpus_that_cannot_be_written_is_trained_on_all_the_same(corpus, tmp_path):
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy, ignore=shutil.ignore_patterns(".cache"))
    (copy / ".cache").touch()  # a file where the folder would be: nothing can be kept there
    Pretraining(shrunk(shapes(), copy, num_steps=1), tmp_path / "run", quiet=True).run()
    assert (tmp_path / "run" / ".cache" / "tags.sqlite").is_file()
    assert (copy / ".cache").is_file()


def test_same_seed_same_weights(pretrained, corpus, tmp_path):
    again = Pretraining(shrunk(shapes(), corpus), tmp_path, quiet=True).run()
    ours, theirs = pretrained[0].network.state_dict(), again.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert pretrained[0].fingerprint == again.fingerprint


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_runs import shrunk
from clover.experiment.pretraining import Pretraining
from clover.recipes.pretrain import shapes
Pretraining(shrunk(shapes(), sys.argv[1], num_steps=12), Path(sys.argv[2]), quiet=True).run(resume=len(sys.argv) > 4)
"""


def start(corpus, folder, *, resume=False):
    from pathlib import Path

    here = str(Path(__file__).parent)
    arguments = [sys.executable, "-c", RUN, str(corpus), str(folder), here, *(["resume"] if resume else [])]
    return subprocess.Popen(arguments)


@pytest.mark.slow
def test_killed_and_resumed_is_bit_identical(corpus, tmp_path):
    whole = Pretraining(shrunk(shapes(), corpus, num_steps=12), tmp_path / "whole", quiet=True).run()
    for stage in ("video_warm_start", "pretraining"):
        folder = tmp_path / f"killed-in-{stage}"
        run = start(corpus, folder)
        while run.poll() is None and not list((folder / stage).glob("states/step-*")):
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert start(corpus, folder, resume=True).wait() == 0
        resumed = Clover.from_pretrained(folder / "checkpoint")
        ours, theirs = whole.network.state_dict(), resumed.network.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        logs = [
            [
                {name: value for name, value in json.loads(line).items() if not name.startswith("time_")}
                for line in (place / "pretraining" / "log.jsonl").read_text().splitlines()
            ]
            for place in (tmp_path / "whole", folder)
        ]
        assert logs[0] == logs[1]


def test_resuming_nothing_or_something_else_is_refused(corpus, tmp_path):
    run = Pretraining(shrunk(shapes(), corpus, num_steps=2), tmp_path, quiet=True)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run.run(resume=True)
    run.run()
    other = Pretraining(replace(shrunk(shapes(), corpus, num_steps=2), seed=7), tmp_path, quiet=True)
    with pytest.raises(CheckpointError, match=r"other settings \(settings.experiment.seed: 0 there, 7 here\)"):
        other.run(resume=True)


def test_a_run_goes_on_with_its_data_in_another_place(corpus, tmp_path):
    Pretraining(shrunk(shapes(), corpus, num_steps=2), tmp_path / "run", quiet=True).run()
    moved = tmp_path / "moved"
    shutil.copytree(corpus, moved)
    before = (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes()
    Pretraining(shrunk(shapes(), moved, num_steps=2), tmp_path / "run", quiet=True).run(resume=True)
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes() == before
    (moved / "train.jsonl").write_text((moved / "train.jsonl").read_text().replace("red", "blue"))
    with pytest.raises(CheckpointError, match="other settings"):
        Pretraining(shrunk(shapes(), moved, num_steps=2), tmp_path / "run", quiet=True).run(resume=True)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_stops_a_run_because_nothing_can_be_read_is_listed(corpus, tmp_path, num_workers):
    broken = tmp_path / "broken"
    shutil.copytree(corpus, broken)
    for path in (broken / "videos" / "train").iterdir():
        path.write_bytes(b"")
    experiment = shrunk(RECIPES["shapes-from-nothing"](), broken, num_steps=2)
    experiment = replace(experiment, data=replace(experiment.data, num_kept_frames=0), num_workers=num_workers)
    with pytest.raises(UnreadableBatchError, match="step 0: none of the"):
        Pretraining(experiment, tmp_path / "run", quiet=True).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert len(rows) == len({row["path"] for row in rows}) >= experiment.training.batch_size
    assert {(row["stage"], row["step"]) for row in rows} == {("pretraining", 0)}


def with_micro_batches(experiment, size):
    return replace(experiment, training=replace(experiment.training, micro_batch_size=size))


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "pretraining" / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("time_")} for row in rows]


def test_micro_batches_change_memory_and_nothing_else(corpus, tmp_path):
    """Without dropout, which draws other numbers for other sizes, every logged number is the plain run's."""
    plain = shrunk(shapes(), corpus, num_steps=3)
    plain = replace(plain, model=replace(plain.model, fused_dropout=0.0), ranking_ramp=(0.0, 0.0))
    runs = {size: with_micro_batches(plain, size) for size in (0, 3, 8)}
    for size, experiment in runs.items():
        Pretraining(experiment, tmp_path / str(size), quiet=True).run()
    expected = rows_of(tmp_path / "0")
    assert rows_of(tmp_path / "8") == expected
    for row, other in zip(rows_of(tmp_path / "3"), expected, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
        assert row["masked_words"] > 0


def test_micro_batches_resume_bit_identical(corpus, tmp_path, monkeypatch):
    experiment = with_micro_batches(shrunk(shapes(), corpus, num_steps=4), 3)
    whole = Pretraining(experiment, tmp_path / "whole", quiet=True).run()
    write = Logbook.write

    def stopped(self, step, values, **more):
        if step == 3 and "video_alignment" in values:
            raise KeyboardInterrupt
        write(self, step, values, **more)

    monkeypatch.setattr(Logbook, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        Pretraining(experiment, tmp_path / "killed", quiet=True).run()
    monkeypatch.undo()
    resumed = Pretraining(experiment, tmp_path / "killed", quiet=True).run(resume=True)
    ours, theirs = whole.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")


def test_ramp():
    assert [ramp(step, 10, (0.2, 0.6)) for step in (0, 2, 4, 6, 9)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert ramp(0, 10, (0.0, 0.0)) == 1.0
    assert [ramp(step, 10, (0.5, 0.5)) for step in (0, 4, 5)] == [0, 0, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: StageConfig(batch_size=0),
        lambda: StageConfig(num_steps=-1),
        lambda: StageConfig(micro_batch_size=-1),
        lambda: StageConfig(num_epochs=-1.0),
        lambda: replace(shapes_questions(), training=StageConfig(num_epochs=3.0)),
        lambda: replace(shapes(), ranking_ramp=(0.6, 0.5)),
        lambda: replace(shapes().inputs, num_frames=0),
        lambda: replace(shapes().inputs, burst_length=3),
    ],
)
def test_impossible_settings_are_refused_before_any_work(make):
    with pytest.raises(CloverError):
        make()


def test_saving_never_replaces_what_is_no_checkpoint(pretrained, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"holds other things \(thesis.txt\)"):
        pretrained[0].save_pretrained(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    pretrained[0].save_pretrained(tmp_path / "c")
    pretrained[0].save_pretrained(tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "thesis.txt"]


def test_finetuning_of_another_checkpoint_is_not_resumed(pretrained, corpus, tmp_path):
    clover, _ = pretrained
    experiment = shapes_questions()
    training = replace(experiment.training, num_steps=2, batch_size=8)
    data = replace(experiment.data, corpus=str(corpus), num_kept_frames=8)
    experiment = replace(experiment, data=data, training=training)
    finetune_questions(clover, experiment, tmp_path, quiet=True)
    other = clover.with_heads(clover.config.model.heads, seed=1)
    with torch.no_grad():
        other.network.text_projection.expand.weight.mul_(2)
    with pytest.raises(CheckpointError, match="starting_checkpoint"):
        finetune_questions(other, experiment, tmp_path, resume=True, quiet=True)


def test_finetuning_goes_on_with_its_questions_in_another_place(pretrained, corpus, tmp_path):
    clover, _ = pretrained
    moved, out = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(corpus, moved)

    def finetune(corpus, **options):
        experiment = shapes_questions()
        training = replace(experiment.training, num_steps=2, batch_size=8)
        data = replace(experiment.data, corpus=str(corpus), num_kept_frames=8)
        finetune_questions(clover, replace(experiment, data=data, training=training), out, quiet=True, **options)
        return (out / "checkpoint" / "model.safetensors").read_bytes()

    before = finetune(corpus)
    assert finetune(moved, resume=True) == before
    (moved / "train_questions.jsonl").write_text((moved / "train_questions.jsonl").read_text().replace("red", "blue"))
    with pytest.raises(CheckpointError, match="other settings"):
        finetune(moved, resume=True)


def test_the_best_checkpoint_is_kept(pretrained, corpus, tmp_path):
    """Scores that fall from evaluation to evaluation: the first moment is the one that is kept."""
    clover, _ = pretrained
    pairs = read_pairs(corpus, "train")
    scores = iter([3.0, 2.0, 1.0])
    weights = []

    def score(tuned):
        weights.append({name: value.clone() for name, value in tuned.network.state_dict().items()})
        return next(scores)

    run = Finetuning(
        task=RetrievalTask(),
        stage=StageConfig(num_steps=6, batch_size=4, optimizer=shapes().training.optimizer),
        read_clip=lambda video, generator: clover.clip(video),
        skipped={},
        max_text_length=16,
        folder=tmp_path,
        settings=shapes_questions(),
        trained_on="clover-shapes",
        run_config=shapes_questions(),
        selection=Selection(every=2, score=score),
        quiet=True,
    )
    tuned = run.run(clover, pairs)
    assert len(weights) == 3
    assert all(torch.equal(value, weights[0][name]) for name, value in tuned.network.state_dict().items())
    assert not torch.equal(weights[0]["text_projection.expand.weight"], weights[2]["text_projection.expand.weight"])
    assert json.loads((tmp_path / "selection.json").read_text())[0] == {"step": 2, "score": 3.0}


def test_checkpoint_folder_gives_the_same_model(pretrained):
    clover, folder = pretrained
    again = Clover.from_pretrained(folder / "checkpoint")
    text = ["a red ball moves left", "a star jumps"]
    assert torch.equal(again.encode_text(text), clover.encode_text(text))
    assert again.fingerprint == clover.fingerprint
    assert sorted(path.name for path in (folder / "checkpoint").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_questions_by_the_plain_recipe_fit_any_number_of_frames(pretrained, corpus, tmp_path, capsys):
    clover, experiment = pretrained[0], shapes_questions()
    fewer = clover.with_inputs(replace(clover.config.inputs, num_frames=6))
    training = replace(experiment.training, num_steps=1, batch_size=8)
    data = replace(experiment.data, corpus=str(corpus))
    tuned = finetune_questions(fewer, replace(experiment, data=data, training=training), tmp_path).clover
    assert tuned.config.inputs.num_frames == 6
    said = "frames kept of a video: 18 in place of 16, a multiple of the 6 of a clip\n"
    assert capsys.readouterr().err.startswith(said)
    settings = json.loads((tmp_path / "run.json").read_text())["experiment"]
    assert settings["data"]["num_kept_frames"] == 18


def test_questions_and_frozen_encoders(pretrained, corpus, tmp_path):
    clover, _ = pretrained
    experiment = shapes_questions()
    training = replace(experiment.training, num_steps=3, batch_size=8)
    data = replace(experiment.data, corpus=str(corpus), num_kept_frames=8)
    tuned = finetune_questions(clover, replace(experiment, data=data, training=training), tmp_path, quiet=True).clover
    text = ["a red ball moves left"]
    assert torch.equal(tuned.encode_text(text), clover.encode_text(text))
    questions = read_questions(corpus, "test")
    result = evaluate_questions(tuned, questions, read_questions(corpus, "train"))
    assert result.num_questions == len(questions)
    assert result.interval[0] <= result.accuracy <= result.interval[1]
    answers = tuned.answer(questions[0].video, questions[0].question, num_answers=3)
    assert len(answers) == 3
    assert answers[0].probability >= answers[1].probability >= answers[2].probability
    with pytest.raises(CloverError, match="not fine-tuned on questions"):
        clover.answer(questions[0].video, "what is it?")


def test_finetuning_lists_what_it_cannot_read(pretrained, corpus, tmp_path):
    """As it is found, with the step; videos that are decoded before the first step have none."""
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy, ignore=shutil.ignore_patterns(".cache"))
    broken = sorted({row.video for row in read_questions(copy, "train")})[::4]
    for video in broken:
        video.write_bytes(b"no video")
    plain = shapes_questions()
    for num_kept_frames in (0, 8):
        data = replace(plain.data, corpus=str(copy), num_kept_frames=num_kept_frames)
        experiment = replace(plain, data=data, training=replace(plain.training, num_steps=3, batch_size=8))
        out = tmp_path / str(num_kept_frames)
        done = finetune_questions(pretrained[0], experiment, out, quiet=True)
        listed = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
        assert {row["path"]: row["reason"] for row in listed} == done.skipped
        assert listed and set(done.skipped) <= set(map(str, broken))
        assert all((row["step"] is None) == bool(num_kept_frames) for row in listed)


def test_retrieval_leaves_out_what_cannot_be_read(pretrained, corpus, tmp_path):
    pairs = one_text_per_video(read_pairs(corpus, "train"))[:6]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    result = evaluate_retrieval(pretrained[0], [*pairs, replace(pairs[0], video=broken, video_id="x")])
    assert result.text_to_video.num_queries == result.text_to_video.num_gallery == 6
    assert list(result.skipped) == [str(broken)]
    with pytest.raises(CloverError, match=r"broken\.mp4"):
        evaluate_retrieval(pretrained[0], [replace(pairs[0], video=broken)], strict=True)


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12345678junk"), "not a readable weights file"),
        (lambda folder: (folder / "config.json").write_text("{"), "not readable JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), "not a Clover checkpoint"),
        (lambda folder: _change_width(folder), "does not fit this model"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer"),
        (lambda folder: Tokenizer.train(["a b c"], 50).save(folder), "they are of two runs"),
    ],
)
def test_broken_checkpoints_are_named(pretrained, tmp_path, breakage, message):
    pretrained[0].save_pretrained(tmp_path / "c")
    breakage(tmp_path / "c")
    with pytest.raises(CloverError, match=message):
        Clover.from_pretrained(tmp_path / "c")


def _change_width(folder):
    plain = json.loads((folder / "config.json").read_text())
    plain["model"]["embedding_width"] = 40
    (folder / "config.json").write_text(json.dumps(plain))


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="it does not exist"):
        Clover.from_pretrained(tmp_path / "nowhere")
