"""A student of a larger model: its gradients by any cut of the batch, its run, its checkpoint, and what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from test_runs import corpus, shrunk  # noqa: F401

from clover.cli import main
from clover.data.similar_texts import PairedBatch, most_similar
from clover.distributed import ALONE
from clover.errors import CheckpointError, ConfigError
from clover.experiment.configs import PretrainingDataConfig, StageConfig
from clover.experiment.distillation import Distillation, distillation_loss, pair_outputs
from clover.experiment.pretraining import Pretraining
from clover.modeling.initialise import new_model
from clover.objectives.distillation import DistillationObjectiveConfig
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.pipeline import Clover
from clover.recipes.distill import shapes_student
from clover.recipes.pretrain import shapes
from clover.search.rerank import fused_similarity
from clover.training.gradient_cache import exact_gradients
from clover.training.parallel import caller_for
from clover.types import IGNORED

ALONE_OBJECTIVE = PretrainingObjectiveConfig(alignment="none", ranking_weight=0.0, masked_word_weight=0.0)


@pytest.fixture(scope="module")
def teacher(corpus, tmp_path_factory):  # noqa: F811
    """A checkpoint that knows more than nothing, wider than its students."""
    folder = tmp_path_factory.mktemp("teacher")
    experiment = shrunk(shapes(), corpus, num_steps=3)
    experiment = replace(experiment, model=replace(experiment.model, embedding_width=48))
    Pretraining(replace(experiment, video_warm_start=StageConfig()), folder, quiet=True).run()
    return folder / "checkpoint"


def student_of(teacher, corpus, **changes):  # noqa: F811
    recipe = shapes_student(Clover.from_pretrained(teacher).config, "tiny")
    training = replace(recipe.training, num_steps=4, batch_size=8)
    data = PretrainingDataConfig(corpus=str(corpus), num_kept_frames=8)
    return replace(recipe, data=data, training=training, save_every=2, **changes)


def made_batch(size=5, length=6):
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(5, 40, (size, length), generator=generator)
    is_token = torch.arange(length) < torch.randint(3, length + 1, (size, 1), generator=generator)
    is_masked = (torch.rand(size, length, generator=generator) < 0.3) & is_token
    places = torch.cat([torch.arange(size)[:, None], most_similar(token_ids, is_token, 2)], dim=1)
    return PairedBatch(
        clip=torch.randint(0, 256, (size, 8, 32, 32, 3), generator=generator, dtype=torch.uint8),
        is_masked_cell=torch.rand(size, 2, 2, generator=generator) < 0.5,
        token_ids=token_ids,
        masked_token_ids=token_ids.masked_fill(is_masked, 4),
        is_token=is_token,
        targets=token_ids.masked_fill(~is_masked, IGNORED),
        pair_token_ids=token_ids[places],
        pair_is_token=is_token[places],
    )


def step(network, teacher, experiment, batch, size):
    network.zero_grad(set_to_none=True)
    loss = distillation_loss(network, teacher, experiment)
    losses = exact_gradients(batch, loss, caller_for(network, loss.outputs, ALONE), micro_batch_size=size)
    return losses, {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("objective", [PretrainingObjectiveConfig(), ALONE_OBJECTIVE], ids=["both", "teacher-alone"])
@pytest.mark.parametrize("kind", ["concatenated", "gated"])
def test_micro_batches_give_the_same_gradients(teacher, corpus, kind, objective):  # noqa: F811
    taught = Clover.from_pretrained(teacher).network
    experiment = student_of(teacher, corpus, objective=objective)
    model = replace(experiment.model, text=taught.config.text, fusion=replace(experiment.model.fusion, kind=kind))
    network, batch = new_model(model, seed=1).train(), made_batch()
    losses, expected = step(network, taught, experiment, batch, 0)
    assert {"taught_embeddings", "taught_similarities", "taught_fusion"} <= set(losses.terms)
    assert ("masked_words" in losses.terms) == (objective.masked_word_weight > 0)
    again, ours = step(network, taught, experiment, batch, 2)
    assert ours.keys() == expected.keys()
    for name, value in losses.terms.items():
        torch.testing.assert_close(again.terms[name], value, rtol=1e-4, atol=1e-5)
    gap = sum(float((ours[name] - expected[name]).square().sum()) for name in expected)
    assert gap < 1e-8 * sum(float(value.square().sum()) for value in expected.values())
    assert all(weight.grad is None for weight in taught.parameters())


def test_a_teacher_is_its_own_best_student(teacher, corpus):  # noqa: F811
    taught = Clover.from_pretrained(teacher).network
    experiment = student_of(teacher, corpus, objective=ALONE_OBJECTIVE)
    losses, _ = step(taught, taught, experiment, made_batch(), 0)
    assert losses.total.item() == pytest.approx(0.0, abs=1e-5)


def test_scores_of_pairs_are_those_of_reranking(teacher):
    clover = Clover.from_pretrained(teacher)
    batch = made_batch()
    texts = ["a red ball moves left", "two stars"]
    ids, is_token = clover.encode_words(texts)
    tensors = {name: value[:1] for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    pair = PairedBatch(**(tensors | {"pair_token_ids": ids[None], "pair_is_token": is_token[None]}))
    with torch.inference_mode():
        scores = pair_outputs(clover.network, pair, fuses=True)["fused_scores"][0]
    tokens = clover.video_tokens([batch.clip[0].numpy()])
    expected = torch.cat([fused_similarity(clover, text, tokens).text for text in texts])
    torch.testing.assert_close(scores, expected)


def test_a_student_learns_what_the_teacher_says(teacher, corpus, tmp_path):  # noqa: F811
    experiment = student_of(teacher, corpus, objective=ALONE_OBJECTIVE)
    optimizer = replace(experiment.training.optimizer, learning_rate=3e-3)
    experiment = replace(experiment, training=replace(experiment.training, num_steps=40, optimizer=optimizer))
    student = Distillation(teacher, experiment, tmp_path, quiet=True).run()
    rows = [json.loads(line) for line in (tmp_path / "pretraining" / "log.jsonl").read_text().splitlines()]
    for name in ("taught_embeddings", "taught_similarities", "taught_fusion"):
        first, last = (np.mean([row[name] for row in part]) for part in (rows[:5], rows[-5:]))
        assert last < 0.8 * first, name
    again = Clover.from_pretrained(tmp_path / "checkpoint")
    assert again.fingerprint == student.fingerprint
    assert again.tokenizer.fingerprint == Clover.from_pretrained(teacher).tokenizer.fingerprint
    assert again.encode_text("a red ball").shape == (48,)
    assert [(event.kind, event.title, event.generation) for event in again.history] == [
        ("run", "warm start", 1),
        ("run", "pre-training", 1),
        ("teacher", "", 0),
        ("run", "distillation", 0),
    ]
    assert again.history[2].digest == Clover.from_pretrained(teacher).fingerprint


def test_resumed_is_bit_identical_and_another_teacher_is_refused(teacher, corpus, tmp_path):  # noqa: F811
    experiment = student_of(teacher, corpus)
    training = replace(experiment.training, micro_batch_size=3)
    experiment = replace(experiment, training=training, model=replace(experiment.model, fused_dropout=0.1))
    whole = Distillation(teacher, experiment, tmp_path / "whole", quiet=True).run()
    run = tmp_path / "run"
    Distillation(teacher, experiment, run, quiet=True).run()
    last = sorted((run / "pretraining" / "states").glob("step-*"))[-1]
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    resumed = Distillation(teacher, experiment, run, quiet=True).run(resume=True)
    record = json.loads((run / "run.json").read_text())
    assert record["title"] == "distillation"
    assert 0 < record["sessions"][-1]["first_steps"]["pretraining"] < 4
    assert resumed.fingerprint == whole.fingerprint
    other = Clover.from_pretrained(teacher)
    with torch.no_grad():
        other.network.text_projection.expand.bias.add_(1.0)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"settings\.teacher"):
        Distillation(tmp_path / "other", experiment, run, quiet=True).run(resume=True)


def test_what_does_not_fit_the_teacher_is_refused(teacher, corpus, tmp_path):  # noqa: F811
    plain = student_of(teacher, corpus)
    narrow = replace(plain, model=replace(plain.model, embedding_width=16))
    with pytest.raises(ConfigError, match="embedding_width is 16, and the teacher's embeddings are 48 wide"):
        Distillation(teacher, narrow, tmp_path, quiet=True)
    without = replace(narrow, distillation=DistillationObjectiveConfig(embedding_weight=0.0))
    assert Distillation(teacher, without, tmp_path, quiet=True).config.model.embedding_width == 16
    with pytest.raises(ConfigError, match=r"inputs\.num_frames is 4, and the teacher reads 8"):
        Distillation(teacher, replace(plain, inputs=replace(plain.inputs, num_frames=4)), tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="num_similar_texts is 0"):
        replace(plain, num_similar_texts=0)


def test_weights_to_start_from_must_fit_the_teacher_too(teacher, corpus, tmp_path, capsys):  # noqa: F811
    taught = Clover.from_pretrained(teacher)
    model = replace(taught.config.model, embedding_width=32)
    init = tmp_path / "init"
    Clover(new_model(model, seed=3), taught.tokenizer, replace(taught.config, model=model)).save_pretrained(init)
    experiment = student_of(teacher, corpus, init=str(init))
    with pytest.raises(ConfigError) as caught:
        Distillation(teacher, experiment, tmp_path / "run", quiet=True)
    assert str(caught.value) == (
        f"--init {init} has embeddings 32 wide, and the teacher's are 48 wide: leave projections out of --init-parts, "
        "or give --distillation.embedding-weight 0"
    )
    parts = ("video_encoder", "text_encoder", "masked_words")
    run = Distillation(teacher, replace(experiment, init_parts=parts), tmp_path / "run", quiet=True)
    assert run.config.model.embedding_width == 48
    for command in (["pretrain", "shapes"], ["distill", str(teacher)]):
        wrong = ["--init", str(init), "--model.text.transformer.num-layers", "7", "--data.corpus", str(corpus)]
        assert main([*command, *wrong, "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err == (
            f"clover: --model.text.transformer.num-layers 7 does not fit the weights of --init {init}, which have 1 "
            "there; leave it out, or leave their part out of --init-parts\n"
        )
        assert not (tmp_path / "out").exists()


def test_the_command(teacher, corpus, tmp_path, capsys):  # noqa: F811
    few = ["--data.corpus", str(corpus), "--data.num-kept-frames", "8", "--training.num-steps", "2"]
    few += ["--batch-size", "8", "--micro-batch-size", "4", "--training.optimizer.warmup-share", "0"]
    assert main(["distill", str(teacher), *few, "--out", str(tmp_path / "student")]) == 0
    assert "checkpoint: " in capsys.readouterr().out
    settings = json.loads((tmp_path / "student" / "run.json").read_text())["experiment"]["training"]
    assert (settings["batch_size"], settings["micro_batch_size"]) == (8, 4)
    student = Clover.from_pretrained(tmp_path / "student" / "checkpoint")
    assert student.config.model.text.transformer.width == 32
    assert main(["distill", str(teacher), *few, "--out", str(tmp_path / "student")]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["distill", str(tmp_path / "nothing")]) == 2
    assert "is not a checkpoint folder" in capsys.readouterr().err
    for option in ("--data.tokenizer", "--data.vocabulary-size"):
        assert main(["distill", str(teacher), option, "9"]) == 2
        assert f"{option} has no effect: a student takes the teacher's tokenizer" in capsys.readouterr().err
    assert main(["distill"]) == 2
    assert "no teacher given" in capsys.readouterr().err
    assert main(["distill", str(teacher), "--size", "huge"]) == 2
    assert "--size" in capsys.readouterr().err


def changed(teacher, folder, **inputs):
    """The teacher, of another number of frames or texts."""
    clover = Clover.from_pretrained(teacher)
    inputs = replace(clover.config.inputs, **inputs)
    fusion = replace(clover.config.model.fusion, num_temporal_positions=inputs.num_frames // 2)
    model = replace(clover.config.model, fusion=fusion)
    config = replace(clover.config, model=model, inputs=inputs)
    Clover(new_model(model, seed=0), clover.tokenizer, config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("num_frames", [8, 12])
def test_the_plain_command_fits_a_teacher_of_any_number_of_frames(teacher, corpus, num_frames, tmp_path, capsys):  # noqa: F811
    taught = changed(teacher, tmp_path / "teacher", num_frames=num_frames)
    few = ["--data.corpus", str(corpus), "--training.num-steps", "1", "--batch-size", "4"]
    assert main(["distill", str(taught), *few, "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["experiment"]
    assert settings["data"]["num_kept_frames"] == {8: 16, 12: 24}[num_frames]
    assert settings["inputs"]["num_frames"] == num_frames


def test_a_teacher_of_the_hub_gives_its_words(teacher, corpus, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: _COMMIT))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(teacher))
    monkeypatch.chdir(tmp_path)
    few = ["--data.corpus", str(corpus), "--data.num-kept-frames", "8", "--training.num-steps", "1"]
    assert main(["distill", "me/teacher", *few, "--batch-size", "4", "--out", "run"]) == 0, capsys.readouterr().err
    student = Clover.from_pretrained("run/checkpoint")
    assert student.tokenizer.fingerprint == Clover.from_pretrained(teacher).tokenizer.fingerprint


_COMMIT = SimpleNamespace(sha="0a1b")


def test_the_kind_of_fusion_is_an_option_of_the_command(corpus, tmp_path):  # noqa: F811
    short = ["--video-warm-start.num-steps", "0", "--text-warm-start.num-steps", "0", "--training.num-steps", "1"]
    short += ["--batch-size", "4", "--data.corpus", str(corpus), "--data.num-kept-frames", "8"]
    out = tmp_path / "run"
    assert main(["pretrain", "shapes", *short, "--model.fusion.kind", "gated", "--out", str(out)]) == 0
    assert Clover.from_pretrained(out / "checkpoint").config.model.fusion.kind == "gated"
