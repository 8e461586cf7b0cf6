"""A config.json that says more than the weights beside it hold: refused before a network is made."""

import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clover.checkpoints
from clover.checkpoints import CloverConfig
from clover.config import flat, to_plain
from clover.data.text import Tokenizer
from clover.errors import CheckpointError, ConfigError
from clover.modeling.borrowed_text import BorrowedTextConfig
from clover.modeling.huggingface import config_of
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover

TEXTS = ["a red ball moves left", "what color is the ball?"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    tokenizer = Tokenizer.train(TEXTS, 60)
    heads = HeadConfig(num_answers=3, has_choices=True)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), heads=heads)
    config = CloverConfig(model=model, answers=("red", "blue", "yes"))
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    Clover(new_model(model, seed=0), tokenizer, config).save_pretrained(folder)
    return folder


def changed(checkpoint, place, way, value):
    """A copy of the checkpoint whose config.json says something else, and whose weights are the same."""
    place.mkdir(exist_ok=True)
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copy(checkpoint / name, place)
    plain = json.loads((checkpoint / "config.json").read_text())
    inner = plain
    *names, last = way.split(".")
    for name in names:
        inner = inner[name]
    inner[last] = value
    (place / "config.json").write_text(json.dumps(plain))
    return place


@pytest.fixture
def no_network(monkeypatch):
    """Whoever makes a network in memory, or reads weights, fails."""
    for name in ("CloverModel", "_read_weights"):
        monkeypatch.setattr(clover.checkpoints, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        ("model.embedding_width", 10**9, r"text_projection\.contract\.weight is \[\d+, \d+\], expected \[1000000000, "),
        ("model.projection_width", 48, r"video_projection\.expand\.weight is \[\d+, \d+\], expected \[48, "),
        ("model.text.max_length", 10**12, r"position_embedding\.weight is \[192, \d+\], expected \[1000000000000, "),
        (
            "model.text.transformer.num_layers",
            10**9,
            r"1000000000 layers text_encoder\.transformer\.layers\.\*, it has ",
        ),
        ("model.fusion.transformer.num_layers", 10**9, r"1000000000 layers fusion_encoder\.transformer\.layers\.\*"),
        ("model.video.depths", [10**9, 1], r"1000000000 layers video_encoder\.stages\.0\.\*, it has "),
        ("model.video.window", [10**5, 10**5, 10**5], r"describes no network that can be made|expected \["),
        ("model.heads.num_answers", 10**30, r"describes no network that can be made"),
        ("model.text.transformer.num_heads", 0, r"is not a multiple of 0 heads"),
        ("model.video.depths", [1] * 40, r"depths has 40 stages; give 1 to 16"),
        ("model.fused_dropout", float("nan"), r"config\.json: model\.fused_dropout is nan; it must be a finite number"),
        (
            "model.pixels.mean",
            [1.0, float("inf"), 2.0],
            r"config\.json: model\.pixels\.mean\.1 is inf; it must be a fin",
        ),
    ],
)
def test_a_config_of_something_else_is_refused_before_anything_is_made(
    way, value, message, checkpoint, tmp_path, no_network
):
    with pytest.raises(CheckpointError, match=message):
        Clover.from_pretrained(changed(checkpoint, tmp_path / "c", way, value))


def test_the_first_weights_that_differ_are_named(checkpoint, tmp_path, no_network):
    place = changed(checkpoint, tmp_path / "c", "model.heads.has_choices", False)
    with pytest.raises(
        CheckpointError, match=r"safetensors does not fit this model: unknown choice_head\.\S+; unknown"
    ):
        Clover.from_pretrained(place)
    (place / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is not a readable weights file"):
        Clover.from_pretrained(place)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_no_size_in_a_config_is_believed(checkpoint, tmp_path, data):
    plain = json.loads((checkpoint / "config.json").read_text())["model"]
    sizes = sorted(name for name, value in flat(plain).items() if type(value) is int)
    name = data.draw(st.sampled_from(sizes))
    value = data.draw(st.sampled_from([-1, 0, 7, 10**6, 10**9, 10**12, 10**30]))
    place = changed(checkpoint, tmp_path / "c", f"model.{name}", value)
    try:
        loaded = Clover.from_pretrained(place)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert sum(weight.numel() for weight in loaded.network.parameters()) < 10**6
        assert name.endswith("num_heads") or value == 7


def test_encoders_of_others_are_measured_too(checkpoint, tmp_path, no_network):
    """Their config is the library's, whose sizes nothing here knows."""
    from transformers import BertConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    architecture = json.loads(BertConfig(vocab_size=60, **sizes).to_json_string(use_diff=False))
    architecture |= {"vocab_size": 10**9}
    model = json.loads((checkpoint / "config.json").read_text())["model"]
    width = model["text"]["transformer"]["width"]
    text = BorrowedTextConfig(architecture=architecture, vocabulary_size=60, max_length=20, width=width)
    place = changed(checkpoint, tmp_path / "c", "model.text", to_plain(text))
    with pytest.raises(CheckpointError, match=r"does not fit this model: unknown text_encoder\."):
        Clover.from_pretrained(place)


def test_a_table_of_positions_that_is_in_no_file_is_not_made():
    architecture = {
        "model_type": "videomae",
        "image_size": 10_000,
        "patch_size": 1,
        "num_frames": 16,
        "hidden_size": 32,
    }
    with pytest.raises(CheckpointError, match=r"image_size 10000 in patches of 1, .* take 51,200,000,000 numbers"):
        config_of(architecture, source="config.json")


def test_a_revision_is_of_the_hub(checkpoint):
    with pytest.raises(
        ConfigError, match=r"revision 'v1' is of a model on the Hub, and .*checkpoint is here; leave it"
    ):
        Clover.from_pretrained(checkpoint, revision="v1")
    assert Clover.from_pretrained(checkpoint, revision=None).fingerprint
