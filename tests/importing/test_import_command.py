"""`clover import` as a user calls it, and runs that start from what it leaves."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from made_encoders import save_text, save_vision
from plain_swin import made_state
from safetensors.torch import save_file

from clover.checkpoints import CloverConfig, InputConfig
from clover.cli import main
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.errors import CheckpointError, ConfigError
from clover.experiment.configs import StageConfig
from clover.experiment.imported import Encoders
from clover.experiment.pretraining import Pretraining
from clover.experiment.starting import Start
from clover.modeling.initialise import new_model
from clover.modeling.official import export_official
from clover.modeling.sizes import base, tiny
from clover.pipeline import Clover
from clover.recipes.pretrain import shapes


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def init(video, bert, tmp_path):
    assert run("import", "--video", video, "--text", bert[1], "--out", tmp_path / "init") == 0
    return tmp_path / "init"


def started(corpus, init, **changes):
    """The demo's recipe, shrunk, from a folder."""
    experiment = shapes()
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    experiment = replace(
        experiment,
        model=tiny(vocabulary_size=1),
        data=replace(experiment.data, corpus=str(corpus), num_kept_frames=8),
        inputs=replace(experiment.inputs, frames=frames, max_text_length=16),
        video_warm_start=StageConfig(),
        text_warm_start=StageConfig(),
        training=replace(experiment.training, num_steps=2, batch_size=8),
        init=str(init),
    )
    return replace(experiment, **changes)


def test_what_was_taken_and_what_not_is_said(video, bert, tmp_path, capsys):
    init = tmp_path / "init"
    torch.save({"model": torch.load(video, weights_only=True)}, tmp_path / "wrapped.pth")
    assert run("import", "--video", tmp_path / "wrapped.pth", "--text", bert[1], "--out", init) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "video encoder: torchvision swin3d, 0.0 M weights, width 8, depths 2-1, window 2x4x4, patch 2x4x4; "
        "channels: red first"
    )
    assert lines[1].startswith("  not used: ")
    assert lines[2].startswith("text encoder: BERT, 0.0 M weights, width 24, 3 layers, 6 heads, 40 word pieces")
    assert "begins with the text encoder's first layers; all other weights begin fresh" in lines[-2]
    assert lines[-1] == f"encoders: {init} (clover pretrain RECIPE --init {init})"
    assert sorted(path.name for path in init.iterdir()) == ["encoders.json", "encoders.safetensors", "tokenizer.json"]
    found = Encoders.load(init)
    assert [source.dialect for source in found.config.sources] == ["torchvision swin3d", "BERT"]
    assert found.fingerprint == Encoders.load(init).fingerprint


def test_a_run_takes_the_encoders_their_sizes_and_their_words(init, corpus, tmp_path, capsys):
    capsys.readouterr()
    experiment = started(corpus, init)
    run_of = Pretraining(experiment, tmp_path / "run")
    errors = capsys.readouterr().err
    assert f"weights from {init}: " in errors
    assert "; fresh: 1 of video_encoder, 7 of fusion, projections" in errors
    found, network = Encoders.load(init), run_of.network
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in found.state.items())
    for name, value in state.items():
        if name.startswith("fusion_encoder.transformer.layers.0."):
            assert torch.equal(value, state[name.replace("fusion_encoder", "text_encoder")]), name
    model = run_of.config.model
    assert model.video.stochastic_depth == experiment.model.video.stochastic_depth
    assert model.fusion.transformer.num_layers == experiment.model.fusion.transformer.num_layers
    assert model.fusion.transformer.norm_epsilon == 1e-3
    assert (model.fusion.num_spatial_positions, model.fusion.num_temporal_positions) == (4 * 4, 4)
    clover = run_of.run()
    again = Clover.from_pretrained(tmp_path / "run" / "checkpoint")
    assert again.fingerprint == clover.fingerprint
    assert again.tokenizer.fingerprint == found.tokenizer.fingerprint
    assert [(event.kind, event.title, event.parts) for event in again.history] == [
        ("import", found.config.sources[0].dialect, ("video_encoder",)),
        ("import", "BERT", ("text_encoder", "fusion", "masked_words")),
        ("run", "pre-training", ()),
    ]
    assert again.history[0].digest == found.config.sources[0].sha256
    resumed = Pretraining(experiment, tmp_path / "run", quiet=True).run(resume=True)
    assert resumed.fingerprint == clover.fingerprint


def test_the_recipe_of_base_size_runs_from_small_imported_encoders(bert, corpus, tmp_path):
    state = made_state(width=8, depths=(1, 1), heads=(1, 2), window=(2, 7, 7), patch=(2, 16, 16))
    torch.save(state, tmp_path / "swin.pth")
    assert run("import", "--video", tmp_path / "swin.pth", "--text", bert[1], "--out", tmp_path / "init") == 0
    arguments = ["--data.corpus", corpus, "--init", tmp_path / "init", "--out", tmp_path / "run"]
    training = ["--training.num-steps", 1, "--batch-size", 4, "--inputs.max-text-length", 16]
    assert run("pretrain", "base-size", *arguments, *training, "--compute.precision", "float32") == 0
    model = Clover.from_pretrained(tmp_path / "run" / "checkpoint").config.model
    assert (model.fusion.num_spatial_positions, model.fusion.num_temporal_positions) == (49, 4)
    assert (model.video.width, model.text.transformer.width, model.embedding_width) == (8, 24, 768)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["experiment"]["model"]["video"]["width"] == 8
    assert record["init_weights"].keys() == {"video_encoder", "text_encoder", "fusion", "masked_words"}


def test_a_run_may_start_from_one_encoder_alone(video, bert, corpus, tmp_path, capsys):
    assert run("import", "--video", video, "--out", tmp_path / "video") == 0
    with_words = replace(started(corpus, tmp_path / "video").data, tokenizer=str(bert[1]))
    built = Pretraining(started(corpus, tmp_path / "video", data=with_words), tmp_path / "a")
    assert built.tokenizer.vocabulary_size == 40
    assert built.config.model.text.transformer.width == 32  # the recipe's
    trained = Pretraining(started(corpus, tmp_path / "video"), tmp_path / "b", quiet=True)
    assert trained.tokenizer.vocabulary_size > 40  # of its own captions
    assert run("import", "--text", bert[1], "--out", tmp_path / "text") == 0
    capsys.readouterr()
    built = Pretraining(started(corpus, tmp_path / "text"), tmp_path / "c")
    assert "fresh: 7 of fusion, video_encoder, projections" in capsys.readouterr().err
    assert built.config.model.video == started(corpus, tmp_path / "text").model.video
    with pytest.raises(CheckpointError, match=r"text has no video_encoder; name parts that it has with --init-parts"):
        Pretraining(started(corpus, tmp_path / "text", init_parts=("video_encoder",)), tmp_path / "d", quiet=True)
    with pytest.raises(ConfigError, match="brings its own tokenizer"):
        Pretraining(started(corpus, tmp_path / "text", data=with_words), tmp_path / "e", quiet=True)


def test_one_encoder_is_imported_and_the_other_one_of_transformers(video, bert, corpus, tmp_path, capsys):
    assert run("import", "--video", video, "--out", tmp_path / "video") == 0
    assert run("import", "--text", bert[1], "--out", tmp_path / "text") == 0
    texts, images = save_text("roberta", tmp_path / "roberta"), save_vision("clip", tmp_path / "clip")
    capsys.readouterr()
    built = Pretraining(started(corpus, tmp_path / "video", text_encoder=f"hf:{texts}"), tmp_path / "a")
    assert built.init_weights.keys() == {"video_encoder"}
    assert "; fresh: 1 of video_encoder, fusion, projections, masked_words" in capsys.readouterr().err
    built = Pretraining(started(corpus, tmp_path / "text", video_encoder=f"hf:{images}"), tmp_path / "b", quiet=True)
    assert built.init_weights.keys() == {"text_encoder", "fusion", "masked_words"}
    with pytest.raises(ConfigError) as caught:
        Pretraining(started(corpus, tmp_path / "video", video_encoder=f"hf:{images}"), tmp_path / "c", quiet=True)
    assert str(caught.value) == (
        f"--init {tmp_path / 'video'} and --video-encoder both give video_encoder; leave one of the two options out"
    )


def test_a_warm_start_falls_away_for_an_encoder_that_is_imported(video, corpus, tmp_path, capsys):
    assert run("import", "--video", video, "--out", tmp_path / "video") == 0
    stage = StageConfig(num_steps=1, batch_size=8)
    experiment = started(corpus, tmp_path / "video", video_warm_start=stage, text_warm_start=stage)
    stages = Pretraining(experiment, tmp_path / "run").stages
    assert (stages["video_warm_start"].num_steps, stages["text_warm_start"].num_steps) == (0, 1)
    assert "no warm start of the video encoder: it brings trained weights" in capsys.readouterr().err


def test_texts_longer_than_the_imported_positions_are_refused_before_anything_runs(bert, corpus, tmp_path):
    assert run("import", "--text", bert[1], "--text-positions", 12, "--out", tmp_path / "init") == 0
    experiment = started(corpus, tmp_path / "init", video_warm_start=StageConfig(num_steps=1, batch_size=8))
    with pytest.raises(
        ConfigError, match=r"texts of 16 tokens .* 12 positions .*--inputs\.max-text-length 12, .*--text-positions 16"
    ):
        Pretraining(experiment, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    shorter = replace(experiment, inputs=replace(experiment.inputs, max_text_length=12))
    assert Pretraining(shorter, tmp_path / "run", quiet=True).config.model.text.max_length == 12


def test_weights_as_they_were_published_are_to_be_imported_first(video, bert, tmp_path, capsys):
    image_model, bare, other = tmp_path / "swin", tmp_path / "bare", tmp_path / "vit"
    for folder, kind in ((image_model, "swin"), (bare, ""), (other, "vit")):
        folder.mkdir()
        save_file({"a": torch.ones(1)}, folder / "model.safetensors")
        if kind:
            (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    shutil.copytree(bert[1], tmp_path / "bert")
    Tokenizer.load(bert[1]).save(tmp_path / "bert")  # then no file of a checkpoint is missing
    for place, message in (
        (
            video,
            f"is a file, and a run starts from a folder; import it first: clover import --video {video} --out init",
        ),
        (bert[1], f"import them first: clover import --text {bert[1]} --out init, then give --init init"),
        (tmp_path / "bert", f"clover import --text {tmp_path / 'bert'} --out init"),
        (image_model, f"clover import --video {image_model} --out init"),
        (bare, f"clover import --video {bare} --out init"),
        (
            other,
            f"is a vit of transformers, no checkpoint folder; leave it out of --init and give it as --video-encoder "
            f"hf:{other}",
        ),
        (tmp_path / "nowhere", "is not a checkpoint folder (it does not exist)"),
    ):
        capsys.readouterr()
        assert run("pretrain", "shapes", "--init", place, "--out", tmp_path / "run") == 2
        errors = capsys.readouterr().err
        assert message in errors
        assert errors.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_fusion_alone_of_another_width_is_refused(init, corpus, tmp_path):
    with pytest.raises(CheckpointError, match=r"fusion_encoder\.transformer\.layers\.0.* expected"):
        Pretraining(started(corpus, init, init_parts=("video_encoder", "fusion")), tmp_path, quiet=True)


def test_clover_base_takes_over_sizes_other_than_its_own(init):
    model = Encoders.load(init).adopted_by(base(), InputConfig(), video=True, text=True)
    assert (model.video.width, model.fusion.video_width, model.text.transformer.num_heads) == (8, 16, 6)
    assert (model.fusion.num_spatial_positions, model.fusion.num_temporal_positions) == (28 * 28, 4)
    assert (model.embedding_width, model.video.stochastic_depth, model.fusion.transformer.num_layers) == (768, 0.3, 3)


def test_a_checkpoint_of_other_extents_is_resized_by_need_and_its_pixels_are_kept(
    corpus,
    bert,
    tmp_path,
    capsys,
):
    model = replace(tiny(vocabulary_size=40), fused_dropout=0.1)
    model = replace(model, pixels=replace(model.pixels, channel_order="bgr"))
    wider = replace(model, video=replace(model.video, window=(2, 3, 3)), text=replace(model.text, max_length=50))
    assert run("import", "--text", bert[1], "--out", tmp_path / "text") == 0
    words = Encoders.load(tmp_path / "text").tokenizer
    Clover(new_model(wider, seed=1), words, CloverConfig(model=wider)).save_pretrained(tmp_path / "other")
    capsys.readouterr()
    built = Pretraining(started(corpus, tmp_path / "other"), tmp_path / "run")
    errors = capsys.readouterr().err
    assert "resized: position biases from a window of 2x3x3 to 4x4x4" in errors
    assert "resized: text positions drawn out from 50 to 192" in errors
    assert built.config.model.pixels.channel_order == "bgr"
    assert (
        Start.read(tmp_path / "other", ("text_encoder",))
        .adopted_by(started(corpus, tmp_path / "other"))
        .model.pixels.channel_order
        == "rgb"
    )  # the pixels are the video encoder's


def test_a_folder_of_the_hub_says_how_its_pixels_are(tmp_path):
    state = {name: value for name, value in made_state().items() if "index" not in name}
    folder = tmp_path / "hub"
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}')
    assert run("import", "--video", folder, "--out", tmp_path / "init") == 0
    pixels = Encoders.load(tmp_path / "init").config.pixels
    assert pixels.mean == (127.5, 102.0, 76.5)
    assert pixels.deviation == pytest.approx((51.0, 51.0, 25.5))
    (folder / "preprocessor_config.json").write_text('{"image_mean": 0.5}')
    assert run("import", "--video", folder, "--out", tmp_path / "other") == 2
    assert not (tmp_path / "other").exists()


def test_the_video_encoder_of_an_official_clover(tmp_path, capsys):
    model = tiny(vocabulary_size=7)
    network = new_model(model, seed=0)
    torch.save({"state_dict": export_official(network, "pre-training").state}, tmp_path / "official.pth")
    assert run("import", "--video", tmp_path / "official.pth", "--out", tmp_path / "init") == 0
    assert "official Clover, its video encoder" in capsys.readouterr().out
    found = Encoders.load(tmp_path / "init")
    assert found.config.pixels.channel_order == "bgr"
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in found.state.items())
    assert (
        run(
            "import",
            "--video",
            tmp_path / "official.pth",
            "--channel-order",
            "rgb",
            "--position-bias",
            "exact",
            "--out",
            tmp_path / "init",
            "--overwrite",
        )
        == 0
    )
    config = Encoders.load(tmp_path / "init").config
    assert (config.pixels.channel_order, config.video.clipped_window_bias) == ("rgb", "exact")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to import; name a file with --video, --text or --clover"),
        (["--video", "x.pth"], "no folder to write; name one with --out"),
        (["--video", "x.pth", "--out", "o"], "x.pth does not exist"),
        (
            ["--video", "https://example.org/a.pth", "--out", "o"],
            "https://example.org/a.pth is an address, and addresses are not fetched; download it and give the file",
        ),
        (["--text", "http://example.org/bert", "--out", "o"], "http://example.org/bert is an address, and addresses"),
        (
            ["--clover", "x.pth", "--tokenizer", "https://example.org/v.txt", "--out", "o"],
            "https://example.org/v.txt is an address",
        ),
        (
            ["--video", "x.pth", "--window", "8", "7", "--out", "o"],
            "--window takes three whole numbers; it is given 8 7; see",
        ),
        (["--video", "x.pth", "--clover", "y.pth", "--out", "o"], "--clover is a whole model"),
        (["--video", "x.pth", "--frame-size", "3", "--out", "o"], "--frame-size goes with --clover"),
        (["--video", "x.pth", "--window", "0", "7", "7", "--out", "o"], "has no tokens"),
        (["--video", "x.pth", "--patch-frames", "0", "--out", "o"], "patch_frames is 0"),
        (["--text", "x", "--text-positions", "-1", "--out", "o"], "text_positions is -1"),
        (["--video", "x.pth", "--text-positions", "20", "--out", "o"], "--text-positions goes with --text or --clover"),
        (
            ["--video", "x.pth", "--pairing", "first_release", "--out", "o"],
            "--pairing goes with --clover, which is not",
        ),
        (["--clover", "x.pth", "--patch-frames", "2", "--out", "o"], "--patch-frames goes with --video, which is not"),
        (["--text", "x", "--window", "8", "7", "7", "--out", "o"], "--window goes with --video or --clover, which is"),
        (["--text", "x", "--channel-order", "bgr", "--out", "o"], "--channel-order goes with --video or --clover"),
        (["--text", "x", "--position-bias", "exact", "--out", "o"], "--position-bias goes with --video or --clover"),
        (
            ["--text", "x", "--text-positions", "2", "--out", "o"],
            "text_positions is 2; give 3 or more, for [CLS], a word",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("import", *arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_frames_of_a_patch_are_those_of_an_encoder_of_videos(video, tmp_path, capsys):
    assert run("import", "--video", video, "--patch-frames", 2, "--out", tmp_path / "init") == 2
    message = f"--patch-frames is for a Swin of images, which is inflated; {video} is torchvision swin3d, whose patches"
    assert f"{message} have 2 frames: leave it out" in capsys.readouterr().err
    assert not (tmp_path / "init").exists()


def test_a_number_that_is_none_is_refused_in_a_config(init, bert, tmp_path, capsys):
    shutil.copytree(bert[1], tmp_path / "bert")
    path = tmp_path / "bert" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"initializer_range": float("-inf")}))
    capsys.readouterr()
    assert run("import", "--text", tmp_path / "bert", "--out", tmp_path / "out") == 2
    errors = capsys.readouterr().err
    assert "config.json: initializer_range is -inf; it must be a finite number" in errors
    assert errors.count("\n") == 1
    path = init / "encoders.json"
    path.write_text(path.read_text().replace('"feed_forward_ratio": 4.0', '"feed_forward_ratio": 1e999'))
    with pytest.raises(CheckpointError, match=r"encoders\.json: video\.feed_forward_ratio is inf; it must be a finite"):
        Encoders.load(init)


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("video", "depths", [3, 1], r"says 3 layers video_encoder\.stages\.0\.\*, it has 2$"),
        ("video", "depths", [2_000_000, 1], r"says 2000000 layers video_encoder\.stages\.0\.\*, it has 2$"),
        ("video", "width", 16, r"reduction\.weight is \[16, 32\], expected \[32, 64\]"),
        ("video", "window", [2, 3, 3], r"position_bias is \[147, 2\], expected \[75, 2\]"),
        ("video", "window", [10**6, 10**6, 10**6], r"describes no network that can be made|expected \["),
        ("text", "transformer", {"num_layers": 10**9}, r"says 1000000000 layers text_encoder\.transformer\.layers\.\*"),
        ("text", "max_length", 10**12, r"position_embedding\.weight is \[\d+, 24\], expected \[1000000000000, 24\]"),
        ("text", None, None, r"unknown masked_word_head\."),
    ],
)
def test_a_folder_that_says_more_than_it_holds_is_refused_before_anything_is_made(
    part, name, value, message, init, monkeypatch
):
    path = init / "encoders.json"
    plain = json.loads(path.read_text())
    if name is None:
        plain[part] = None
    elif isinstance(value, dict):
        plain[part][name] |= value
    else:
        plain[part][name] = value
    path.write_text(json.dumps(plain))
    monkeypatch.setattr("clover.experiment.imported.load_file", lambda _: pytest.fail("weights were read"))
    with pytest.raises(CheckpointError, match=message) as caught:
        Encoders.load(init)
    assert "\n" not in str(caught.value)
    assert "encoders.safetensors" in str(caught.value)


def test_an_earlier_import_is_replaced_only_when_asked(init, video, bert, tmp_path, capsys):
    before = Encoders.load(init).fingerprint
    assert run("import", "--video", video, "--out", init) == 2
    assert f"{init} is there already; give another place, or --overwrite" in capsys.readouterr().err
    assert Encoders.load(init).fingerprint == before
    assert run("import", "--video", video, "--out", init, "--overwrite") == 0
    assert Encoders.load(init).config.text is None
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("import", "--text", bert[1], "--out", empty) == 0, "an empty folder holds nothing to lose"
    for name in ("config.json", "model.safetensors"):
        (init / name).write_text("of a checkpoint")
    capsys.readouterr()
    assert run("import", "--video", video, "--out", init, "--overwrite") == 2
    assert "holds other things (config.json, model.safetensors)" in capsys.readouterr().err
    assert (init / "model.safetensors").read_text() == "of a checkpoint"


def test_what_lies_there_is_not_lost(init, video, corpus, tmp_path, capsys):
    (init / "notes.txt").write_text("mine")
    assert run("import", "--video", video, "--out", init) == 2
    assert "holds other things (notes.txt)" in capsys.readouterr().err
    assert (init / "notes.txt").read_text() == "mine"
    with pytest.raises(CheckpointError, match="it holds imported encoders, which are no model yet: pre-train from it"):
        Clover.from_pretrained(init)
    (init / "encoders.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"encoders\.safetensors is not a readable weights file .*import again$"):
        Pretraining(started(corpus, init), tmp_path, quiet=True)
    (init / "encoders.json").write_text('{"format": "clover-encoders-9"}')
    with pytest.raises(CheckpointError, match="not a list of imported encoders of a version this program reads"):
        Encoders.load(init)
