"""Frozen parts and adapters on the network itself: what learns, what stays, and that merging changes no output."""

from dataclasses import replace

import pytest
import torch

from clover.errors import ConfigError
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.training.adapters import LoraConfig, merge_adapters, prepare, without_adapters

NO_ADAPTERS = LoraConfig()


def network():
    config = replace(tiny(vocabulary_size=50), initial_weights="fan_in", heads=HeadConfig(num_answers=7))
    return new_model(config, seed=0).eval()


def outputs(model):
    generator = torch.Generator().manual_seed(0)
    clip = torch.randint(0, 256, (3, 8, 32, 32, 3), dtype=torch.uint8, generator=generator)
    token_ids = torch.randint(5, 50, (3, 6), generator=generator)
    is_token = torch.ones(3, 6, dtype=torch.bool)
    with torch.no_grad():
        video = model.video_tokens(clip)
        return torch.cat(
            [
                model.embed_video(video).flatten(),
                model.embed_text(model.text_encoder(token_ids, is_token)).flatten(),
                model.answer_scores(video, token_ids, is_token).flatten(),
            ]
        )


def trained(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def with_random_adapters(lora):
    model = network()
    prepare(model, (), lora, seed=0)
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model.eval()


def test_frozen_parts_do_not_learn_and_all_others_do():
    model = network()
    everything = trained(model)
    prepare(model, ("video_encoder", "projections", "masked_words"), NO_ADAPTERS, seed=0)
    frozen = ("video_encoder.", "video_projection.", "text_projection.", "fused_", "masked_word_head.")
    assert trained(model) == {name for name in everything if not name.startswith(frozen)}


def test_nothing_frozen_and_no_adapters_changes_nothing_not_even_random_numbers():
    model, other = network(), network()
    state = torch.get_rng_state()
    prepare(model, (), NO_ADAPTERS, seed=0)
    merge_adapters(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert trained(model) == trained(other)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert without_adapters(model) is model


def test_fresh_adapters_change_no_output_and_draw_their_own_numbers():
    model = network()
    before = outputs(model)
    state = torch.get_rng_state()
    prepare(model, (), LoraConfig(rank=2), seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(outputs(model), before)


def test_only_adapters_and_heads_learn():
    model = network()
    prepare(model, ("video_encoder",), LoraConfig(rank=2), seed=0)
    names = trained(model)
    assert all(".lora_" in name or name.startswith("answer_head.") for name in names)
    for part in ("text_encoder.", "fusion_encoder.", "video_projection.", "answer_head."):
        assert any(name.startswith(part) for name in names)
    assert not any(name.startswith("video_encoder.") for name in names)


@pytest.mark.parametrize(
    "lora",
    [
        LoraConfig(rank=2),
        LoraConfig(rank=1, alpha=3.0, parts=("fusion",), targets=("query_key_value", "output")),
        LoraConfig(rank=4, parts=("video_encoder",), targets=("reduction",), dropout=0.3),
    ],
)
def test_merging_changes_no_output(lora):
    model = with_random_adapters(lora)
    adapted, plain = outputs(model), outputs(network())
    copy = without_adapters(model)
    assert torch.equal(outputs(model), adapted), "the copy leaves the network alone"
    merge_adapters(model)
    assert (adapted - plain).abs().max() > 1e-3
    for merged in (copy, model):
        assert (outputs(merged) - adapted).abs().max() <= 1e-6 * adapted.abs().max()
        assert merged.state_dict().keys() == network().state_dict().keys()
        assert trained(merged) == trained(network())


def test_targets_choose_layers():
    model = with_random_adapters(LoraConfig(rank=2, parts=("fusion", "text_encoder"), targets=("expand",)))
    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert adapted == {
        "fusion_encoder.transformer.layers.0.expand",
        "text_encoder.transformer.layers.0.expand",
    }


@pytest.mark.parametrize(
    ("frozen", "lora", "message"),
    [
        ((), LoraConfig(rank=2, targets=("querry",)), "no linear layer querry; there is video_encoder"),
        (("fusion",), LoraConfig(rank=2, parts=("fusion",)), "all of its parts are frozen"),
        ((), LoraConfig(rank=2, parts=()), "all of its parts are frozen"),
    ],
)
def test_adapters_that_fit_nowhere_are_refused(frozen, lora, message):
    with pytest.raises(ConfigError, match=message):
        prepare(network(), frozen, lora, seed=0)


@pytest.mark.parametrize("make", [lambda: LoraConfig(rank=-1), lambda: LoraConfig(dropout=1.0)])
def test_impossible_adapters_are_refused(make):
    with pytest.raises(ConfigError, match="lora"):
        make()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("clover.training.adapters.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'clover-vl\[lora\]'"):
        prepare(network(), (), LoraConfig(rank=2), seed=0)
