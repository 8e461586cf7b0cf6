"""Model cards say what the records say, and that the rest is unknown."""

import json
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard

from clover.checkpoints import CloverConfig, InputConfig
from clover.cli import main
from clover.config import to_plain
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.evaluation.benchmarks import BENCHMARKS
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.recipes.benchmarks import zero_shot_inputs

RUN = {
    "format": "clover-run-1",
    "title": "fine-tuning on msvd-qa",
    "benchmark": "msvd-qa",
    "recipe": "small",
    "train_split": "train",
    "num_rows": 287,
    "starting_checkpoint": "698b9dbe1766051a",
    "stages": {".": 1200},
    "is_finished": True,
    "experiment": {"seed": 3, "batch_size": 8, "annotations": "/home/somebody/secret", "num_epochs": 12.0},
    "sessions": [
        {
            "command": ["clover", "finetune", "--videos", "/home/somebody/secret"],
            "code": {"version": "0.1.0", "commit": "88d5e68d045606134f7d3e7d5ab5a903ea774620", "is_modified": False},
            "environment": {"cpu": {"name": "EPYC", "count": 2}, "gpus": [], "libraries": {"torch": "2.13"}},
            "data": {"files": {"train_qa.json": "c8fc"}, "media": {"count": 52, "names": "fa03", "sizes": "5cb8"}},
        }
    ],
}


def made(tmp_path, *, result=None, run=RUN):
    """A run's folder; gives its checkpoint."""
    tokenizer = Tokenizer.train(["what color is the ball?"], 100)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), heads=HeadConfig(num_answers=2))
    inputs = InputConfig(num_frames=8, frames=TransformConfig(size=32, test_fit="square"), max_text_length=16)
    clover = Clover(
        new_model(model, seed=0), tokenizer, CloverConfig(model=model, inputs=inputs, answers=("red", "blue"))
    )
    clover.save_pretrained(tmp_path / "run" / "checkpoint")
    if run is not None:
        (tmp_path / "run" / "run.json").write_text(json.dumps(run))
        rows = [{"step": 0, "total": 3.0}, {"num_steps": 400, "validation_accuracy": 31.5}]
        (tmp_path / "run" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"cut')
    if result is not None:
        plain = {
            "benchmark": "msvd-qa",
            "metric": "accuracy",
            "interval": [33.8, 38.3],
            "chance": 8.9,
            "protocol": "exact match over all 1,386 rows",
            "split": "test",
            "num_gallery": 46,
            "is_complete": True,
            "figures": {"accuracy": 36.125},
            "is_zero_shot": False,
            "selected_on": "validation",
            "remarks": ["1,386 rows in test; the published split has 13,157"],
            "fingerprint": clover.fingerprint,
        }
        (tmp_path / "run" / "result.json").write_text(json.dumps(plain | result))
    return tmp_path / "run" / "checkpoint"


def exported(checkpoint, *options):
    out = checkpoint.parent.parent / "clover-tiny"
    assert main(["export", str(checkpoint), "--to", "hub", str(out), *options]) == 0
    return out


def test_the_card_holds_what_is_recorded_and_no_paths(tmp_path):
    out = exported(made(tmp_path, result={}), "--license", "apache-2.0")
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    text = (out / "README.md").read_text()
    for line in (
        "# clover-tiny",
        "- steps: 1,200",
        "- batch size: 8",
        "- started from: the checkpoint with fingerprint `698b9dbe1766051a`",
        "- msvd-qa: 287 rows of its split `train`",
        "  - `train_qa.json`: SHA-256 `c8fc`",
        "| msvd-qa | test | accuracy | 36.1 % | 33.8 to 38.3 | 8.9 % |",
        "the published split has 13,157",
        "validation accuracy 31.5",
        "licences of the data: not recorded",
        "- Not measured: text-to-video retrieval, multiple-choice questions about videos.",
    ):
        assert line in text, line
    assert "secret" not in text, "commands and folders of somebody's machine are nobody's business"


def test_the_front_matter_is_what_the_hub_reads(tmp_path):
    out = exported(made(tmp_path, result={}), "--license", "apache-2.0")
    data = ModelCard.load(out / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "clover", "visual-question-answering")
    assert data.datasets == ["msvd-qa"]
    (figure,) = data.eval_results
    assert (figure.dataset_name, figure.dataset_split, figure.metric_type) == ("msvd-qa", "test", "accuracy")
    assert figure.metric_value == pytest.approx(36.125)


def test_results_of_other_weights_are_left_out_and_named(tmp_path):
    text = (exported(made(tmp_path, result={"fingerprint": "0123"})) / "README.md").read_text()
    assert "36.1" not in text
    assert "not of these very weights and preprocessing: result.json" in text
    assert 'license: "unknown"' in text


@pytest.mark.parametrize("result", [{"figures": []}, {"interval": None}, {"metric": "accurate"}])
def test_a_broken_result_is_left_out(tmp_path, result):
    assert "result.json" in (exported(made(tmp_path, result=result)) / "README.md").read_text()


def test_without_records_everything_is_unknown(tmp_path):
    checkpoint = made(tmp_path, run=None)
    text = (exported(checkpoint) / "README.md").read_text()
    assert "its settings, code and machine are unknown" in text
    assert "what they began as is unknown" in text
    assert "how good it is is unknown" in text
    assert "model-index" not in text
    assert (exported_weights := Clover.from_pretrained(tmp_path / "clover-tiny")).fingerprint
    assert exported_weights.fingerprint == Clover.from_pretrained(checkpoint).fingerprint


def test_zero_shot_results_are_of_the_weights_although_frames_are_the_benchmarks(tmp_path):
    checkpoint = made(tmp_path)
    row = BENCHMARKS["msrvtt-mc"]
    clover = Clover.from_pretrained(checkpoint)
    inputs = zero_shot_inputs(row, clover)
    assert inputs != clover.config.inputs
    result = {"benchmark": row.name, "is_zero_shot": True, "fingerprint": clover.with_inputs(inputs).fingerprint}
    made(tmp_path, result=result | {"num_gallery": 5, "inputs": to_plain(inputs)})
    for text in ((exported(checkpoint) / "README.md").read_text(), Clover.from_pretrained(checkpoint).card()):
        assert "| msrvtt-mc (zero-shot) | test | accuracy | 36.1 %" in text
        assert 'datasets: ["msrvtt-mc"]' in text


@pytest.mark.parametrize(
    ("changes", "inputs"),
    [
        ({"is_zero_shot": False}, {"num_frames": 4}),
        ({"is_zero_shot": True, "fingerprint": "0123"}, {"num_frames": 4}),
        ({"is_zero_shot": True}, {"num_frames": "many"}),
    ],
)
def test_other_frames_are_the_models_only_where_a_result_says_so_and_is_zero_shot(tmp_path, changes, inputs):
    clover = Clover.from_pretrained(made(tmp_path))
    fewer = clover.with_inputs(replace(clover.config.inputs, num_frames=4))
    result = {"fingerprint": fewer.fingerprint, "inputs": to_plain(fewer.config.inputs) | inputs}
    assert clover.is_of_this(result | {"is_zero_shot": True, "inputs": to_plain(fewer.config.inputs)})
    assert not clover.is_of_this(result | changes)


def another(checkpoint, place):
    """A model of other weights, saved by hand."""
    clover = Clover.from_pretrained(checkpoint)
    with torch.no_grad():
        clover.network.text_projection.expand.bias.add_(1.0)
    clover.save_pretrained(place)
    return place


@pytest.mark.parametrize("is_older", [False, True])
def test_a_model_that_was_saved_into_the_folder_of_a_run_does_not_take_its_record(tmp_path, is_older):
    checkpoint = made(tmp_path)
    if not is_older:
        run = RUN | {"fingerprint": Clover.from_pretrained(checkpoint).fingerprint}
        (tmp_path / "run/run.json").write_text(json.dumps(run))
    assert "- steps: 1,200" in Clover.from_pretrained(checkpoint).card()
    text = Clover.from_pretrained(another(checkpoint, tmp_path / "run/something-else")).card()
    assert "its settings, code and machine are unknown" in text
    assert "not of these very weights and preprocessing: run.json" in text
    for recorded in ("1,200", "msvd-qa", "31.5", "698b9dbe1766051a"):
        assert recorded not in text
    assert Clover.from_pretrained(checkpoint).records.run["title"] == RUN["title"]


def test_a_checkpoint_that_took_the_place_of_the_runs_does_not_take_its_record(tmp_path):
    checkpoint = made(tmp_path)
    run = RUN | {"fingerprint": Clover.from_pretrained(checkpoint).fingerprint}
    (tmp_path / "run/run.json").write_text(json.dumps(run))
    another(checkpoint, checkpoint)
    assert Clover.from_pretrained(checkpoint).records.run == {}


def test_the_record_of_a_run_that_is_not_done_is_not_of_what_an_earlier_one_left(tmp_path):
    checkpoint = made(tmp_path, run=RUN | {"is_finished": False})
    assert Clover.from_pretrained(checkpoint).records.run == {}


def test_a_corpus_is_measured_for_the_card(tmp_path):
    checkpoint, corpus = made(tmp_path, run=None), tmp_path / "corpus"
    write_corpus(corpus, ShapesConfig(num_videos=20, size=64), num_processes=1)
    text = (exported(checkpoint, "--corpus", str(corpus)) / "README.md").read_text()
    for row in ("recall at 1", "recall at 5", "recall at 10", "median rank", "accuracy"):
        assert f"| clover-shapes | test | {row} |" in text
    assert "the same model with the video blanked" in text
    assert "ties count against the model" in text
    assert "- Not measured: multiple-choice questions about videos." in text


def test_what_is_there_is_replaced_only_when_asked(tmp_path, capsys):
    checkpoint = made(tmp_path)
    out = exported(checkpoint)
    assert main(["export", str(checkpoint), "--to", "hub", str(out)]) == 2
    assert "is there already; give another place, or --overwrite" in capsys.readouterr().err
    assert main(["export", str(checkpoint), "--to", "hub", str(out), "--overwrite"]) == 0
    assert main(["export", str(checkpoint), "--to", "hub", str(out / "x"), "--int8"]) == 2
    assert "--int8 is for --to onnx, not for hub" in capsys.readouterr().err


def test_the_card_of_a_folder_that_was_exported_goes_along(tmp_path, capsys):
    first = exported(made(tmp_path, result={}), "--license", "apache-2.0")
    card = (first / "README.md").read_bytes()
    again = tmp_path / "elsewhere" / "again"
    assert main(["export", str(first), "--to", "hub", str(again)]) == 0
    assert f"the card is that of {first}, as it is (README.md)" in capsys.readouterr().out
    assert (again / "README.md").read_bytes() == card
    assert main(["export", str(again), "--to", "hub", str(again), "--overwrite"]) == 0
    assert {path.name for path in again.iterdir()} == {path.name for path in first.iterdir()}
    assert (again / "README.md").read_bytes() == card
    assert Clover.from_pretrained(again).fingerprint == Clover.from_pretrained(first).fingerprint
    capsys.readouterr()
    assert main(["export", str(again), "--to", "hub", str(again), "--overwrite", "--license", "mit"]) == 0
    assert f"no record of the run (its data and recipe are unknown) and 0 measured figures; that of {again} is not" in (
        capsys.readouterr().out
    )
    assert ModelCard.load(again / "README.md").data.license == "mit"


@pytest.mark.parametrize("name", ["Apache 2.0", "Apache-2.0", "cc by", "mit\n", "-mit", "licence_of_mine"])
def test_a_licence_that_is_not_of_the_hubs_form_is_refused(name, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(made(tmp_path)), "--to", "hub", str(out), f"--license={name}"]) == 2
    errors = capsys.readouterr().err
    assert f"licence {name!r} has other signs than" in errors
    assert "as the Hub abbreviates it, e.g. apache-2.0, cc-by-4.0" in errors
    assert errors.count("\n") == 1
    assert not out.exists()
