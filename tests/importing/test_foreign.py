"""Well-known models that are given for another: named, with what takes them."""

import json

import pytest
import torch
from plain_swin import made_state
from safetensors.torch import save_file

from clover.errors import CheckpointError
from clover.experiment.importing import VideoOptions, import_encoders
from clover.modeling.borrowed_shape import describe_video
from clover.modeling.huggingface import architecture

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
IMAGES = {**SMALL, "image_size": 32, "patch_size": 16}
FRAMES = {**IMAGES, "num_frames": 2}
WORDS = {**SMALL, "vocab_size": 40}
STAGES = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
VIDEO, TEXT = "--video-encoder hf:FOLDER", "--text-encoder hf:FOLDER"
MODELS = [
    ("Swinv2", "Model", STAGES, "Swin of version 2", VIDEO),
    ("Swinv2", "ForImageClassification", STAGES, "Swin of version 2", VIDEO),
    ("ViT", "Model", IMAGES, "a ViT of images", VIDEO),
    ("ViT", "ForImageClassification", IMAGES, "a ViT of images", VIDEO),
    ("Dinov2", "Model", IMAGES, "a ViT of images", VIDEO),
    ("VideoMAE", "Model", FRAMES, "a ViT of videos", VIDEO),
    ("VideoMAE", "ForVideoClassification", FRAMES, "VideoMAE", VIDEO),
    ("Vivit", "Model", FRAMES | {"tubelet_size": [2, 16, 16]}, "a ViT of videos", VIDEO),
    ("Timesformer", "Model", FRAMES, "TimeSformer", VIDEO),
    ("CLIPVision", "Model", IMAGES, "CLIP or SigLIP", VIDEO),
    ("SiglipVision", "Model", IMAGES, "CLIP or SigLIP", VIDEO),
    ("Roberta", "ForMaskedLM", WORDS, "RoBERTa", TEXT),
    ("DistilBert", "Model", {"vocab_size": 40, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}, "Dis", TEXT),
    ("MPNet", "Model", WORDS, "MPNet", TEXT),
    ("MPNet", "ForMaskedLM", WORDS, "MPNet", TEXT),
    ("Albert", "Model", WORDS | {"embedding_size": 8}, "ALBERT", TEXT),
    ("Electra", "Model", WORDS | {"embedding_size": 8}, "ELECTRA", TEXT),
    ("Bert", "Model", WORDS, "BERT", "give it with --text"),
]


@pytest.mark.parametrize(("kind", "task", "sizes", "name", "remedy"), MODELS, ids=[f"{m[0]}{m[1]}" for m in MODELS])
def test_a_wrong_model_is_named_with_what_takes_it(kind, task, sizes, name, remedy, tmp_path):
    import transformers

    model = getattr(transformers, f"{kind}{task}")(getattr(transformers, f"{kind}Config")(**sizes))
    torch.save(model.state_dict(), tmp_path / "in memory.bin")
    model.save_pretrained(tmp_path / "saved")
    for place in (tmp_path / "in memory.bin", tmp_path / "saved"):
        for option, wanted in (("--video", "Swin of version 1 or Video Swin"), ("--text", "BERT")):
            if option == "--text" and name == "BERT":
                continue
            given = (str(place), "") if option == "--video" else ("", str(place))
            with pytest.raises(CheckpointError, match=r"looks like ") as error:
                import_encoders(*given, options=VideoOptions())
            told = str(error.value)
            assert f"looks like {name}" in told
            assert f"and {option} takes over {wanted}; " in told
            assert remedy in told
            assert "\n" not in told


@pytest.mark.parametrize(
    "names",
    [
        ("layers.0.blocks.0.attn.logit_scale", "layers.0.blocks.0.attn.cpb_mlp.0.weight"),
        ("layers.0.blocks.0.attn.cpb_mlp.2.weight",),
    ],
    ids=["Microsoft", "a scale that was left out"],
)
def test_swin_of_version_2_is_not_taken_for_version_1(names, tmp_path):
    """Microsoft's release and timm name all else as version 1 does."""
    state = {
        "patch_embed.proj.weight": torch.zeros(8, 3, 4, 4),
        "layers.0.blocks.0.attn.qkv.weight": torch.zeros(24, 8),
    }
    torch.save({"model": state | {name: torch.zeros(1) for name in names}}, tmp_path / "swinv2.pth")
    with pytest.raises(CheckpointError, match=r"looks like Swin of version 2 \(by its weight layers\.0"):
        import_encoders(str(tmp_path / "swinv2.pth"), "", options=VideoOptions())


def test_what_is_advised_for_swin_of_version_2_is_so():
    from transformers import Swinv2Config

    config = describe_video(architecture(Swinv2Config(**STAGES)), num_frames=2, frame_size=32, source="x")
    assert (config.grid, config.output_width) == ((2, 8, 8), 16)


@pytest.mark.parametrize("option", ["video", "text"])
def test_a_whole_clip_goes_with_the_half_that_is_wanted(option, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    towers = {"vision_config": IMAGES, "text_config": WORDS | {"bos_token_id": 1, "eos_token_id": 2}}
    CLIPModel(CLIPConfig(**towers, projection_dim=16)).save_pretrained(tmp_path)
    given = (str(tmp_path), "") if option == "video" else ("", str(tmp_path))
    with pytest.raises(CheckpointError, match=rf"looks like CLIP or SigLIP .*--{option}-encoder hf:FOLDER"):
        import_encoders(*given, options=VideoOptions())


def test_a_swin_that_is_given_for_words_goes_with_the_other_option(tmp_path):
    torch.save(made_state(), tmp_path / "swin3d.pth")
    with pytest.raises(
        CheckpointError, match=r"swin3d\.pth is a Swin, and --text takes over BERT; give it with --video"
    ):
        import_encoders("", str(tmp_path / "swin3d.pth"), options=VideoOptions())


def test_a_text_model_that_only_its_config_tells_is_advised_too(bert, tmp_path):
    from clover.modeling.weight_files import read_weights

    save_file(read_weights(bert[1]).state, tmp_path / "model.safetensors")
    config = json.loads((bert[1] / "config.json").read_text()) | {"model_type": "roberta"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"says model_type 'roberta', .* --text-encoder hf:\S+$"):
        import_encoders("", str(tmp_path), options=VideoOptions())
