"""Runs that start from imported encoders: which sizes they take, and what they say began fresh."""

import json
import shutil

import pytest
import torch
from plain_swin import made_state

from clover.cli import main


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    place = tmp_path_factory.mktemp("swin3d") / "swin3d.pth"
    torch.save(made_state(width=8, depths=(2, 1), heads=(2, 4), window=(2, 4, 4), patch=(2, 4, 4)), place)
    return place


@pytest.fixture(scope="module")
def init(video, bert, tmp_path_factory):
    place = tmp_path_factory.mktemp("imported") / "init"
    assert run("import", "--video", video, "--text", bert[1], "--out", place) == 0
    return place


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
