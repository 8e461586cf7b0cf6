"""Image and video models of transformers as video encoders: the same numbers, whole masks, whole checkpoints."""

import json

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from made_encoders import IMAGE_MODELS, VIDEO_MODELS, save_vision, tokenizer, vision_model

from clover.checkpoints import CloverConfig, InputConfig
from clover.config import from_plain, to_plain
from clover.data.text import Tokenizer
from clover.errors import CheckpointError, ConfigError
from clover.modeling.borrowed_shape import describe_video, unseen_pixels, vision_part
from clover.modeling.borrowed_video import BorrowedVideoEncoder, TemporalMixing
from clover.modeling.huggingface import architecture, build, config_of, read_config
from clover.modeling.huggingface_weights import read_weights
from clover.modeling.initialise import initialise, new_model
from clover.modeling.model import ModelConfig
from clover.modeling.sizes import around, tiny
from clover.modeling.weights import load_strictly
from clover.pipeline import Clover

_FRAMES = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return {name: save_vision(name, place / name) for name in (*IMAGE_MODELS, *VIDEO_MODELS)}


def described(folder, *, num_frames=_FRAMES, frame_size=32):
    plain = architecture(config_of(vision_part(read_config(folder))))
    return describe_video(plain, num_frames=num_frames, frame_size=frame_size, source=str(folder))


def encoder_of(folder, **shape):
    config = described(folder, **shape)
    encoder = BorrowedVideoEncoder(config).eval()
    initialise(encoder, 0)
    load_strictly(encoder.borrowed.model, read_weights(folder, config.architecture), source=str(folder))
    return encoder


def clips(encoder, num_clips=2, num_frames=_FRAMES, seed=0):
    size = encoder.config.frame_size
    return torch.randn(num_clips, num_frames, size, size, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "size", "seen"), [("dinov2", 37, (32, 40)), ("dinov2", 32, ()), ("swin", 38, ())])
@torch.no_grad()
def test_a_rim_that_no_patch_covers_is_told_and_changes_nothing(folders, name, size, seen):
    encoder = encoder_of(folders[name], frame_size=size)
    told = unseen_pixels(encoder.config)
    assert bool(told) == bool(seen)
    if seen:
        assert f"patches of 8 pixels do not divide frames of {size}: the 5 at the right and the 5 at the bottom" in told
        assert told.endswith(f"--inputs.frames.size {seen[0]} or {seen[1]} fits")
    clip = clips(encoder)
    rim = clip.clone()
    rim[:, :, -1], rim[:, :, :, -1] = 9.0, 9.0
    assert torch.equal(encoder(clip), encoder(rim)) == bool(seen)


@pytest.mark.parametrize("name", IMAGE_MODELS)
@torch.no_grad()
def test_an_image_model_sees_every_frame_as_by_itself(folders, name):
    encoder, theirs = encoder_of(folders[name]), vision_model(name)
    clip = clips(encoder)
    tokens = encoder(clip)
    assert tokens.shape == (2, *encoder.config.grid, encoder.config.output_width)
    for frame in range(_FRAMES):
        seen = theirs(pixel_values=rearrange(clip[:, frame], "b h w c -> b c h w")).last_hidden_state
        seen = rearrange(seen, "b d h w -> b (h w) d") if seen.ndim == 4 else seen
        assert torch.allclose(tokens[:, frame].flatten(1, 2), seen[:, -tokens[0, 0, :, :, 0].numel() :], atol=1e-5)


def whole_pair(name):
    """A model of images and texts whose image half `made_encoders` makes alone."""
    import transformers as t

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    parts = {
        "text_config": {**small, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2},
        "vision_config": {**small, "image_size": 32, "patch_size": 8},
        "projection_dim": 16,
    }
    if name == "metaclip_2":
        return t.MetaClip2Model(t.MetaClip2Config(**parts))
    return t.BlipForImageTextRetrieval(t.BlipConfig(**parts))


@pytest.mark.parametrize("name", ["metaclip_2", "blip"])
def test_the_image_half_of_a_pair_that_the_library_does_not_list_is_read(name, tmp_path):
    whole = whole_pair(name)
    whole.save_pretrained(tmp_path)
    encoder = encoder_of(tmp_path)
    theirs, own = whole.vision_model.state_dict(), encoder.borrowed.model.state_dict()
    assert own.keys() == {key.removeprefix("vision_model.") for key in theirs}
    assert all(torch.equal(own[key.removeprefix("vision_model.")], value) for key, value in theirs.items())


@pytest.mark.parametrize(("size", "cells"), [(32, 4), (60, 7), (64, 8), (9, 1)])
@torch.no_grad()
def test_a_merged_grid_behind_a_token_of_the_whole_image(folders, size, cells):
    """DINOv3's ConvNeXt; where its merging leaves out an odd row, too."""
    encoder, theirs = encoder_of(folders["dinov3_convnext"], frame_size=size), vision_model("dinov3_convnext")
    assert (encoder.config.grid, encoder.config.num_extra_tokens) == ((_FRAMES, cells, cells), 1)
    clip = clips(encoder)
    seen = theirs(pixel_values=rearrange(clip, "b t h w c -> (b t) c h w")).last_hidden_state[:, 1:]
    torch.testing.assert_close(encoder(clip).flatten(2, 3).flatten(0, 1), seen)


@pytest.mark.parametrize("name", VIDEO_MODELS)
@torch.no_grad()
def test_a_video_model_is_taken_as_it_is(folders, name):
    encoder, theirs = encoder_of(folders[name]), vision_model(name)
    clip = clips(encoder)
    tokens, (t, h, w) = encoder(clip), encoder.config.grid
    pixels = rearrange(clip, "b t h w c -> b t c h w")
    seen = theirs(**{theirs.main_input_name: pixels}).last_hidden_state[:, -t * h * w :]
    order = "(h w t)" if name == "timesformer" else "(t h w)"
    assert torch.allclose(tokens, rearrange(seen, f"b {order} d -> b t h w d", t=t, h=h, w=w), atol=1e-5)


@torch.no_grad()
def test_tokens_of_timesformer_lie_where_their_pixels_are(folders):
    """The library does not say in which order they come: a frame and a cell that change most tell."""
    encoder = encoder_of(folders["timesformer"])
    clip = clips(encoder)
    other = clip.clone()
    other[:, 2, 8:16, 16:24] += 3.0
    changed = (encoder(other) - encoder(clip)).norm(dim=-1)[0]
    assert changed.argmax().item() == (2 * 4 + 1) * 4 + 2


@pytest.mark.parametrize("name", [*IMAGE_MODELS, *VIDEO_MODELS])
@torch.no_grad()
def test_nothing_under_the_mask_is_seen(folders, name):
    encoder = encoder_of(folders[name])
    clip, (_, h, w) = clips(encoder), encoder.config.grid
    is_masked = torch.zeros(2, h, w, dtype=torch.bool)
    is_masked[0, 1, 2] = is_masked[0, 1, 3] = True
    is_hidden = F.interpolate(is_masked[:, None].float(), size=clip.shape[2:4])[:, 0] > 0
    other = torch.where(is_hidden[:, None, :, :, None], clips(encoder, seed=1), clip)
    masked, complete = encoder(clip, is_masked), encoder(clip)
    assert torch.equal(encoder(other, is_masked), masked)
    assert not torch.allclose(encoder(other)[0], complete[0], atol=1e-3)
    assert not torch.allclose(masked[0], complete[0], atol=1e-3)
    assert torch.equal(masked[1], complete[1])
    assert torch.equal(encoder(clip), complete)  # the mask does not stay
    both = encoder.encode_kinds(clip, is_masked, ("masked", "complete"))
    assert torch.allclose(both, torch.cat([masked, complete]), atol=1e-5)


@pytest.mark.parametrize("name", [*IMAGE_MODELS, *VIDEO_MODELS])
@torch.no_grad()
def test_a_checkpoint_is_complete_in_itself(folders, name, tmp_path):
    """Also tables that are in no file come back: the library leaves garbage in them when it loads a model."""
    config = described(folders[name])
    words = Tokenizer(tokenizer("word_pieces"))
    model = around(tiny(vocabulary_size=words.vocabulary_size), video=config)
    network = new_model(model, seed=3).eval()
    load_strictly(network.video_encoder.borrowed.model, read_weights(folders[name], config.architecture), source=name)
    inputs = InputConfig(num_frames=_FRAMES)
    Clover(network, words, CloverConfig(model=model, inputs=inputs)).save_pretrained(tmp_path / "checkpoint")
    back = Clover.from_pretrained(tmp_path / "checkpoint")
    clip = clips(network.video_encoder)
    is_masked = torch.ones(2, 2, 2, dtype=torch.bool).triu()
    assert torch.equal(back.network.video_tokens(clip, is_masked), network.video_tokens(clip, is_masked))
    assert back.config.model == model
    assert "/" not in json.dumps(to_plain(back.config.model.video.architecture))


@pytest.mark.parametrize(("name", "size"), [("clip", 48), ("dinov2", 64), ("swin", 64), ("vjepa2", 64)])
@torch.no_grad()
def test_models_that_can_take_other_sizes_do(folders, name, size):
    encoder = encoder_of(folders[name], frame_size=size)
    assert encoder.config.frame_size == size
    assert encoder.config.grid[1:] == (size // 8, size // 8)
    assert encoder(clips(encoder)).shape[1:4] == encoder.config.grid


@pytest.mark.parametrize("name", ["videomae", "vivit"])
@torch.no_grad()
def test_models_that_cannot_keep_their_own_size_and_frames(folders, name):
    encoder = encoder_of(folders[name], frame_size=64, num_frames=8)
    config = encoder.config
    assert (config.frame_size, config.num_frames, config.grid) == (32, 4, (2, 4, 4))
    image = clips(encoder, num_frames=1)
    assert torch.equal(encoder(image), encoder(image.repeat(1, 4, 1, 1, 1)))
    long = clips(encoder, num_frames=8)
    assert torch.equal(encoder(long), encoder(long[:, 1::2]))
    with pytest.raises(ConfigError, match=r"frames of 32 x 32 pixels, not of 40 x 40; use --inputs.frames.size 32"):
        encoder(torch.zeros(1, 4, 40, 40, 3))


@given(num_frames=st.integers(1, 9), width=st.sampled_from([8, 64, 128]), seed=st.integers(0, 99))
@settings(max_examples=20)
@torch.no_grad()
def test_fresh_mixing_changes_nothing_and_trained_mixing_stays_in_its_cell(num_frames, width, seed):
    mixing = TemporalMixing(width, 4)
    initialise(mixing, seed)
    tokens = torch.randn(2, num_frames, 2, 3, width, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(mixing(tokens), tokens)
    torch.manual_seed(seed)
    torch.nn.init.normal_(mixing.attention.output.weight)
    other = tokens.clone()
    other[:, -1, 1, 2] += torch.randn(2, width) * 3
    changed = (mixing(other) - mixing(tokens)).abs().amax(dim=-1) > 1e-7
    assert changed[:, :, 1, 2].all()
    changed[:, :, 1, 2] = False
    assert not changed.any()


def test_gradients_reach_mask_token_mixing_and_model(folders):
    encoder = encoder_of(folders["clip"])
    torch.nn.init.normal_(encoder.mixing.contract.weight)
    encoder(clips(encoder), torch.ones(2, 4, 4, dtype=torch.bool).triu()).square().sum().backward()
    without = {name for name, weight in encoder.named_parameters() if weight.grad is None}
    assert without == {f"borrowed.model.post_layernorm.{kind}" for kind in ("weight", "bias")}


def test_a_model_of_which_nothing_learns_runs_without_dropout(folders):
    encoder = encoder_of(folders["vit"]).train()
    assert encoder.borrowed.model.training
    encoder.borrowed.requires_grad_(False)
    encoder.train()
    assert encoder.mixing.training
    assert not encoder.borrowed.model.training


def test_configs_of_both_kinds_come_back_from_json(folders):
    own = tiny(vocabulary_size=9)
    other = around(own, video=described(folders["swin"]))
    for model in (own, other):
        assert from_plain(ModelConfig, json.loads(json.dumps(to_plain(model)))) == model
    with pytest.raises(ConfigError, match="has no field 'depht'"):
        from_plain(ModelConfig, to_plain(own) | {"video": {"depht": [1]}})


def test_models_that_cannot_be_masked_or_see_nothing_are_refused(tmp_path):
    from transformers import ResNetConfig, Siglip2VisionConfig, ViTMAEConfig, XCLIPVisionConfig

    resnet = architecture(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))
    with pytest.raises(CheckpointError, match=r"^here: the patches of ResNetModel overlap"):
        describe_video(resnet, num_frames=4, frame_size=32, source="here")
    flexible = architecture(Siglip2VisionConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(CheckpointError, match=r"^here: .* has no convolution that makes patches"):
        describe_video(flexible, num_frames=4, frame_size=32, source="here")
    with pytest.raises(
        CheckpointError, match=r"lists no encoder of model_type 'xclip_vision_model' \(AutoModel\), nor"
    ):
        describe_video(architecture(XCLIPVisionConfig()), num_frames=4, frame_size=32, source="here")
    # it drops most patches: five tokens, which are no [CLS] and a merged grid
    masked = ViTMAEConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
    with pytest.raises(CheckpointError, match=r"^here: 5 tokens come out of 4 x 4 patches; they lie on no grid$"):
        describe_video(architecture(masked), num_frames=4, frame_size=32, source="here")
    with pytest.raises(CheckpointError, match="model_type 'nonsense' is unknown to transformers"):
        build({"model_type": "nonsense"})
