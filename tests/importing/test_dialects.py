"""Swin encoders of other programs against what they compute there."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_swin import features, index_table, made_state

from clover.cli import main
from clover.errors import CheckpointError
from clover.experiment.imported import Encoders, EncodersConfig
from clover.modeling.dialects import CONSTANTS, DIALECTS, PATCHES, recognise
from clover.modeling.initialise import initialise
from clover.modeling.swin_import import import_video
from clover.modeling.video_swin import VideoEncoder, VideoEncoderConfig
from clover.modeling.weight_files import read_weights
from clover.modeling.weights import load_strictly, to_official


def encoder_of(found):
    encoder = VideoEncoder(found.config)
    initialise(encoder, seed=0)
    state = {name.removeprefix("video_encoder."): value for name, value in found.state.items()}
    assert load_strictly(encoder, state, source="test", may_lack="mask_token") == ["mask_token"]
    return encoder.eval()


def clip_of(*shape, seed=1):
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "shape",
    [(4, 12, 12), (10, 12, 18), (8, 14, 10), (2, 4, 4)],
    ids=["whole windows", "shifted in time too", "padded", "clipped by height and width, as published"],
)
@torch.no_grad()
def test_torchvision_gives_what_a_plain_swin_gives(shape):
    state = made_state()
    found = import_video(state, source="swin3d.pth")
    assert found.dialect == "torchvision swin3d"
    config = found.config
    assert (config.width, config.depths, config.num_heads) == (6, (2, 1), (1, 2))
    assert (config.window, config.patch_size) == ((2, 3, 3), (2, 2, 2))
    clip = clip_of(*shape)
    theirs = features(state, clip, config.window)
    ours = encoder_of(found)(clip[None])[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_wrong_merging_order_would_show():
    """The comparison above is sensitive to what it is there for."""
    state = made_state()
    reduction = state["features.1.reduction.weight"].view(12, 4, 6)[:, [0, 2, 1, 3]].reshape(12, 24)
    clip = clip_of(4, 12, 12)
    other = features(state | {"features.1.reduction.weight": reduction}, clip, (2, 3, 3))
    ours = encoder_of(import_video(state, source="x"))(clip[None])[0]
    assert (ours - other).abs().max() > 0.1


def to_video_swin(state):
    """torchvision's names to Video Swin's."""
    renamed = {}
    for name, value in state.items():
        name = re.sub(r"^head\.", "cls_head.fc_cls.", name)
        name = re.sub(r"^features\.(\d)\.(\d)\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}.", name)
        name = re.sub(r"^features\.(\d)\.", lambda m: f"layers.{int(m[1]) // 2}.downsample.", name)
        name = name.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
        renamed[name if name.startswith("cls_head") else f"backbone.{name}"] = value
    return renamed


def test_video_swin_and_torchvision_of_the_same_weights_are_the_same():
    state = made_state(depths=(1, 2, 1), heads=(1, 2, 3))
    ours = import_video(state, source="a")
    theirs = import_video(to_video_swin(state), source="b")
    assert (ours.dialect, theirs.dialect) == ("torchvision swin3d", "Video Swin")
    assert ours.config == theirs.config
    assert ours.state.keys() == theirs.state.keys()
    assert all(torch.equal(ours.state[name], theirs.state[name]) for name in ours.state)
    assert "2 of classifier of its own training" in theirs.told[0]
    assert "4 of constants that are computed here" in theirs.told[0]
    bare = {name.removeprefix("backbone."): value for name, value in to_video_swin(state).items() if "cls" not in name}
    assert import_video(bare, source="c").dialect == "Video Swin, the encoder alone"


def test_ours_to_video_swin_and_back_is_the_same():
    found = import_video(made_state(), source="a")
    back = import_video(to_official(found.state), source="b")
    assert back.config == found.config
    assert all(torch.equal(back.state[name], value) for name, value in found.state.items())


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Swin of images by `transformers`, and its weights as they are published."""
    from transformers import SwinConfig, SwinForImageClassification

    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2]}
    model = SwinForImageClassification(SwinConfig(**sizes, window_size=4, num_labels=3)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.add_(torch.randn_like(value) * (0.5 if "table" in name else 0.1))
    folder = tmp_path_factory.mktemp("swin")
    model.save_pretrained(folder)
    return model, read_weights(folder).state


@pytest.mark.parametrize("num_frames", [2, 8, 16])  # a multiple of the window: padding in time would be no copy
@torch.no_grad()
def test_a_still_film_through_an_inflated_swin_gives_the_images_tokens(num_frames, hub):
    model, state = hub
    found = import_video(state, source="swin", window=(4, 4, 4))
    assert found.dialect == "Hugging Face Swin of images"
    assert found.config.window == (4, 4, 4)
    images = torch.randn(2, 3, 32, 32)
    theirs = model.swin(images).last_hidden_state.view(2, 8, 8, 16)
    film = images.permute(0, 2, 3, 1)[:, None].expand(-1, num_frames, -1, -1, -1)
    ours = encoder_of(found)(film)
    assert ours.shape[1] == num_frames // 2
    torch.testing.assert_close(ours, theirs[:, None].expand_as(ours), rtol=1e-4, atol=1e-4)


def to_microsoft(state):
    """The Hub's names to those of Microsoft's release."""
    renamed = {}
    parts = {"layernorm_before": "norm1", "layernorm_after": "norm2", "intermediate.dense": "mlp.fc1"}
    parts |= {"attention.output.dense": "attn.proj", "attention.self.relative": "attn.relative"}
    for name, value in state.items():
        name = name.replace("swin.encoder.", "").replace("classifier.", "head.")
        name = name.replace("swin.embeddings.patch_embeddings.projection.", "patch_embed.proj.")
        name = name.replace("swin.embeddings.norm.", "patch_embed.norm.").replace("swin.layernorm.", "norm.")
        for theirs, ours in parts.items():
            name = name.replace(theirs, ours)
        name = re.sub(r"(blocks\.\d)\.output\.dense", r"\1.mlp.fc2", name)
        third = re.fullmatch(r"(.*)\.attention\.self\.(query|key|value)\.(weight|bias)", name)
        if third is None:
            renamed[name] = value
        elif third[2] == "query":
            stems = [f"swin.encoder.{third[1]}.attention.self.{part}.{third[3]}" for part in ("query", "key", "value")]
            renamed[f"{third[1]}.attn.qkv.{third[3]}"] = torch.cat([state[stem] for stem in stems])
    index = {f"layers.{stage}.blocks.0.attn.relative_position_index": index_table((1, 4, 4)) for stage in (0, 1)}
    return renamed | index | {"layers.0.blocks.1.attn_mask": torch.zeros(16, 16, 16)}


def to_timm(state):
    renamed = {name.replace("layers.0.downsample", "layers.1.downsample"): v for name, v in state.items()}
    return {name.replace("head.", "head.fc."): value for name, value in renamed.items() if "attn_mask" not in name}


def to_torchvision_image(state):
    renamed = {}
    for name, value in state.items():
        name = name.replace("patch_embed.proj.", "features.0.0.").replace("patch_embed.norm.", "features.0.2.")
        name = re.sub(r"^layers\.(\d)\.blocks\.", lambda m: f"features.{2 * int(m[1]) + 1}.", name)
        name = re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"features.{2 * int(m[1]) + 2}.", name)
        name = name.replace("mlp.fc1.", "mlp.0.").replace("mlp.fc2.", "mlp.3.")
        if "attn_mask" not in name:
            renamed[name] = value.flatten() if name.endswith("relative_position_index") else value
    return renamed


@pytest.mark.parametrize(
    ("rename", "dialect"),
    [
        (to_microsoft, "Microsoft Swin of images"),
        (lambda state: to_timm(to_microsoft(state)), "timm Swin of images"),
        (lambda state: to_torchvision_image(to_microsoft(state)), "torchvision Swin of images"),
        (
            lambda state: {k.removeprefix("swin."): v for k, v in state.items() if "classifier" not in k},
            "Hugging Face Swin of images, the encoder alone",
        ),
    ],
)
def test_all_image_dialects_give_the_same_encoder(rename, dialect, hub):
    state = hub[1]
    reference = import_video(state, source="a")
    found = import_video(rename(state), source="b")
    assert found.dialect == dialect
    assert found.config == reference.config
    assert reference.config.window == (8, 4, 4)
    assert found.state.keys() == reference.state.keys()
    assert all(torch.equal(value, reference.state[name]) for name, value in found.state.items())


@pytest.mark.parametrize(
    ("width", "depths", "heads", "window"),
    [
        (96, (2, 2, 6, 2), (3, 6, 12, 24), (8, 7, 7)),
        (96, (2, 2, 18, 2), (3, 6, 12, 24), (8, 7, 7)),
        (128, (2, 2, 18, 2), (4, 8, 16, 32), (16, 7, 7)),
        (192, (2, 2, 18, 2), (6, 12, 24, 48), (8, 12, 12)),
    ],
    ids=["tiny", "small", "base for Something-Something", "large"],
)
def test_published_sizes_are_read_off_the_shapes_alone(width, depths, heads, window):
    config = VideoEncoderConfig(width=width, depths=depths, num_heads=heads, window=window)
    with torch.device("meta"):
        state = VideoEncoder(config).state_dict()
    published = to_official({f"video_encoder.{name}": value for name, value in state.items() if name != "mask_token"})
    assert import_video(published, source="swin.pth").config == config


def without_index(state):
    return {name: value for name, value in state.items() if "index" not in name}


def test_a_window_that_the_shapes_leave_open_is_asked_for():
    whole = made_state(depths=(1,), heads=(1,), window=(5, 7, 7))
    expected = import_video(whole, source="whole").config
    assert expected.window == (5, 7, 7)
    message = (
        r"^a\.pth: features\.0\.0\.attn\.relative_position_bias_table has 1521 rows, which fit windows of 85x2x2 and "
        r"5x7x7 and 1x20x20, and no relative_position_index beside it .*: --window FRAMES ROWS COLUMNS$"
    )
    for window in (None, (8, 7, 7)):
        with pytest.raises(CheckpointError, match=message):
            import_video(without_index(whole), source="a.pth", window=window)
    found = import_video(without_index(whole), source="a.pth", window=(5, 7, 7))
    assert (found.config, found.resized) == (expected, ())
    resized = import_video(without_index(whole), source="a.pth", window=(8, 7, 7), trained_window=(5, 7, 7))
    assert resized.resized == ("position biases from a window of 5x7x7 to 8x7x7",)


def test_a_file_that_leaves_its_window_open_is_given_another_in_python(tmp_path):
    """As the page on weights says; the result is what the command makes of the file with its index."""
    whole = made_state(depths=(1,), heads=(1,), window=(5, 7, 7))
    torch.save(whole, tmp_path / "whole.pth")
    torch.save(without_index(whole), tmp_path / "swin.pth")
    state = read_weights(tmp_path / "swin.pth").state
    found = import_video(state, source="swin.pth", trained_window=(5, 7, 7), window=(8, 7, 7))
    config = EncodersConfig(video=found.config)
    Encoders(config=config, state=found.state, tokenizer=None).save(tmp_path / "init")
    options = ["--video", tmp_path / "whole.pth", "--window", 8, 7, 7, "--out", tmp_path / "by-command"]
    assert main(["import", *map(str, options)]) == 0
    ours, expected = (Encoders.load(tmp_path / name) for name in ("init", "by-command"))
    assert (ours.config.video, ours.config.pixels) == (expected.config.video, expected.config.pixels)
    assert ours.state.keys() == expected.state.keys()
    assert all(torch.equal(value, expected.state[name]) for name, value in ours.state.items())


@pytest.mark.parametrize("window", [(8, 7, 7), (16, 7, 7), (8, 12, 12), (1, 7, 7), (1, 12, 12)])
def test_windows_that_are_published_are_read_off_the_shapes_alone(window):
    state = made_state(width=2, depths=(1,), heads=(1,), window=(1, 1, 1))
    rows = (2 * window[0] - 1) * (2 * window[1] - 1) ** 2
    state["features.0.0.attn.relative_position_bias_table"] = torch.zeros(rows, 1)
    assert import_video(without_index(state), source="a.pth").config.window == window


def test_another_window_resizes_the_biases_and_says_so():
    found = import_video(made_state(), source="a", window=(4, 3, 3))
    assert found.config.window == (4, 3, 3)
    assert found.state["video_encoder.stages.0.0.attention.position_bias"].shape == (7 * 5 * 5, 1)
    assert found.resized == ("position biases from a window of 2x3x3 to 4x3x3",)


BROKEN = {
    "a weight too many": (lambda s: s | {"odd_embed": torch.zeros(3)}, r"unknown weight 'odd_embed'"),
    "a weight too few": (
        lambda s: {name: value for name, value in s.items() if name != "features.2.0.norm2.bias"},
        r"model: missing features\.2\.0\.norm2\.bias$",
    ),
    "a block too few": (
        lambda s: {name: value for name, value in s.items() if not name.startswith("features.0.0.norm1")},
        r"missing features\.0\.0\.norm1\.bias; missing features\.0\.0\.norm1\.weight$",
    ),
    "another shape": (lambda s: s | {"norm.weight": torch.zeros(7)}, r"norm\.weight is \[7\], expected \[12\]"),
    "another index": (
        lambda s: s | {"features.0.0.attn.relative_position_index": torch.zeros(18, 18, dtype=torch.long)},
        "numbers positions otherwise",
    ),
    "four channels": (lambda s: s | {"patch_embed.proj.weight": torch.zeros(6, 4, 2, 2, 2)}, "takes 4 channels"),
    "no Swin": (lambda s: {"conv1.weight": torch.zeros(2, 3, 7, 7)}, r"conv1.weight \[2, 3, 7, 7\]; known are Video"),
    "no position bias": (
        lambda s: {k: v for k, v in s.items() if "table" not in k and "index" not in k},
        r"incomplete: features\.0\.0\.attn\.relative_position_bias_table is missing",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_is_refused_by_name(case):
    damage, message = BROKEN[case]
    with pytest.raises(CheckpointError, match=message):
        import_video(damage(made_state()), source="file.pth")


@pytest.mark.parametrize(
    ("rename", "name"),
    [(to_microsoft, "absolute_pos_embed"), (lambda state: state, "swin.embeddings.position_embeddings")],
)
def test_absolute_positions_are_refused_as_such(rename, name, hub):
    state = rename(hub[1]) | {name: torch.zeros(1, 64, 8)}
    message = rf"^file\.pth has absolute positions \({re.escape(name)}\), which Clover's video encoder has no place for"
    with pytest.raises(CheckpointError, match=message):
        import_video(state, source="file.pth")


@given(st.sampled_from(DIALECTS), st.data())
def test_every_name_of_every_dialect_leads_there_and_back(dialect, data):
    numbers = st.integers(0, 30)
    stage, block, last = (
        data.draw(st.integers(0, 15)),
        data.draw(numbers),
        data.draw(st.sampled_from(["weight", "bias"])),
    )
    parts = ["norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
    names = [f"layers.{stage}.blocks.{block}.{part}.{last}" for part in parts]
    names += [f"layers.{stage}.blocks.{block}.attn.relative_position_{what}" for what in ("bias_table", "index")]
    names += [f"layers.{stage}.downsample.norm.{last}", f"layers.{stage}.downsample.reduction.weight"]
    names += [f"{part}.{last}" for part in ("patch_embed.proj", "patch_embed.norm", "norm")]
    published = [theirs for name in names for theirs in dialect.published(name)]
    assert len(set(published)) == len(published)
    known = dialect.names_in({name: torch.zeros(()) for name in published} | {f"{block}": torch.zeros(())})
    assert [name for name in names for _ in dialect.published(name)] == [known[theirs] for theirs in published]


@pytest.fixture(scope="module")
def by_dialect(hub):
    """Every dialect that files of the tests are of, and such a file."""
    video, microsoft = made_state(depths=(1, 1)), to_microsoft(hub[1])
    files = [video, to_video_swin(video), hub[1], hub[0].state_dict(), microsoft, to_timm(microsoft)]
    files.append(to_torchvision_image(microsoft))
    return [(recognise(state, "file.pth"), state) for state in files]


@given(st.data())
def test_any_weight_taken_away_or_cut_is_refused_by_its_name_in_the_file(by_dialect, data):
    dialect, whole = by_dialect[data.draw(st.integers(0, len(by_dialect) - 1))]
    state, unused = dict(whole), rf"{CONSTANTS}|{dialect.unused}"
    name = data.draw(st.sampled_from(sorted(name for name in state if not re.fullmatch(unused, name))))
    value = state.pop(name)
    damaged = {"a list": value.flatten()[:-1], "an axis more": value[None], "one number": value.sum()}
    # another patch, or fewer heads, would be a geometry as good
    if name != dialect.published(PATCHES)[0] and not name.endswith("bias_table"):
        damaged["narrower"] = value[..., :-1]
    damage = data.draw(st.sampled_from(["taken away", *damaged]))
    if damage in damaged:
        state[name] = damaged[damage]
    with pytest.raises(CheckpointError, match=r"file\.pth") as error:
        import_video(state, source="file.pth", prefix="module.")
    signs = [dialect.published(sign)[0] for sign in (PATCHES, "layers.0.blocks.0.attn.qkv.weight")]
    # patches of an axis more are those of a Swin of videos, which has other weights beside them
    others = ("no Swin encoder that is known", "unknown weight 'module.head.")
    told = str(error.value)
    assert f"module.{name}" in told or (name in signs and any(other in told for other in others))


def test_weights_named_as_transformers_has_them_in_memory_are_those_of_its_files(hub, tmp_path):
    from transformers import SwinForMaskedImageModeling, SwinModel

    model, state = hub
    reference = import_video(state, source="a")
    alone = SwinModel(model.config)
    alone.load_state_dict(model.swin.state_dict())
    masking = SwinForMaskedImageModeling(model.config)
    masking.swin.load_state_dict(model.swin.state_dict(), strict=False)
    masking.save_pretrained(tmp_path / "masking")
    torch.save(masking.state_dict(), tmp_path / "masking.bin")
    torch.save(alone.state_dict(), tmp_path / "alone.bin")
    torch.save(model.state_dict(), tmp_path / "whole.bin")
    in_memory = "Hugging Face Swin of images, named as in memory"
    for place, dialect in (
        ("whole.bin", in_memory),
        ("masking.bin", in_memory),
        ("alone.bin", f"{in_memory}, the encoder alone"),
        ("masking", "Hugging Face Swin of images"),
    ):
        found = import_video(read_weights(tmp_path / place).state, source="b")
        assert found.dialect == dialect
        assert found.config == reference.config
        assert found.state.keys() == reference.state.keys()
        assert all(torch.equal(value, reference.state[name]) for name, value in found.state.items())
