"""Clover's objectives on encoders of transformers: runs, what learns in them, and what is done with the checkpoint."""

import copy
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from made_encoders import save_text, save_vision
from safetensors.torch import load_file

from clover.cli import main
from clover.data.shapes.corpus import ShapesConfig, read_pairs, write_corpus
from clover.data.transforms import TransformConfig
from clover.errors import CheckpointError, CloverError, ConfigError
from clover.evaluation.benchmarks import BENCHMARKS
from clover.experiment.configs import StageConfig, deciding, wherever
from clover.experiment.losses import pretraining_loss
from clover.experiment.pretraining import Pretraining
from clover.modeling.borrowed_text import BorrowedTextConfig
from clover.modeling.borrowed_video import BorrowedVideoConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.planning.network import SampleShape, blocks_of
from clover.recipes.benchmarks import kind_of_recipe, recipe_for
from clover.recipes.finetune import shapes_questions
from clover.recipes.pretrain import shapes
from clover.training.adapters import LoraConfig, merge_adapters, prepare
from clover.training.gradient_cache import exact_gradients
from clover.training.optimizer import Optimizer, OptimizerConfig, layer_rate_factors
from clover.training.parallel import _Alone


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus and a folder of models."""
    place = tmp_path_factory.mktemp("borrowing")
    write_corpus(place / "corpus", ShapesConfig(num_videos=24, size=64), num_processes=1)
    for name in ("clip", "videomae"):
        save_vision(name, place / name)
    for name in ("bert", "roberta", "deberta-v2"):
        save_text(name, place / name)
    return place


def experiment_of(place, *, video="clip", text="roberta", num_steps=3, **changes):
    recipe = shapes()
    stage = StageConfig(num_steps=num_steps, batch_size=6, optimizer=replace(recipe.training.optimizer))
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    return replace(
        recipe,
        model=replace(tiny(vocabulary_size=1), initial_weights="fan_in"),
        data=replace(recipe.data, corpus=str(place / "corpus"), num_kept_frames=8),
        inputs=replace(recipe.inputs, frames=frames, max_text_length=30),
        video_encoder=f"hf:{place / video}" if video else "",
        text_encoder=f"hf:{place / text}" if text else "",
        video_warm_start=replace(stage, num_steps=1),
        text_warm_start=replace(stage, num_steps=1),
        training=stage,
        save_every=2,
        **changes,
    )


def source_of(place, name):
    return load_file(place / name / "model.safetensors")


@pytest.fixture(scope="module")
def trained(place):
    return Pretraining(experiment_of(place), place / "run", quiet=True).run(), place / "run"


def test_the_history_names_the_encoders(trained):
    told = [(event.kind, event.title, event.parts, event.name) for event in trained[0].history]
    assert told[:2] == [
        ("encoder", "clip_vision_model", ("video_encoder",), "clip"),
        ("encoder", "roberta", ("text_encoder",), "roberta"),
    ]
    assert trained[0].history[-1].title == "pre-training"


@pytest.mark.slow
def test_a_command_pretrains_on_two_folders_and_the_checkpoint_needs_neither(place, tmp_path):
    for name in ("clip", "roberta"):
        (tmp_path / name).symlink_to(place / name)
    options = [
        *("--data.corpus", place / "corpus", "--out", tmp_path / "run", "--training.num-steps", "2"),
        *("--training.batch-size", "6", "--data.num-kept-frames", "8", "--inputs.frames.size", "32"),
        *("--video-encoder", f"hf:{tmp_path / 'clip'}", "--text-encoder", f"hf:{tmp_path / 'roberta'}"),
    ]
    command = [sys.executable, "-m", "clover", "pretrain", "shapes", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "clip_vision_model, 23,936 weights; 8 frames of 32 pixels become 8 x 4 x 4 tokens of width 32" in done.stderr
    assert "roberta, " in done.stderr
    for name in ("clip", "roberta"):
        (tmp_path / name).unlink()
    clover = Clover.from_pretrained(tmp_path / "run" / "checkpoint")
    pair = read_pairs(place / "corpus", "test")[0]
    score = clover.encode_video(pair.video) @ clover.encode_text(pair.text)
    assert -1.0 <= float(score) <= 1.0
    assert clover.config.model.pixels.mean == pytest.approx((127.5, 102.0, 76.5))
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == ["checkpoint", "pretraining"]


@pytest.mark.slow
def test_everything_after_pretraining_works(trained, place, tmp_path, capsys):
    corpus, checkpoint = str(place / "corpus"), str(trained[1] / "checkpoint")
    questions, library = str(tmp_path / "questions"), str(tmp_path / "library")
    tuning = [
        *("--checkpoint", checkpoint, "--data.corpus", corpus, "--out", questions, "--data.num-kept-frames", "8"),
        *("--training.num-steps", "2", "--training.batch-size", "6", "--training.micro-batch-size", "4"),
        *("--lora.rank", "2", "--freeze", "text_encoder"),
    ]
    for command in (
        ["evaluate", "retrieval", checkpoint, "--corpus", corpus],
        ["finetune", "shapes-questions", *tuning],
        ["evaluate", "questions", f"{questions}/checkpoint", "--corpus", corpus],
        ["index", f"{corpus}/videos/test", "--checkpoint", f"{questions}/checkpoint", "--out", library],
        ["search", library, "a red ball moves left", "-k", "2"],
        ["search", library, "a red ball moves left", "-k", "2", "--rerank", "3"],
        ["ask", library, "what color is the ball?"],
    ):
        assert main(command) == 0, (command, capsys.readouterr().err)
    assert "by open-ended head" in capsys.readouterr().out


@pytest.mark.parametrize(("video", "text"), [("clip", ""), ("", "deberta-v2"), ("videomae", "bert")])
def test_either_encoder_alone_and_videos_as_the_model_takes_them(place, tmp_path, video, text):
    run = Pretraining(experiment_of(place, video=video, text=text, num_steps=1), tmp_path, quiet=True)
    model, inputs = run.config.model, run.config.inputs
    assert isinstance(model.video, BorrowedVideoConfig) == bool(video)
    assert isinstance(model.text, BorrowedTextConfig) == bool(text)
    assert model.fusion.num_spatial_positions == (16 if video else 4)
    if video == "videomae":
        assert (inputs.num_frames, model.fusion.num_temporal_positions) == (4, 2)
    clover = run.run()
    assert [stage for stage in ("video_warm_start", "text_warm_start") if (tmp_path / stage).exists()] == [
        stage for stage, source in (("video_warm_start", video), ("text_warm_start", text)) if not source
    ]
    assert clover.encode_text("a ball").isfinite().all()


def test_a_resumed_run_ends_at_the_same_weights(trained, place, tmp_path):
    whole = trained[0].network.state_dict()
    experiment = experiment_of(place)
    Pretraining(experiment, tmp_path, quiet=True).run()
    (tmp_path / "pretraining" / "states" / "step-00000003" / "state.json").unlink()
    again = Pretraining(experiment, tmp_path, quiet=True).run(resume=True).network.state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_other_weights_in_the_folder_are_not_resumed_with(place, tmp_path):
    copy = tmp_path / "clip"
    save_vision("clip", copy)
    experiment = replace(experiment_of(place, text=""), video_encoder=f"hf:{copy}")
    Pretraining(experiment, tmp_path / "run", quiet=True).run()
    elsewhere = replace(experiment, video_encoder=f"hf:{place / 'clip'}")
    Pretraining(elsewhere, tmp_path / "run", quiet=True).run(resume=True)  # the same weights in another place
    other = Clover.from_pretrained(tmp_path / "run" / "checkpoint").network.video_encoder.borrowed.model
    other.save_pretrained(copy)
    with pytest.raises(CheckpointError, match=r"settings\.encoders"):
        Pretraining(experiment, tmp_path / "run", quiet=True).run(resume=True)


def test_gradients_of_small_micro_batches_are_those_of_the_batch(place, tmp_path):
    run = Pretraining(experiment_of(place), tmp_path, quiet=True)
    network = run.network.eval()  # without dropout both see the same
    items = run.data.samples.sources[0][:6]
    batch = run.collator()(items, np.random.default_rng(0))
    loss = pretraining_loss(network, run.experiment.objective)
    found = []
    for size in (0, 2):
        network.zero_grad()
        exact_gradients(batch, loss, _Alone(loss.outputs), micro_batch_size=size)
        found.append({name: weight.grad for name, weight in network.named_parameters()})
    assert {name for name, value in found[0].items() if value is None} == {
        name for name, value in found[1].items() if value is None
    }
    for name, whole in found[0].items():
        if whole is not None:  # that of a key's bias is rounding alone
            furthest = 1e-3 * float(whole.abs().max()) + 1e-6
            assert torch.allclose(found[1][name], whole, rtol=0, atol=furthest), name


def test_frozen_encoders_stay_to_the_bit_and_what_is_new_learns(place, tmp_path):
    experiment = experiment_of(place, text="bert", freeze=("video_encoder", "text_encoder"))
    run = Pretraining(experiment, tmp_path, quiet=True)
    fresh = {name: value.clone() for name, value in run.network.state_dict().items()}
    after = run.run().network.state_dict()
    for name, value in after.items():
        if ".borrowed." in name:
            assert torch.equal(value, fresh[name]), name
    for part, source in (("video_encoder", "clip"), ("text_encoder", "bert")):
        taken = source_of(place, source)
        kept = {name: value for name, value in after.items() if name.startswith(f"{part}.borrowed.model.")}
        for name, value in kept.items():
            theirs = next(given for key, given in taken.items() if key.endswith(name.partition(".model.")[2]))
            assert torch.equal(value, theirs)
    for name in (
        "video_encoder.mask_token",
        "video_encoder.mixing.contract.weight",
        "fusion_encoder.video_input.weight",
    ):
        assert not torch.equal(after[name], fresh[name]), name


def test_adapters_in_pretraining_are_merged_into_an_ordinary_checkpoint(place, tmp_path):
    plain = Pretraining(experiment_of(place), tmp_path / "plain", quiet=True)
    before = {name: value.clone() for name, value in plain.network.state_dict().items()}
    lora = LoraConfig(rank=1, parts=("video_encoder", "text_encoder"))
    after = Pretraining(experiment_of(place, lora=lora), tmp_path / "run", quiet=True).run().network.state_dict()
    assert set(after) == set(before)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    inside = [name for name in changed if ".borrowed." in name]
    assert inside
    for name in inside:
        assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-6) == 1, name
    assert {"video_encoder.mask_token", "video_encoder.mixing.position", "text_projection.expand.weight"} <= changed
    assert Clover.from_pretrained(tmp_path / "run" / "checkpoint").encode_text("a ball").isfinite().all()


def test_adapters_of_pretraining_leave_all_else_to_learn(trained):
    network = copy.deepcopy(trained[0].network)
    network.requires_grad_(True)
    prepare(network, ("projections",), LoraConfig(rank=2, parts=("text_encoder",)), seed=0, is_pretraining=True)
    learning = {name for name, weight in network.named_parameters() if weight.requires_grad}
    merge_adapters(network)
    assert all("lora_" in name for name in learning if name.startswith("text_encoder."))
    assert {name.partition(".")[0] for name in learning} == {
        *("video_encoder", "text_encoder", "fusion_encoder", "masked_word_head")
    }


def test_layers_learn_more_slowly_the_lower_they_are(trained):
    network = copy.deepcopy(trained[0].network)
    factors = layer_rate_factors(network, 0.5)
    by_name = {name: factors.get(weight, 1.0) for name, weight in network.named_parameters()}
    clip, roberta = "video_encoder.borrowed.model.", "text_encoder.borrowed.model."
    expected = {
        f"{clip}embeddings.patch_embedding.weight": 0.25,
        f"{clip}pre_layrnorm.weight": 0.25,
        f"{clip}encoder.layers.0.self_attn.q_proj.weight": 0.5,
        f"{clip}encoder.layers.1.mlp.fc1.bias": 1.0,
        f"{clip}post_layernorm.weight": 1.0,
        f"{roberta}embeddings.word_embeddings.weight": 0.25,
        f"{roberta}encoder.layer.0.output.dense.weight": 0.5,
        "video_encoder.mask_token": 1.0,
        "video_encoder.mixing.expand.weight": 1.0,
        "fusion_encoder.video_input.weight": 1.0,
    }
    assert {name: by_name[name] for name in expected} == expected
    optimizer = Optimizer(network, OptimizerConfig(layer_rate_decay=0.5, warmup_share=0.0), num_steps=4)
    optimizer.update(0)
    rates = {weight: group["lr"] for group in optimizer.adam.param_groups for weight in group["params"]}
    weights = dict(network.named_parameters())
    for name, factor in expected.items():
        assert rates[weights[name]] == pytest.approx(5e-5 * factor)


def test_a_run_starts_from_such_a_checkpoint_with_its_encoders(trained, place, tmp_path, capsys):
    again = replace(experiment_of(place, video="", text=""), init=str(trained[1] / "checkpoint"))
    run = Pretraining(again, tmp_path)
    told = capsys.readouterr().err
    source = again.init
    assert f"video encoder from {source}: clip_vision_model; 8 frames of 32 pixels become 8 x 4 x 4 tokens of" in told
    assert f"text encoder from {source}: roberta; " in told
    assert run.config.model == trained[0].config.model
    theirs = load_file(trained[1] / "checkpoint" / "model.safetensors")
    state = run.network.state_dict()
    assert [name for name, value in state.items() if not torch.equal(value, theirs[name])] == []
    taken = ("text_encoder",)
    mixed = Pretraining(
        replace(again, init_parts=taken, video_encoder=f"hf:{place / 'videomae'}"), tmp_path / "mixed", quiet=True
    )
    assert mixed.config.model.video.architecture["model_type"] == "videomae"
    assert mixed.config.model.text == trained[0].config.model.text


def test_settings_that_contradict_each_other_are_named(place, trained, tmp_path):
    plain, init = experiment_of(place), str(trained[1] / "checkpoint")
    with pytest.raises(ConfigError) as caught:
        Pretraining(replace(plain, init=init), tmp_path, quiet=True)
    assert str(caught.value) == (
        f"--init {init} and --video-encoder and --text-encoder both give video_encoder, text_encoder, masked_words; "
        "give --init-parts fusion projections, or leave one of the two options out"
    )
    with pytest.raises(ConfigError, match="--text-encoder brings its own tokenizer"):
        replace(plain, data=replace(plain.data, tokenizer="words"))
    with pytest.raises(ConfigError, match="adapters are trained with --parallel ddp"):
        replace(plain, lora=LoraConfig(rank=2), parallel="fsdp")
    with pytest.raises(ConfigError, match=r"longer than the 62 positions of the text encoder"):
        Pretraining(replace(plain, inputs=replace(plain.inputs, max_text_length=63)), tmp_path, quiet=True)


@pytest.mark.parametrize(
    ("option", "name", "reason"),
    [
        ("video_encoder", "bert", "bert takes input_ids; it is no encoder of images or videos"),
        ("text_encoder", "clip", "clip_vision_model takes pixel_values, not words; it is no text encoder"),
    ],
)
def test_encoders_in_each_others_place_are_refused_before_any_work(place, tmp_path, option, name, reason):
    with pytest.raises(CloverError) as caught:
        Pretraining(replace(experiment_of(place), **{option: f"hf:{place / name}"}), tmp_path, quiet=True)
    assert str(caught.value) == f"{place / name}: {reason}"
    assert not list(tmp_path.iterdir())


def test_a_text_model_that_reads_from_left_to_right_is_refused_before_any_work(place, tmp_path):
    folder = tmp_path / "gpt2"
    words = len(json.loads((place / "bert" / "tokenizer.json").read_text())["model"]["vocab"])
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=64, vocab_size=words, pad_token_id=0)
    transformers.GPT2Model(config).save_pretrained(folder)
    shutil.copy(place / "bert" / "tokenizer.json", folder)
    with pytest.raises(CloverError, match=r"gpt2: gpt2 reads from left to right, and its .CLS. sees no other word"):
        Pretraining(replace(experiment_of(place), text_encoder=f"hf:{folder}"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_runs_of_before_go_on(place):
    """What decides a run without such encoders is what it was before there were any."""
    plain = wherever(deciding(experiment_of(place, video="", text="")))
    assert not {"video_encoder", "text_encoder", "freeze", "lora"} & set(plain)
    assert "layer_rate_decay" not in json.dumps(plain)
    assert "layer_rate_decay" not in json.dumps(deciding(shapes_questions()))
    changed = experiment_of(place, video="", text="", freeze=("fusion",))
    assert wherever(deciding(changed))["freeze"] == ["fusion"]


def test_the_planner_says_what_it_cannot_count(trained):
    with pytest.raises(ConfigError, match="is a clip_vision_model; this can be done with Clover's own encoders only"):
        blocks_of(trained[0].config.model, SampleShape(num_frames=8, frame_size=32, text_length=20))


def test_benchmarks_take_the_published_rates_and_the_models_own_frames(trained):
    row = BENCHMARKS["msrvtt-retrieval"]
    assert kind_of_recipe(trained[0]) == "borrowed"
    experiment = recipe_for(row, trained[0])
    assert experiment.optimizer.learning_rate == row.recipe.learning_rate
    assert experiment.inputs.frames == trained[0].config.inputs.frames
    assert experiment.training_text_length <= trained[0].config.model.text.max_length
