"""What pre-training and fine-tuning note about themselves in run.json, also when they go on after an interruption."""

import json
from dataclasses import replace

import pytest
from test_runs import shrunk

from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.errors import CheckpointError
from clover.experiment.finetuning import finetune_questions
from clover.experiment.pretraining import Pretraining
from clover.pipeline import Clover
from clover.recipes.finetune import shapes_questions
from clover.recipes.pretrain import shapes
from clover.training.logbook import Logbook


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "corpus"
    write_corpus(folder, ShapesConfig(num_videos=16, size=64))
    return folder


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def test_an_interrupted_run_goes_on_in_the_same_record(corpus, tmp_path, monkeypatch):
    experiment = shrunk(shapes(), corpus)
    write = Logbook.write

    def stopped(self, step, values, **more):
        if step == 3 and "video_alignment" in values:
            raise KeyboardInterrupt
        write(self, step, values, **more)

    monkeypatch.setattr(Logbook, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        Pretraining(experiment, tmp_path, quiet=True).run()
    monkeypatch.undo()
    assert not record_of(tmp_path)["is_finished"]
    with pytest.raises(CheckpointError, match="other settings"):
        Pretraining(replace(experiment, seed=7), tmp_path, quiet=True).run(resume=True)
    assert len(record_of(tmp_path)["sessions"]) == 1, "a refused start is none"
    Pretraining(replace(experiment, log_to=("tensorboard",)), tmp_path, quiet=True).run(resume=True)
    record = record_of(tmp_path)
    assert record["is_finished"]
    assert record["title"] == "pre-training"
    left = Clover.from_pretrained(tmp_path / "checkpoint")
    assert record["fingerprint"] == left.fingerprint
    assert left.records.run == record
    assert record["stages"] == {"video_warm_start": 4, "text_warm_start": 4, "pretraining": 4}
    assert record["experiment"]["training"]["batch_size"] == 8
    assert [session["first_steps"]["pretraining"] for session in record["sessions"]] == [0, 2]
    first, second = (session["data"] for session in record["sessions"])
    assert first == second
    assert {"corpus.json", "train.jsonl"} <= set(first["files"])
    assert first["media"]["count"] == len((corpus / "train.jsonl").read_text().splitlines())
    assert list((tmp_path / "pretraining" / "tensorboard").iterdir())


def test_fine_tuning_names_its_start(corpus, tmp_path):
    clover = Pretraining(shrunk(shapes(), corpus, num_steps=1), tmp_path / "pretraining", quiet=True).run()
    experiment = shapes_questions()
    training = replace(experiment.training, num_steps=2, batch_size=8)
    data = replace(experiment.data, corpus=str(corpus), num_kept_frames=8)
    experiment = replace(experiment, data=data, training=training)
    finetune_questions(clover, experiment, tmp_path / "questions", quiet=True)
    record = record_of(tmp_path / "questions")
    assert record["title"] == "fine-tuning on questions"
    assert record["starting_checkpoint"] == clover.fingerprint
    assert record["fingerprint"] == Clover.from_pretrained(tmp_path / "questions" / "checkpoint").fingerprint
    assert record["stages"] == {".": 2}
    assert record["sessions"][0]["first_steps"] == {".": 0}
    assert record["is_finished"]
    told = [
        (event.kind, event.title, event.parts, event.data, event.num_steps, event.digest)
        for event in Clover.from_pretrained(tmp_path / "questions" / "checkpoint").history
    ]
    seen = ("clover-shapes",)
    assert told == [
        ("run", "warm start", ("video_encoder",), seen, 1, ""),
        ("run", "warm start", ("text_encoder", "masked_words"), seen, 1, ""),
        ("run", "pre-training", (), seen, 1, ""),
        ("start", "", (), (), 0, clover.fingerprint),
        ("run", "fine-tuning", (), seen, 2, ""),
    ]
