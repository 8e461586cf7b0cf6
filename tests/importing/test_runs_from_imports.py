"""Runs that start from imported encoders: which sizes they take, and what they say began fresh."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from clover.cli import main
from clover.pipeline import Clover

SIZES = ["--model.video.width", 8, "--model.fusion.video-width", 16, "--model.video.num-heads", 2, 4]
"""Those of the encoder below, of which none is the recipe's."""


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def init(video, bert, tmp_path_factory):
    place = tmp_path_factory.mktemp("imported") / "init"
    assert run("import", "--video", video, "--text", bert[1], "--out", place) == 0
    return place


def counts_of(state):
    """Tensors of the fusion and of the video encoder."""
    return [sum(name.startswith(part) for name in state) for part in ("fusion_encoder.", "video_encoder.")]


@pytest.mark.parametrize("kind", ["concatenated", "gated"])
def test_all_that_is_fresh_is_listed_and_the_card_calls_no_half_imported_part_imported(
    init, corpus, tmp_path, capsys, kind
):
    out = tmp_path / "run"
    short = ["--training.num-steps", 1, "--batch-size", 4, "--inputs.max-text-length", 16]
    options = ["--init", init, "--model.fusion.kind", kind, *SIZES, *short]
    assert run("pretrain", "shapes", "--data.corpus", corpus, *options, "--out", out) == 0
    fused, seen = counts_of(load_file(out / "checkpoint/model.safetensors"))
    taken = counts_of(load_file(init / "encoders.safetensors"))[1]
    layers = json.loads((out / "run.json").read_text())["init_weights"]["fusion"]
    assert 0 < layers < fused
    assert taken == seen - 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("weights from ")]
    assert f": {taken} of {seen} of video_encoder, " in line
    assert f", {layers} of {fused} of fusion, " in line
    assert line.endswith(f"; fresh: 1 of video_encoder, {fused - layers} of fusion, projections")
    card = Clover.from_pretrained(out / "checkpoint").card()
    first, second = (line for line in card.splitlines() if " imported from " in line)
    assert first.startswith("1. video encoder: imported from `swin3d.pth`")
    assert first.endswith("; not in it, and fresh: mask token")
    assert second.startswith("2. text encoder, fusion (in part), masked words: imported from `model.safetensors`")
    assert second.endswith(f"; not in it, and fresh: {fused - layers} of {fused} tensors of fusion, projections")
    assert "- started from: imported encoders (above)\n" in card


def test_a_run_that_starts_from_a_checkpoint_says_so_whatever_that_began_with(init, corpus, tmp_path):
    cold = ["--video-warm-start.num-steps", 0, "--text-warm-start.num-steps", 0, "--inputs.max-text-length", 16]
    short = [*cold, "--training.num-steps", 1, "--batch-size", 4]
    for start, out in ((init, "first"), (tmp_path / "first/checkpoint", "second")):
        given = ["--data.corpus", corpus, "--init", start, *short]
        assert run("pretrain", "shapes", *given, "--out", tmp_path / out) == 0
    first, second = (Clover.from_pretrained(tmp_path / out / "checkpoint") for out in ("first", "second"))
    assert f"- started from: the checkpoint with fingerprint `{first.fingerprint}`\n" in second.card()
    assert "fusion (in part), masked words: imported from" in second.card()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["video.width", 64], "--model.video.width 64 does not fit the weights of --init {}, which have 8 there; "),
        (["video.depths", 2, 2, 2], "--model.video.depths 2 2 2 does not fit the weights of --init {}, which have 2 1"),
        (["video.num-heads", 3, 3], "--model.video.num-heads 3 3 does not fit the weights of --init {}, which have 2 "),
        (
            ["fusion.video-width", 17],
            "--model.fusion.video-width 17 does not fit the weights of --init {}, which have ",
        ),
        (["text.transformer.width", 30], "--model.text.transformer.width 30 does not fit the weights of --init {}, "),
        (["text.transformer.num-heads", 7], "--model.text.transformer.num-heads 7 does not fit the weights of "),
    ],
)
def test_a_size_that_the_weights_overrule_is_named_whatever_it_would_not_go_with(
    init, corpus, tmp_path, capsys, options, message
):
    option, *values = options
    out = tmp_path / "run"
    given = ["--data.corpus", corpus, "--init", init, f"--model.{option}", *values]
    capsys.readouterr()
    assert run("pretrain", "shapes", *given, "--out", out) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"clover: {message.format(init)}")
    assert errors.count("\n") == 1
    assert not out.exists()


def test_sizes_that_do_not_go_together_are_refused_without_weights_too(corpus, tmp_path, capsys):
    out = tmp_path / "run"
    for option, message in (
        ("--model.video.width=64", "fusion takes video tokens of width 128, but the video encoder gives 64"),
        ("--model.video.depths=3 3", "depths (3, 3) and num_heads (8,) differ in length"),
        ("--model.text.transformer.num-heads=7", "transformer width 128 is not a multiple of 7 heads"),
        ("--model.fusion.transformer.num-heads=7", "transformer width 128 is not a multiple of 7 heads"),
        ("--model.text.transformer.width=64", "the fusion encoder's width 128 is not the text encoder's 64"),
    ):
        name, _, values = option.partition("=")
        assert run("pretrain", "shapes", "--data.corpus", corpus, name, *values.split(), "--out", out) == 2
        assert capsys.readouterr().err == f"clover: {message}\n"
        assert not out.exists()


def test_a_size_beyond_any_models_is_refused_before_memory_is_taken(video, bert, tmp_path, capsys):
    for arguments, message in (
        (
            ["--text", bert[1], "--text-positions", 10**9],
            "--text-positions is 1,000,000,000, more than any model has; ",
        ),
        (["--video", video, "--patch-frames", 10**9], "--patch-frames is 1,000,000,000, more than any model has; "),
        (["--clover", video, "--frame-size", 10**9], "--frame-size is 1,000,000,000, more than any model has; "),
        (["--clover", video, "--num-frames", 10**9], "--num-frames is 1,000,000,000, more than any model has; "),
        (
            ["--video", video, "--window", 10**4, 10**4, 8],
            "window (10000, 10000, 8) has 800,000,000 tokens, more than ",
        ),
    ):
        capsys.readouterr()
        assert run("import", *arguments, "--out", tmp_path / "init") == 2
        errors = capsys.readouterr().err
        assert errors.startswith(f"clover: {message}")
        assert errors.count("\n") == 1
        assert "give at most " in errors


def test_commands_that_are_suggested_can_be_typed_as_they_are(video, bert, tmp_path, capsys):
    place = tmp_path / "weights for all"
    shutil.copytree(bert[1], place / "bert")
    assert run("import", "--text", place / "bert", "--out", place / "init") == 0
    assert f"(clover pretrain RECIPE --init '{place / 'init'}')\n" in capsys.readouterr().out
    assert run("pretrain", "shapes", "--init", place / "bert", "--out", tmp_path / "run") == 2
    assert f"clover import --text '{place / 'bert'}' --out init" in capsys.readouterr().err
    config = json.loads((place / "bert/config.json").read_text())
    (place / "bert/config.json").write_text(json.dumps(config | {"model_type": "roberta"}))
    assert run("import", "--text", place / "bert", "--out", tmp_path / "other") == 2
    assert f"--text-encoder 'hf:{place / 'bert'}'" in capsys.readouterr().err
