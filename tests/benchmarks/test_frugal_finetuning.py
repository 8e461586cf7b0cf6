"""Frozen parts, adapters and micro-batches through the command, from a benchmark's files to a checkpoint."""

import json

import pytest
import torch
from helpers import finetune, places, run
from safetensors.torch import load_file

from clover.pipeline import Clover
from clover.training.logbook import Logbook


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(first, second, prefix):
    """Whether all weights of a part are the same to the bit."""
    names = [name for name in first if name.startswith(prefix)]
    assert names
    return all(torch.equal(first[name], second[name]) for name in names)


def saved_names(out):
    (part, *_) = sorted((out / "states").glob("step-*/*.safetensors"))
    return set(load_file(part))


def rows_of(out):
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("time_")} for row in rows]


def test_adapters_for_questions(checkpoint, corpus, tmp_path):
    folder, out = corpus("msrvtt-qa"), tmp_path / "run"
    options = ("--lora.rank", 2, "--lora.targets", "query_key_value", "output", "--freeze", "text_encoder")
    status, _, errors = finetune("msrvtt-qa", checkpoint, folder, out, *options)
    assert status == 0, errors
    before, after = weights(checkpoint), weights(out / "checkpoint")
    assert before.keys() == {name for name in after if not name.startswith("answer_head.")}
    adapted = ("query_key_value.weight", "attention.output.weight")
    for name, value in before.items():
        learns = name.endswith(adapted) and name.startswith(("video_encoder.", "fusion_encoder."))
        assert torch.equal(value, after[name]) != learns, name
    learning = {name for name in saved_names(out) if name.startswith("optimizer.")}
    assert len(learning) == 3 * (2 * 6 + 6), (
        "three numbers of every adapter's two matrices and of the head's six tensors"
    )
    record = json.loads((out / "run.json").read_text())
    assert record["experiment"]["lora"]["rank"] == 2
    assert record["experiment"]["freeze"] == ["text_encoder"]
    status, _, errors = run("evaluate", "msrvtt-qa", out / "checkpoint", *places(folder))
    assert status == 0, errors


def test_the_best_moment_with_adapters_is_a_plain_checkpoint(checkpoint, corpus, tmp_path):
    out = tmp_path / "run"
    options = ("--lora.rank", 2, "--select-on", "held_out")
    status, _, errors = finetune("tgif-transition", checkpoint, corpus("tgif-transition"), out, *options)
    assert status == 0, errors
    best, kept = weights(out / "best"), weights(out / "checkpoint")
    assert best.keys() == kept.keys()
    assert same(best, kept, "")
    assert not same(weights(checkpoint), kept, "fusion_encoder.transformer.layers.0.expand.weight")
    assert Clover.from_pretrained(out / "checkpoint").config.model.heads.has_choices


@pytest.mark.parametrize("part", ["video_encoder", "text_encoder"])
def test_frozen_parts_are_unchanged_to_the_bit(part, checkpoint, corpus, tmp_path):
    out = tmp_path / "run"
    options = ("--freeze", part, "--micro-batch-size", 3)
    status, _, errors = finetune("msrvtt-retrieval", checkpoint, corpus("msrvtt"), out, *options)
    assert status == 0, errors
    before, after = weights(checkpoint), weights(out / "checkpoint")
    for each in ("video_encoder.", "text_encoder."):
        assert same(before, after, each) == (each == f"{part}.")
    assert not same(before, after, "video_projection.")


def test_freezing_nothing_undoes_a_recipe(checkpoint, corpus, tmp_path):
    folder = corpus("msrvtt-qa")
    changed = {}
    for name, options in (("small", ()), ("everything", ("--freeze",))):
        status, _, errors = finetune("msrvtt-qa", checkpoint, folder, tmp_path / name, *options)
        assert status == 0, errors
        changed[name] = not same(weights(checkpoint), weights(tmp_path / name / "checkpoint"), "text_encoder.")
    assert changed == {"small": False, "everything": True}


def test_an_interrupted_run_with_adapters_goes_on_to_the_same_weights(checkpoint, corpus, tmp_path, monkeypatch):
    folder = corpus("msrvtt")
    options = ("--lora.rank", 2, "--lora.dropout", 0.2, "--max-steps", 4, "--save-every", 2)
    status, _, errors = finetune("msrvtt-retrieval", checkpoint, folder, tmp_path / "whole", *options)
    assert status == 0, errors
    write = Logbook.write

    def stopped(self, step, values, **more):
        if step == 3:
            raise KeyboardInterrupt
        write(self, step, values, **more)

    monkeypatch.setattr(Logbook, "write", stopped)
    assert finetune("msrvtt-retrieval", checkpoint, folder, tmp_path / "killed", *options)[0] == 130
    monkeypatch.undo()
    status, _, errors = finetune("msrvtt-retrieval", checkpoint, folder, tmp_path / "killed", *options, "--resume")
    assert status == 0, errors
    assert same(weights(tmp_path / "whole" / "checkpoint"), weights(tmp_path / "killed" / "checkpoint"), "")
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "killed")


def test_a_layer_that_is_not_there_is_one_line(checkpoint, corpus, tmp_path):
    options = ("--lora.rank", 2, "--lora.targets", "attention")
    status, _, errors = finetune("msrvtt-qa", checkpoint, corpus("msrvtt-qa"), tmp_path / "run", *options)
    assert status == 2
    assert "no linear layer attention; there is fusion, projections with" in errors[-1]
