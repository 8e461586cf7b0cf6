"""Official Clover in and out: what comes back is what went, and the authors' classes get every key they expect."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_encoders import vision_model
from safetensors.torch import save_file

from clover.checkpoints import CloverConfig, InputConfig
from clover.cli import main
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.errors import CheckpointError, ConfigError
from clover.experiment.imported import Encoders
from clover.modeling.borrowed_shape import describe_video
from clover.modeling.huggingface import architecture
from clover.modeling.initialise import new_model
from clover.modeling.model import CloverModel, HeadConfig
from clover.modeling.official import export_official, import_official, otherwise_biased
from clover.modeling.pixels import PixelConfig, normalise
from clover.modeling.sizes import base, tiny
from clover.modeling.video_swin import VideoEncoder
from clover.modeling.weights import check_fit, official_names
from clover.pipeline import Clover
from clover.publishing.history import Event

KEY_MAPS = json.loads((Path(__file__).parents[1] / "golden" / "key_maps.json").read_text())
CLASSES = {
    "CloverPretrain": ("pre-training", HeadConfig()),
    "CloverFinetune_retrieval": ("retrieval", HeadConfig()),
    "CloverFinetune_MCQA": ("multiple-choice", HeadConfig(has_choices=True)),
    "CloverFinetune_OEQA_1500": ("open-answers", HeadConfig(num_answers=1500)),
    "CloverFinetune_FiB_908": ("fill-in-the-blank", HeadConfig(num_answers=908, answers_at_mask=True)),
}
HEADS = {
    "pre-training": (HeadConfig(), ()),
    "multiple-choice": (HeadConfig(has_choices=True), ()),
    "open-answers": (HeadConfig(num_answers=3), ("red", "blue", "two words")),
    "fill-in-the-blank": (HeadConfig(num_answers=2, answers_at_mask=True), ("red", "blue")),
}


@pytest.mark.parametrize("name", CLASSES)
def test_every_key_and_shape_of_the_authors_classes_at_full_size(name):
    task, heads = CLASSES[name]
    config = replace(base(), heads=heads)
    config = replace(config, fusion=replace(config.fusion, has_own_cls=task == "fill-in-the-blank"))
    with torch.device("meta"):
        network = CloverModel(config)
    made = export_official(network, task)
    theirs = {key: tuple(row["shape"]) for key, row in KEY_MAPS[name]["parameters"].items()}
    theirs |= {key: tuple(shape) for key, (shape, _) in KEY_MAPS[name]["buffers"].items()}
    assert {key: tuple(value.shape) for key, value in made.state.items()} == theirs
    unread = {key for key, row in KEY_MAPS[name]["parameters"].items() if key in made.filled}
    assert all(KEY_MAPS[name]["parameters"][key]["unused_in_training"] for key in unread)


def made_checkpoint(folder, task, **changes):
    tokenizer = Tokenizer.train(["a red ball moves left", "what color is the ball?"], 100)
    tokenizer.save(folder / "words")
    heads, answers = HEADS[task]
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), heads=heads, **changes)
    if task == "fill-in-the-blank":
        model = replace(model, fusion=replace(model.fusion, has_own_cls=True))
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    config = CloverConfig(model=model, inputs=InputConfig(frames=frames, max_text_length=16), answers=answers)
    clover = Clover(new_model(model, seed=3), tokenizer, config)
    clover.save_pretrained(folder / "checkpoint")
    return clover


def run(*arguments):
    return main([str(argument) for argument in arguments])


def export_and_import(folder, *options):
    assert run("export", folder / "checkpoint", "--to", "official", folder / "official.pth") == 0
    words = ["--tokenizer", folder / "words"]
    assert run("import", "--clover", folder / "official.pth", *words, "--out", folder / "back", *options) == 0
    return Clover.from_pretrained(folder / "back")


@pytest.mark.parametrize("task", HEADS)
def test_what_goes_out_comes_back_as_it_was(task, tmp_path, capsys):
    clover = made_checkpoint(tmp_path, task)
    back = export_and_import(tmp_path)
    output = capsys.readouterr().out
    assert f"for the authors' class of {task}" in output
    assert "filled in, fresh; no objective reads it: 2 such as text_backbone.bert.pooler.dense.weight" in output
    assert "set to_bgr=False in img_norm_cfg, and its mean and std in RGB" in output
    assert ("fresh, because a checkpoint of" in output) == (task != "pre-training")
    if task == "pre-training":
        assert back.fingerprint == clover.fingerprint
    assert back.config == clover.config
    (event,) = back.history
    assert (event.kind, event.title, event.name) == ("import", f"official Clover, {task}", "official.pth")
    assert len(event.digest) == 64
    theirs = clover.network.state_dict()
    kept = torch.load(tmp_path / "official.pth", weights_only=True)["state_dict"]
    modules = ("video_encoder.stages", "text_encoder", "fusion_encoder", "answer_head", "choice_head")
    for name, value in back.network.state_dict().items():
        if task == "pre-training" or name.startswith(modules):
            assert torch.equal(value, theirs[name]), name
    assert all(value.isfinite().all() for value in kept.values())


def test_an_imported_checkpoint_is_replaced_only_when_asked(tmp_path, capsys):
    clover = made_checkpoint(tmp_path, "pre-training")
    export_and_import(tmp_path)
    (tmp_path / "back" / "model.safetensors").write_text("precious")
    words = ["--tokenizer", tmp_path / "words"]
    arguments = ["import", "--clover", tmp_path / "official.pth", *words, "--out", tmp_path / "back"]
    assert run(*arguments) == 2
    assert "back is there already; give another place, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "back" / "model.safetensors").read_text() == "precious"
    assert run(*arguments, "--overwrite") == 0
    assert Clover.from_pretrained(tmp_path / "back").fingerprint == clover.fingerprint


def test_without_our_record_the_shapes_and_the_users_words_decide(tmp_path, capsys):
    clover = made_checkpoint(tmp_path, "open-answers")
    assert run("export", tmp_path / "checkpoint", "--to", "official", tmp_path / "official.pth") == 0
    content = torch.load(tmp_path / "official.pth", weights_only=True)
    torch.save({"state_dict": content["state_dict"]}, tmp_path / "bare.pth")
    (tmp_path / "answers.json").write_text(json.dumps({"red": 0, "blue": 1, "two words": 2}))
    arguments = ["import", "--clover", tmp_path / "bare.pth", "--out", tmp_path / "back"]
    words = ["--tokenizer", tmp_path / "words"]
    capsys.readouterr()
    assert run(*arguments) == 2
    assert "official Clover has no words in its file; name them with --tokenizer" in capsys.readouterr().err
    assert run(*arguments, *words) == 2
    assert (
        "its head scores 3 answers, whose words are not in its file; name them with --answers"
        in capsys.readouterr().err
    )
    (tmp_path / "two.txt").write_text("red\nblue")
    assert run(*arguments, *words, "--answers", tmp_path / "two.txt") == 2
    assert "holds 2 answers, its head scores 3" in capsys.readouterr().err
    assert run(*arguments, *words, "--answers", tmp_path / "answers.json", "--num-heads", "5") == 2
    assert "width 32 is not a multiple of 5 heads; give the right --num-heads" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()
    assert run(*arguments, *words, "--answers", tmp_path / "answers.json", "--num-heads", "2") == 0
    back = Clover.from_pretrained(tmp_path / "back")
    assert back.config.answers == ("red", "blue", "two words")
    ours, found = clover.config.model, back.config.model
    assert found.pixels.channel_order == "bgr"
    assert found.video == replace(ours.video, clipped_window_bias="published", stochastic_depth=0.3)
    assert (found.fusion.num_spatial_positions, found.fusion.num_temporal_positions) == (4, 4)
    assert (back.config.inputs.num_frames, back.config.inputs.frames.size) == (8, 32)
    exact = [*arguments[:-1], tmp_path / "exact", *words, "--answers", tmp_path / "answers.json", "--num-heads", "2"]
    assert run(*exact, "--position-bias", "exact") == 0
    clip = torch.randint(0, 256, (2, 8, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        theirs = Clover.from_pretrained(tmp_path / "exact").network.video_tokens(clip)
        ours = clover.network.video_tokens(normalise(clip, PixelConfig()).flip(-1))
    torch.testing.assert_close(theirs, ours)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--num-heads", "4"), "--num-heads is 4, the file records 2; leave it out"),
        (("--pairing", "first_release"), "--pairing is first_release, the file records paper; leave it out"),
    ],
)
def test_what_a_file_of_ours_records_is_not_overruled_in_silence(asked, message, tmp_path, capsys):
    made_checkpoint(tmp_path, "pre-training")
    place, words = tmp_path / "official.pth", ["--tokenizer", tmp_path / "words"]
    assert run("export", tmp_path / "checkpoint", "--to", "official", place) == 0
    capsys.readouterr()
    assert run("import", "--clover", place, *words, *asked, "--out", tmp_path / "back") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_other_extents_are_resized_and_said(tmp_path, capsys):
    made_checkpoint(tmp_path, "pre-training")
    back = export_and_import(
        tmp_path, "--num-frames", "16", "--frame-size", "64", "--window", "8", "4", "4", "--text-positions", "100"
    )
    output = capsys.readouterr().out
    for line in (
        "resized: position biases from a window of 4x4x4 to 8x4x4",
        "resized: text positions cut from 192 to 100",
        "resized: temporal positions from 4 to 8",
        "resized: spatial positions from 4 to 16",
    ):
        assert line in output
    clip = torch.randint(0, 256, (1, 16, 64, 64, 3), dtype=torch.uint8)
    tokens = back.network.video_tokens(clip)
    ids, is_token = back.encode_words(["a red ball"])
    assert back.network.fuse(tokens, back.network.text_encoder(ids, is_token), is_token).video.shape[1] == 8 * 16


@pytest.mark.parametrize(("positions", "longest"), [(10, 10), (100, 16)])
@torch.no_grad()
def test_texts_longer_than_the_positions_are_cut_to_them(positions, longest, tmp_path, capsys):
    clover = made_checkpoint(tmp_path, "pre-training")
    back = export_and_import(tmp_path, "--text-positions", positions)
    assert f"reads texts of up to {longest} word pieces" in capsys.readouterr().out
    assert (back.config.model.text.max_length, back.config.inputs.max_text_length) == (positions, longest)
    short = "a"
    torch.testing.assert_close(back.encode_text([short]), clover.encode_text([short]))
    cut = clover.with_inputs(replace(clover.config.inputs, max_text_length=longest))
    long = "a red ball moves left " * 9
    torch.testing.assert_close(back.encode_text([long]), cut.encode_text([long]))


def test_an_official_file_of_few_positions_is_not_given_longer_texts(tmp_path):
    text = replace(tiny(vocabulary_size=9).own_text, max_length=12)
    tokenizer = Tokenizer.train(["a red ball moves left"], 60)
    tokenizer.save(tmp_path / "words")
    text = replace(text, vocabulary_size=tokenizer.vocabulary_size)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), text=text)
    torch.save({"state_dict": export_official(new_model(model, seed=0), "pre-training").state}, tmp_path / "x.pth")
    words = ["--tokenizer", tmp_path / "words", "--num-heads", text.transformer.num_heads]
    assert run("import", "--clover", tmp_path / "x.pth", *words, "--out", tmp_path / "back") == 0
    back = Clover.from_pretrained(tmp_path / "back")
    assert back.config.inputs.max_text_length == 12
    assert back.encode_text(["a red ball moves left " * 9]).isfinite().all()


@pytest.mark.parametrize(("size", "short_side"), [(64, 74), (48, 56), (32, 37)])
def test_training_crops_of_larger_frames_are_taken_of_larger_frames(size, short_side, tmp_path):
    made_checkpoint(tmp_path, "pre-training")
    assert run("export", tmp_path / "checkpoint", "--to", "official", tmp_path / "official.pth") == 0
    whole = torch.load(tmp_path / "official.pth", weights_only=True)
    torch.save({"state_dict": whole["state_dict"]}, tmp_path / "official.pth")  # as the authors write it
    options = ["--tokenizer", tmp_path / "words", "--num-heads", 2, "--frame-size", size]
    assert run("import", "--clover", tmp_path / "official.pth", *options, "--out", tmp_path / "back") == 0
    frames = Clover.from_pretrained(tmp_path / "back").config.inputs.frames
    assert (frames.size, frames.training_short_side) == (size, short_side)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("mlm_head.predictions.decoder.bias"), r"missing mlm_head\.predictions\.decoder\.bias$"),
        (lambda s: s.pop("ssl_head.text_projector.2.weight"), r"missing ssl_head\.text_projector\.2\.weight$"),
        (
            lambda s: s.pop("multimodal_backbone.vis_tempor_pos"),
            r"incomplete: multimodal_backbone\.vis_tempor_pos is missing",
        ),
        (
            lambda s: s.pop("text_backbone.bert.encoder.layer.0.attention.self.key.weight"),
            r": text_backbone\.bert\.encoder\.layer\.0\.attention\.self\.key\.weight is missing, but \S+query.weight",
        ),
        (lambda s: s.update({"new_head.weight": torch.zeros(2)}), "unknown weight 'new_head.weight'"),
        (lambda s: [s.pop(name) for name in list(s) if name.startswith("text_backbone.")], "is no official Clover"),
        (
            lambda s: s.update({"backbone.norm.weight": torch.zeros(5)}),
            r": backbone\.norm\.weight is \[5\], expected \[32\]",
        ),
    ],
)
def test_an_incomplete_or_foreign_file_is_refused_by_name(damage, message, tmp_path, capsys):
    made_checkpoint(tmp_path, "pre-training")
    assert run("export", tmp_path / "checkpoint", "--to", "official", tmp_path / "official.pth") == 0
    content = torch.load(tmp_path / "official.pth", weights_only=True)
    damage(content["state_dict"])
    torch.save(content, tmp_path / "official.pth")
    capsys.readouterr()
    words = ["--tokenizer", tmp_path / "words"]
    assert run("import", "--clover", tmp_path / "official.pth", *words, "--out", tmp_path / "back") == 2
    errors = capsys.readouterr().err
    assert re.search(message, errors), errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("text", "transformer", "num_layers", 10**7), r"says text layers \(10000000, .*, its weights have \(\d+,"),
        (("fusion", "num_temporal_positions", 10**9), "says temporal positions 1000000000, its weights have 4"),
        (("video", "window", [2, 5, 5]), "says video window"),
    ],
)
def test_a_record_that_is_not_of_the_weights_is_refused_before_a_network_is_made(change, message, tmp_path, capsys):
    made_checkpoint(tmp_path, "pre-training")
    place = tmp_path / "official.pth"
    assert run("export", tmp_path / "checkpoint", "--to", "official", place) == 0
    content = torch.load(place, weights_only=True)
    record = json.loads(content["meta"]["clover_config"])
    *way, last, value = change
    inner = record["model"]
    for name in way:
        inner = inner[name]
    inner[last] = value
    content["meta"]["clover_config"] = json.dumps(record)
    torch.save(content, place)
    capsys.readouterr()
    assert run("import", "--clover", place, "--tokenizer", tmp_path / "words", "--out", tmp_path / "back") == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "back").exists()


def test_an_export_is_refused_where_it_would_lose_or_lie(tmp_path, capsys):
    made_checkpoint(tmp_path, "pre-training")
    place = tmp_path / "official.pth"
    arguments = ["export", tmp_path / "checkpoint", "--to", "official", place]
    place.write_text("mine")
    assert run(*arguments) == 2
    assert "is there already; give another place, or --overwrite" in capsys.readouterr().err
    assert place.read_text() == "mine"
    place.unlink()
    assert run(*arguments) == 0
    assert run(*arguments, "--overwrite", "--task", "open-answers") == 2
    assert "has no head for open-answers; it can be exported as pre-training" in capsys.readouterr().err
    assert run(*arguments, "--overwrite", "--task", "retrieval") == 0
    output = capsys.readouterr().out
    parts = "mask token, fused video projection, fused text projection, masked-word head"
    assert re.search(rf"left out, because that class has none: {parts}$", output, re.MULTILINE), output
    assert f"warning: pre-training on is lost in this class: {parts}; --task pre-training writes those" in output


def test_what_came_in_as_retrieval_goes_out_as_retrieval_until_it_is_trained(tmp_path, capsys):
    made_checkpoint(tmp_path, "pre-training")
    export, words = ["export", tmp_path / "checkpoint", "--to", "official"], ["--tokenizer", tmp_path / "words"]
    assert run(*export, tmp_path / "official.pth", "--task", "retrieval") == 0
    assert run("import", "--clover", tmp_path / "official.pth", *words, "--out", tmp_path / "back") == 0
    capsys.readouterr()
    assert run("export", tmp_path / "back", "--to", "official", tmp_path / "again.pth") == 0
    assert "for the authors' class of retrieval" in capsys.readouterr().out
    first, again = (torch.load(tmp_path / name, weights_only=True) for name in ("official.pth", "again.pth"))
    assert first["meta"] == again["meta"]
    assert first["state_dict"].keys() == again["state_dict"].keys()
    assert all(torch.equal(value, again["state_dict"][name]) for name, value in first["state_dict"].items())
    trained = Clover.from_pretrained(tmp_path / "back")
    trained.history = (*trained.history, Event(kind="run", title="pre-training", num_steps=1))
    trained.save_pretrained(tmp_path / "trained")
    assert run("export", tmp_path / "trained", "--to", "official", tmp_path / "trained.pth") == 0
    assert "for the authors' class of pre-training" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["cross_attention", "gated"])
def test_a_fusion_that_the_authors_have_not_is_named(kind, tmp_path, capsys):
    fusion = replace(tiny(vocabulary_size=9).fusion, kind=kind)
    made_checkpoint(tmp_path, "pre-training", fusion=fusion)
    assert run("export", tmp_path / "checkpoint", "--to", "official", tmp_path / "official.pth") == 2
    told = f"a fusion of kind {kind} has no place in the authors' code; use --to hub"
    assert capsys.readouterr().err == f"clover: {told}\n"
    assert not (tmp_path / "official.pth").exists()


def test_encoders_of_transformers_are_named():
    plain = architecture(vision_model("vit").config)
    video = describe_video(plain, num_frames=8, frame_size=32, source="vit")
    config = tiny(vocabulary_size=9)
    fusion = replace(config.fusion, video_width=video.output_width)
    with torch.device("meta"):
        network = CloverModel(replace(config, video=video, fusion=fusion))
    message = r"^an encoder of transformers \(video: vit\) has no place in the authors' code; use --to hub$"
    with pytest.raises(ConfigError, match=message):
        export_official(network, "pre-training")


@pytest.mark.parametrize(("window", "clipped"), [((4, 4, 4), "4x2x2"), ((8, 2, 2), None), ((4, 2, 2), None)])
def test_a_clipped_window_is_said_only_where_there_is_one(window, clipped, tmp_path, capsys):
    video = replace(tiny(vocabulary_size=9).own_video, window=window)
    made_checkpoint(tmp_path, "pre-training", video=video)
    assert run("export", tmp_path / "checkpoint", "--to", "official", tmp_path / "official.pth") == 0
    output = capsys.readouterr().out
    assert "224" not in output
    assert ("clip the window" in output) == (clipped is not None)
    if clipped is not None:
        assert f"warning: frames of 32 pixels clip the window of 4x4x4 to {clipped}, where" in output


@pytest.mark.parametrize("side", [8, 16, 24, 32, 64])
@pytest.mark.parametrize("window", [(2, 2, 2), (4, 4, 4), (8, 2, 3)])
def test_windows_are_biased_otherwise_where_the_tokens_differ(side, window):
    published = replace(tiny(vocabulary_size=9).own_video, window=window, clipped_window_bias="published")
    exact = replace(published, clipped_window_bias="exact")
    torch.manual_seed(0)
    encoders = [VideoEncoder(config).eval() for config in (published, exact)]
    for value in encoders[0].parameters():
        torch.nn.init.normal_(value)
    encoders[1].load_state_dict(encoders[0].state_dict())
    clip = torch.randn(1, 4, side, side, 3)
    with torch.inference_mode():
        theirs, ours = (encoder(clip, None) for encoder in encoders)
    assert torch.equal(theirs, ours) == (not otherwise_biased(exact, 4, side))


def foreign_files(folder, ours):
    """By name, files that no export wrote: of other forms, and of the authors' form without our record."""
    whole = torch.load(ours, weights_only=True)
    save_file({"w": torch.zeros(2)}, folder / "model.safetensors")
    (folder / "keep.txt").write_text("precious")
    (folder / "empty.pth").touch()
    torch.save({"meta": {"epoch": 3}, "state_dict": whole["state_dict"]}, folder / "foreign.pth")
    torch.save({**whole, "optimizer": {}}, folder / "resumed.pth")
    torch.save({"meta": ["clover_config"], "state_dict": {}}, folder / "odd.pth")
    torch.save([torch.zeros(2)], folder / "list.pth")
    return ["model.safetensors", "keep.txt", "empty.pth", "foreign.pth", "resumed.pth", "odd.pth", "list.pth"]


def test_only_a_file_that_an_export_wrote_is_replaced(tmp_path, capsys):
    made_checkpoint(tmp_path, "pre-training")
    export = ["export", tmp_path / "checkpoint", "--to", "official"]
    assert run(*export, tmp_path / "ours.pth") == 0
    for name in foreign_files(tmp_path, tmp_path / "ours.pth"):
        before = (tmp_path / name).read_bytes()
        capsys.readouterr()
        assert run(*export, tmp_path / name, "--overwrite") == 2
        errors = capsys.readouterr().err
        assert f"{name} is no earlier export for the authors' code, and replacing it would lose it" in errors
        assert errors.count("\n") == 1
        assert (tmp_path / name).read_bytes() == before
    assert run(*export, tmp_path / "ours.pth", "--overwrite") == 0


def test_the_video_encoder_alone_of_an_export_is_as_it_was_too(tmp_path, capsys):
    pixels = PixelConfig(mean=(100.0, 110.0, 120.0))
    clover = made_checkpoint(tmp_path, "pre-training", pixels=pixels)
    place, out = tmp_path / "official.pth", tmp_path / "encoders"
    assert run("export", tmp_path / "checkpoint", "--to", "official", place) == 0
    assert run("import", "--video", place, "--out", out) == 0
    assert "channels: red first" in capsys.readouterr().out
    config = Encoders.load(out).config
    assert (config.video, config.pixels) == (clover.config.model.video, pixels)
    asked = ["--window", "4", "4", "4", "--position-bias", "published", "--channel-order", "bgr", "--overwrite"]
    assert run("import", "--video", place, "--out", out, *asked) == 0
    config = Encoders.load(out).config
    assert config.pixels == replace(pixels, channel_order="bgr")
    assert config.video == replace(clover.config.model.own_video, window=(4, 4, 4), clipped_window_bias="published")
    whole = torch.load(place, weights_only=True)
    torch.save({"state_dict": whole["state_dict"]}, place)
    assert run("import", "--video", place, "--out", out, "--overwrite") == 0
    config = Encoders.load(out).config
    assert (config.video.clipped_window_bias, config.pixels.channel_order) == ("published", "bgr")
    whole["meta"]["clover_config"] = whole["meta"]["clover_config"].replace('"depths": [', '"depths": [1, ')
    torch.save(whole, place)
    assert run("import", "--video", place, "--out", tmp_path / "no") == 2
    assert not (tmp_path / "no").exists()


def test_of_a_checkpoint_with_two_jobs_it_is_said_which_is_lost_and_that_is_so(tmp_path, capsys):
    clover = made_checkpoint(tmp_path, "open-answers")
    back = export_and_import(tmp_path)
    output = capsys.readouterr().out
    lost = "video projection, text projection"
    assert re.search(rf"warning: retrieval is lost in this class: {lost}; --task retrieval writes those$", output, re.M)
    assert "the answers are lost" not in output
    texts = ["a red ball moves left"]
    assert not torch.equal(clover.encode_text(texts), back.encode_text(texts))
    place, words = tmp_path / "half.pth", ["--tokenizer", tmp_path / "words"]
    assert run("export", tmp_path / "checkpoint", "--to", "official", place, "--task", "retrieval") == 0
    output = capsys.readouterr().out
    assert "warning: the answers are lost in this class: answer head; --task open-answers writes it" in output
    assert "retrieval is lost" not in output
    assert run("import", "--clover", place, *words, "--out", tmp_path / "half") == 0
    half = Clover.from_pretrained(tmp_path / "half")
    assert torch.equal(clover.encode_text(texts), half.encode_text(texts))
    assert half.config.answers == ()


@settings(max_examples=50)
@given(st.data())
def test_any_key_taken_away_or_of_another_shape_is_one_line(data):
    official = STATES[data.draw(st.sampled_from(sorted(STATES)))]
    name = data.draw(st.sampled_from(sorted(official.state.keys() - official.filled.keys())))
    state = dict(official.state)
    value = state.pop(name)
    if data.draw(st.booleans()):
        state[name] = data.draw(st.sampled_from([value.flatten()[:-1], value[None], value.sum()]))
    with pytest.raises(CheckpointError, match="file") as error:
        found = import_official(state, source="file", num_heads=2)
        with torch.device("meta"):
            network = CloverModel(found.config)
        check_fit(network, found.state, source="file", may_lack=found.may_lack, named=official_names)
    told = str(error.value)
    assert name in told or "Swin encoder that is known" in told, told


STATES = {
    task: export_official(new_model(replace(tiny(vocabulary_size=9), heads=heads), seed=0), task)
    for task, (heads, _) in HEADS.items()
}
