"""A run takes over the sizes of the weights that it starts from."""

from dataclasses import replace
from itertools import combinations, permutations

import pytest
import torch
from transformers import Swinv2Config

from clover.checkpoints import InputConfig
from clover.data.transforms import TransformConfig
from clover.errors import ConfigError
from clover.experiment.sizes import check_kept, differences, with_sizes_of
from clover.modeling.borrowed_shape import describe_video
from clover.modeling.huggingface import architecture
from clover.modeling.model import CloverModel
from clover.modeling.positions import fit_positions
from clover.modeling.sizes import around, base, small, tiny
from clover.training.adapters import MODULES, PARTS

INPUTS = InputConfig(num_frames=8, frames=TransformConfig(size=64))
MODELS = {
    "tiny": tiny(vocabulary_size=40),
    "small": small(vocabulary_size=40),
    "base": replace(base(), text=replace(base().text, vocabulary_size=40)),
    "wide head": replace(tiny(vocabulary_size=40), embedding_width=48, projection_width=40),
}
STAGES = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
SUBSETS = [parts for count in range(1, len(PARTS) + 1) for parts in combinations(PARTS, count)]
_STATES = {}


def shapes_of(model):
    """Weights without memory."""
    key = repr(model)
    if key not in _STATES:
        with torch.device("meta"):
            _STATES[key] = CloverModel(model).state_dict()
    return _STATES[key]


def weights_of(state, parts):
    modules = {module for part in parts for module in MODULES[part]}
    return {name: value for name, value in state.items() if name.partition(".")[0] in modules}


@pytest.mark.parametrize(("ours", "theirs"), list(permutations(MODELS, 2)))
def test_the_weights_of_any_parts_fit_the_network_that_takes_them(ours, theirs):
    for parts in SUBSETS:
        adopted = with_sizes_of(MODELS[ours], MODELS[theirs], parts, INPUTS)
        fitted, _ = fit_positions(weights_of(shapes_of(MODELS[theirs]), parts), MODELS[theirs], adopted)
        wanted = weights_of(shapes_of(adopted), parts)
        assert {name: value.shape for name, value in fitted.items()} == {
            name: value.shape for name, value in wanted.items()
        }, parts


def test_the_same_sizes_change_nothing_and_training_keeps_its_choices():
    ours = tiny(vocabulary_size=40)
    dropout = replace(ours.text.transformer, dropout=0.25)
    theirs = replace(
        ours,
        video=replace(ours.video, stochastic_depth=0.5, window=(2, 4, 4)),
        text=replace(ours.text, transformer=dropout, max_length=512),
        fusion=replace(ours.fusion, transformer=dropout),
    )
    assert with_sizes_of(ours, theirs, PARTS, INPUTS) == ours


def test_what_the_weights_compute_with_comes_along_though_no_shape_tells_it():
    ours = tiny(vocabulary_size=40)
    layers = replace(ours.text.transformer, num_heads=4, norm_epsilon=1e-5)
    theirs = replace(
        ours,
        video=replace(ours.video, clipped_window_bias="published", norm_epsilon=1e-6),
        text=replace(ours.text, transformer=layers),
    )
    adopted = with_sizes_of(ours, theirs, ("video_encoder", "text_encoder"), INPUTS)
    assert differences(ours, adopted) == {
        "video.clipped_window_bias": "published",
        "video.norm_epsilon": 1e-6,
        "text.transformer.num_heads": 4,
        "text.transformer.norm_epsilon": 1e-5,
    }
    assert with_sizes_of(ours, theirs, ("fusion", "projections"), INPUTS) == ours


def test_an_encoder_of_others_does_not_keep_the_other_ones_sizes_away():
    """Around a borrowed video encoder the text encoder is Clover's own."""
    ours, own = small(vocabulary_size=40), tiny(vocabulary_size=40)
    config = describe_video(architecture(Swinv2Config(**STAGES)), num_frames=2, frame_size=32, source="x")
    theirs = around(own, video=config)
    adopted = with_sizes_of(ours, theirs, ("text_encoder", "masked_words"), INPUTS)
    assert adopted.text.transformer == own.text.transformer
    assert adopted.video == ours.video
    borrowed = around(ours, video=config)
    adopted = with_sizes_of(borrowed, own, ("text_encoder",), INPUTS)
    assert adopted.text.transformer == own.text.transformer
    assert adopted.video == config


def test_an_option_that_the_weights_overrule_is_refused():
    recipe = tiny(vocabulary_size=40)
    given = replace(recipe, video=replace(recipe.video, depths=(1, 2)))
    with pytest.raises(ConfigError) as caught:
        check_kept(given, recipe, recipe, source="init")
    assert str(caught.value).startswith(
        "--model.video.depths 1 2 does not fit the weights of --init init, which have 1 1 there; leave it out"
    )
    check_kept(given, recipe, given, source="init")
    check_kept(recipe, recipe, given, source="init")
