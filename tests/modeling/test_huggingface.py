"""Folders of transformers models: what is read from them, and that what is wrong is one clear line and runs nothing."""

import json
import logging
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
import transformers
from made_encoders import save_text, save_vision, vision_model
from safetensors.torch import load_file, save_file

from clover.errors import CheckpointError, CloverError, ConfigError
from clover.modeling.borrowed_shape import describe_video, vision_part
from clover.modeling.hub_folders import find_folder
from clover.modeling.huggingface import Borrowed, architecture, build, checkpointing, config_of, read_config
from clover.modeling.huggingface_weights import read_weights
from clover.modeling.pixels import normalise
from clover.modeling.preprocessor import read_pixels


@pytest.fixture
def vit(tmp_path):
    return save_vision("vit", tmp_path / "vit")


def weights_of(folder):
    plain = vision_part(read_config(folder), source=str(folder))
    return read_weights(folder, architecture(config_of(plain, source=str(folder))))


def test_the_image_half_of_a_model_of_images_and_texts_is_taken(tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    eye = {**sizes, "image_size": 32, "patch_size": 8}
    for config, cls in (
        (transformers.CLIPConfig(vision_config=eye, text_config=sizes, projection_dim=8), transformers.CLIPModel),
        (transformers.SiglipConfig(vision_config=eye, text_config=sizes), transformers.SiglipModel),
    ):
        whole = cls(config)
        folder = tmp_path / config.model_type
        whole.save_pretrained(folder)
        found = weights_of(folder)
        theirs = whole.vision_model.state_dict()
        assert found
        assert all(torch.equal(value, theirs[name]) for name, value in found.items())
        assert not [name for name in found if name.startswith("head.")]


def test_the_image_half_is_found_where_its_config_says_no_more_than_what_differs():
    plain = {"model_type": "clip", "vision_config": {"hidden_size": 96}}
    found = vision_part(plain)
    assert (found["model_type"], found["hidden_size"]) == ("clip_vision_model", 96)


def test_weights_under_the_prefix_of_a_task_are_found(tmp_path):
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = transformers.BertForMaskedLM(config)
    model.save_pretrained(tmp_path)
    found, theirs = weights_of(tmp_path), model.bert.state_dict()
    assert set(found) == set(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in found.items())


def test_old_files_are_read_as_tensors(vit):
    state = vision_model("vit").state_dict()
    (vit / "model.safetensors").unlink()
    torch.save(state, vit / "pytorch_model.bin")
    found = weights_of(vit)
    assert all(torch.equal(value, state[name]) for name, value in found.items())


def test_a_config_does_not_choose_the_file_of_weights(vit):
    expected = weights_of(vit)
    _with_config(transformers_weights="other.bin")(vit, None)
    torch.save({"layernorm.bias": torch.zeros(32)}, vit / "other.bin")
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(vit).items())


class _Trap:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def _no_config(folder, _):
    (folder / "config.json").unlink()


def _half_a_config(folder, _):
    path = folder / "config.json"
    path.write_text(path.read_text()[:50])


def _wrong_value(folder, _):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": "wide"}))


def _no_model_type(folder, _):
    (folder / "config.json").write_text("[1, 2]")


def _own_code(folder, _):
    path = folder / "config.json"
    (folder / "evil.py").write_text("raise SystemExit('run')")
    plain = json.loads(path.read_text()) | {"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil"}}
    path.write_text(json.dumps(plain))


def _no_weights(folder, _):
    (folder / "model.safetensors").unlink()


def _truncated(folder, _):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _others_weights(folder, _):
    transformers.ConvNextModel(
        transformers.ConvNextConfig(hidden_sizes=[8, 8], depths=[1, 1], num_stages=2)
    ).save_pretrained(folder / "other")
    shutil.copy(folder / "other" / "model.safetensors", folder / "model.safetensors")


def _another_width(folder, _):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 48}))


def _malicious(folder, trap):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Trap(trap)}))


def _malicious_archive(folder, trap):
    (folder / "model.safetensors").unlink()
    torch.save({"weight": _Trap(trap)}, folder / "pytorch_model.bin")


def _packed_archive(folder, trap):
    """A few kilobytes that become ten megabytes."""
    _malicious_archive(folder, trap)
    with zipfile.ZipFile(folder / "pytorch_model.bin") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content + b"\0" * 10_000_000)


def _packed_shard(folder, trap):
    _packed_archive(folder, trap)
    shutil.move(folder / "pytorch_model.bin", folder / "model-1.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.bin"}}))


def _with_config(**changes):
    def spoil(folder, _):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def _nested(folder, _):
    (folder / "config.json").write_text("[" * 100_000)


def _shards_elsewhere(folder, _):
    (folder.parent / "elsewhere").mkdir()
    shutil.move(folder / "model.safetensors", folder.parent / "elsewhere" / "x.safetensors")
    names = dict.fromkeys(vision_model("vit").state_dict(), "../elsewhere/x.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def _no_shard(folder, _):
    shutil.move(folder / "model.safetensors", folder / "model-1.safetensors")
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def _no_index(folder, _):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("[1]")


def _no_number(folder, _):
    state = load_file(folder / "model.safetensors")
    state["layernorm.bias"][0] = float("nan")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _unknown_weight(folder, _):
    state = load_file(folder / "model.safetensors") | {"encoder.layer.0.attention.distances.weight": torch.ones(3)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_config, "holds no config.json; give the folder of a transformers model"),
        (_half_a_config, "config.json is not readable JSON"),
        (_wrong_value, "this config of a vit"),
        (_no_model_type, "names no model_type"),
        (_own_code, "model_type 'evil' is unknown to transformers; code of others is never run"),
        (_no_weights, "holds no weights; it needs one of model.safetensors"),
        (_truncated, "its weights cannot be read"),
        (_others_weights, "its weights lack"),
        (_another_width, "its weights have another shape at"),
        (_malicious, "pytorch_model.bin is not a file of weights that PyTorch or safetensors wrote"),
        (_malicious_archive, "pytorch_model.bin holds more than weights: loading it would run"),
        (_packed_archive, "pytorch_model.bin is a compressed archive, not weights that PyTorch wrote"),
        (_packed_shard, "model-1.bin is a compressed archive, not weights that PyTorch wrote"),
        (_unknown_weight, "has no place for layers.0.attention.distances.weight in its vit"),
        (_with_config(quantization_config={"quant_method": "gptq"}), "the weights are quantised"),
        (_with_config(model_type=["vit"]), "names no model_type"),
        (_nested, "config.json is not readable JSON"),
        (_with_config(num_hidden_layers=10_000_000), "num_hidden_layers is 10000000; it must be from 0 to 1000"),
        (_with_config(num_hidden_layers=-1), "num_hidden_layers is -1"),
        (_with_config(image_size=-32), "image_size is -32"),
        (_with_config(layer_norm_eps=float("nan")), "layer_norm_eps is nan; it must be a finite number"),
        (_with_config(dropouts={"rates": [0.0, float("inf")]}), "dropouts.rates.1 is inf; it must be a finite number"),
        (_with_config(intermediate_size=10**9), "a model of 130,000,015,584 weights, but the files have"),
        (_with_config(num_hidden_layers=1), "its weights go on with layers.1."),
        (_shards_elsewhere, "names '../elsewhere/x.safetensors', which is not in its folder"),
        (_no_shard, "lacks model-2.safetensors"),
        (_no_index, "lists no files of weights"),
        (_no_number, "layernorm.bias holds numbers that are none"),
    ],
)
def test_a_wrong_folder_is_one_clear_line_and_runs_nothing(vit, tmp_path, spoil, message):
    trap = tmp_path / "trap"
    spoil(vit, trap)
    with pytest.raises(CheckpointError) as caught:
        weights_of(vit)
    assert message in str(caught.value)
    assert str(vit) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not trap.exists()


def test_heads_and_tables_of_older_files_are_left_out(vit):
    own = load_file(vit / "model.safetensors")
    beside = ("classifier.weight", "pooler.other.weight", "embeddings.mask_token", "embeddings.position_ids")
    save_file(own | {name: torch.ones(3) for name in beside}, vit / "model.safetensors", metadata={"format": "pt"})
    assert not set(beside) & set(weights_of(vit))


def test_a_text_model_is_no_video_encoder(tmp_path):
    folder = save_text("bert", tmp_path)
    plain = architecture(config_of(read_config(folder)))
    with pytest.raises(CheckpointError, match="bert takes input_ids; it is no encoder of images or videos"):
        describe_video(plain, num_frames=4, frame_size=32, source=str(folder))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("somewhere", "give hf: and a folder of a transformers model"),
        ("hf:", "give hf: and a folder of a transformers model"),
        ("hf:./nowhere", "nowhere is not a folder; give one that holds a config.json and weights"),
        ("hf:nobody/has-this-model", "of the Hub it is not in the cache"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_at_once(source, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CloverError) as caught:
        find_folder(source, option="--video-encoder")
    assert message in str(caught.value)


def test_a_folder_is_found_and_the_library_is_asked_for(vit, monkeypatch):
    assert find_folder(f"hf:{vit}", option="--video-encoder") == vit
    monkeypatch.setattr("clover.modeling.hub_folders.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'clover-vl\[hf\]'"):
        find_folder(f"hf:{vit}", option="--video-encoder")


@pytest.mark.parametrize(
    ("name", "plain", "mean", "deviation"),
    [
        ("preprocessor_config.json", {"image_mean": [0.5, 0.4, 0.2], "image_std": [0.5, 0.5, 1.0]},
         (127.5, 102.0, 51.0), (127.5, 127.5, 255.0)),
        ("video_preprocessor_config.json", {"image_mean": [1, 2, 3], "image_std": [1, 1, 1], "do_rescale": False},
         (1, 2, 3), (1, 1, 1)),
        ("preprocessor_config.json", {"do_normalize": False}, (0, 0, 0), (255, 255, 255)),
        ("processor_config.json", {"image_processor": {"image_mean": [0, 0, 0], "image_std": [1, 1, 1],
         "rescale_factor": 0.5}}, (0, 0, 0), (2, 2, 2)),
    ],
)  # fmt: skip
def test_pixels_are_normalised_as_the_preprocessor_says(tmp_path, name, plain, mean, deviation):
    (tmp_path / name).write_text(json.dumps(plain))
    rule = read_pixels(tmp_path)
    assert rule.mean == pytest.approx(mean)
    assert rule.deviation == pytest.approx(deviation)


def test_pixels_of_vivit_are_what_its_own_processor_makes_of_them(tmp_path):
    from transformers.models.vivit.image_processing_vivit import VivitImageProcessor

    size = {"height": 8, "width": 8}
    means = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.5]}
    processor = VivitImageProcessor(size={"shortest_edge": 8}, crop_size=size, **means)
    processor.save_pretrained(tmp_path)
    frame = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    theirs = processor([[frame]], return_tensors="pt")["pixel_values"][0, 0].permute(1, 2, 0)
    rule = read_pixels(tmp_path)
    torch.testing.assert_close(normalise(torch.from_numpy(frame)[None, None], rule)[0, 0], theirs, rtol=1e-5, atol=1e-5)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"video_processor_type": "VivitVideoProcessor", "rescale_factor": 1 / 127.5, **means})
    )
    assert read_pixels(tmp_path).mean == pytest.approx(rule.mean)


def test_pixels_that_would_be_divided_by_nothing_are_refused(tmp_path):
    for wrong in ([0.5, 0.0, 0.5], [0.5, float("nan"), 0.5], [0.5, -1.0, 0.5]):
        plain = {"image_mean": [0.5] * 3, "image_std": wrong}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(plain))
        with pytest.raises(CheckpointError, match="does not say how pixels are normalised"):
            read_pixels(tmp_path)


def test_a_preprocessor_that_says_nothing_is_told_from_one_that_is_broken(tmp_path):
    assert read_pixels(tmp_path) is None
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5], "image_std": [0.5]}))
    with pytest.raises(CheckpointError, match="does not say how pixels are normalised"):
        read_pixels(tmp_path)


def test_fresh_weights_are_the_same_every_time_and_leave_random_numbers_alone():
    plain = architecture(vision_model("vit").config)
    torch.manual_seed(5)
    first = build(plain).state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    torch.rand(100)
    assert all(torch.equal(value, first[name]) for name, value in build(plain).state_dict().items())


def test_a_config_is_made_without_the_librarys_remarks():
    """SigLIP's numbers of its special tokens are beyond a small vocabulary, and beyond its own."""
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    plain = architecture(transformers.SiglipConfig(text_config={**small, "vocab_size": 37}, vision_config=small))
    told, logger = [], logging.getLogger("transformers")
    listener = logging.Handler()
    listener.emit = told.append
    logger.addHandler(listener)
    try:
        config_of(plain)
    finally:
        logger.removeHandler(listener)
    assert [record.getMessage() for record in told] == []


def test_layers_come_in_order():
    model = Borrowed(architecture(vision_model("swin").config))
    names = {id(module): name for name, module in model.named_modules()}
    assert [names[id(layer)] for layer in model.layers_in_order()] == [
        "model.encoder.layers.0.blocks.0",
        "model.encoder.layers.1.blocks.0",
    ]


def test_activations_are_computed_again_to_the_same_gradients():
    gradients = []
    for again in (False, True):
        model = build(architecture(vision_model("vit").config)).train()
        if again:
            checkpointing(model)
        model(pixel_values=torch.ones(1, 3, 32, 32)).last_hidden_state.square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters()])
    assert model.is_activation_checkpointing
    for plain, repeated in zip(*gradients, strict=True):
        assert (plain is None) == (repeated is None)
        assert plain is None or torch.allclose(plain, repeated, atol=1e-4, rtol=1e-4)
