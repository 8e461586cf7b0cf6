"""What config.json beside a Swin of the Hub says of it, and its weights do not."""

import json
from dataclasses import replace

import pytest
import torch
from plain_swin import made_state
from transformers import SwinConfig, SwinModel

from clover.cli import main
from clover.experiment.imported import Encoders
from clover.modeling.initialise import initialise
from clover.modeling.swin_import import import_video
from clover.modeling.video_swin import VideoEncoder
from clover.modeling.weight_files import read_weights
from clover.modeling.weights import load_strictly

SIZES = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}


def saved(folder, **settings):
    """A Swin by `transformers`, of weights that are far apart."""
    torch.manual_seed(0)
    model = SwinModel(SwinConfig(**SIZES, **settings)).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def difference(model, config, state):
    """Between the library's tokens of an image and those of a still film, as a share of the largest."""
    encoder = VideoEncoder(config).eval()
    initialise(encoder, seed=0)
    bare = {name.removeprefix("video_encoder."): value for name, value in state.items()}
    load_strictly(encoder, bare, source="imported", may_lack="mask_token")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    theirs = model(images).last_hidden_state.view(2, 8, 8, 16)
    film = images.permute(0, 2, 3, 1)[:, None].expand(-1, 16, -1, -1, -1)
    return (encoder(film)[:, 0] - theirs).abs().max().item() / theirs.abs().max().item()


def test_a_folder_as_it_is_published_gives_the_librarys_tokens(tmp_path):
    model = saved(tmp_path / "swin", drop_path_rate=0.2)
    assert json.loads((tmp_path / "swin" / "config.json").read_text())["layer_norm_eps"] == 1e-5
    assert main(["import", "--video", str(tmp_path / "swin"), "--out", str(tmp_path / "init")]) == 0
    found = Encoders.load(tmp_path / "init")
    assert found.config.video.norm_epsilon == 1e-5
    assert difference(model, found.config.video, found.state) < 1e-4


@pytest.mark.parametrize(
    ("setting", "value", "what"),
    [
        ("layer_norm_eps", 1e-2, "another epsilon in some of its layer norms; Swin with layer_norm_eps 1e-05"),
        ("hidden_act", "relu", "another activation; Swin with hidden_act 'gelu'"),
        ("model_type", "donut-swin", "another architecture; Swin with model_type 'swin'"),
        ("use_absolute_embeddings", True, "positions that are added to the patches; Swin with use_absolute_embeddings"),
        ("qkv_bias", False, "attention without biases; Swin with qkv_bias True"),
    ],
)
def test_what_is_computed_otherwise_is_refused_by_name(setting, value, what, tmp_path, capsys):
    folder = tmp_path / "swin"
    saved(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {setting: value}))
    for place in (folder, folder / "model.safetensors"):
        capsys.readouterr()
        assert main(["import", "--video", str(place), "--out", str(tmp_path / "init")]) == 2
        errors = capsys.readouterr().err
        assert f"{path} says {setting} {value!r}, {what}" in errors
        assert errors.endswith(f"is imported, others a pre-training takes as they are: --video-encoder hf:{folder}\n")
        assert errors.count("\n") == 1
        assert not (tmp_path / "init").exists()


def test_one_epsilon_for_all_layer_norms_is_not_what_the_library_does(tmp_path):
    """Why another one is refused, not taken over: only some of the library's norms follow it."""
    model = saved(tmp_path, layer_norm_eps=1e-2)
    found = import_video(read_weights(tmp_path).state, source="swin")
    for epsilon in (1e-5, 1e-2):
        assert difference(model, replace(found.config, norm_epsilon=epsilon), found.state) > 1e-3


def test_a_file_without_a_config_is_taken_and_a_broken_config_is_not(tmp_path, capsys):
    saved(tmp_path / "swin")
    (tmp_path / "swin" / "config.json").unlink()
    assert main(["import", "--video", str(tmp_path / "swin"), "--out", str(tmp_path / "init")]) == 0
    (tmp_path / "swin" / "config.json").write_text("[]")
    assert main(["import", "--video", str(tmp_path / "swin"), "--out", str(tmp_path / "other")]) == 2
    assert "config.json is not a configuration of a model: it is no JSON object" in capsys.readouterr().err


def test_a_config_beside_weights_of_another_publisher_is_not_theirs(tmp_path):
    torch.save(made_state(), tmp_path / "swin3d.pth")
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_act": "relu"}')
    assert main(["import", "--video", str(tmp_path / "swin3d.pth"), "--out", str(tmp_path / "init")]) == 0
