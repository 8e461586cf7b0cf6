"""Every kind of fusion behind one interface: padding, order of the batch, closed gates, and what each task reads."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.checkpoints import CloverConfig
from clover.data.text import Tokenizer
from clover.errors import CheckpointError, ConfigError
from clover.modeling.cross_layers import GatedLayer
from clover.modeling.fusion import FusionEncoder, FusionKind
from clover.modeling.initialise import initialise, new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.modeling.weights import load_strictly, to_official
from clover.pipeline import Clover

KINDS = get_args(FusionKind)
ACROSS = KINDS[1:]


def with_kind(kind, config=None, **changes):
    config = config or tiny(vocabulary_size=50)
    layers = replace(config.fusion.transformer, num_layers=2)
    fusion = replace(config.fusion, kind=kind, transformer=layers, **changes)
    return replace(config, initial_weights="fan_in", fusion=fusion)


def made_encoder(kind, *, has_own_cls=False, opened=True):
    encoder = FusionEncoder(with_kind(kind, has_own_cls=has_own_cls).fusion)
    initialise(encoder, 0, "fan_in")
    if opened:
        open_gates(encoder)
    return encoder.eval()


def open_gates(module):
    for part in module.modules():
        if isinstance(part, GatedLayer):
            torch.nn.init.constant_(part.gates, 0.7)


def made_inputs(length=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(3, 4, 2, 2, 32, generator=generator)
    text = torch.randn(3, length, 32, generator=generator)
    is_token = torch.arange(length) < torch.tensor([[3], [length], [1]])
    return video, text, is_token


@pytest.mark.parametrize("has_own_cls", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_give_the_same_shapes(kind, has_own_cls):
    video, text, is_token = made_inputs()
    encoder = made_encoder(kind, has_own_cls=has_own_cls)
    for gives_video in (True, False):
        fused = encoder(video, text, is_token, gives_video=gives_video)
        assert fused.text.shape == (3, 5, 32)
        assert fused.cls.shape == (3, 32)
        assert (fused.own_cls is not None) == has_own_cls
        assert (fused.video is not None) == (gives_video and kind == "concatenated")
    if has_own_cls:
        assert fused.own_cls.shape == (3, 1, 32)
        assert not torch.equal(fused.own_cls[0], fused.own_cls[1])  # it has looked at the video


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 100.0))
def test_what_stands_in_padding_changes_nothing(kind, seed, scale):
    video, text, is_token = made_inputs(seed=seed)
    encoder = made_encoder(kind, has_own_cls=True)
    noise = scale * torch.randn(text.shape, generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        plain = encoder(video, text, is_token)
        noisy = encoder(video, torch.where(is_token[..., None], text, noise), is_token)
        longer = encoder(*(torch.nn.functional.pad(each, pad) for each, pad in _longer(video, text, is_token)))
    for other in (noisy, longer):
        torch.testing.assert_close(other.text[:, :5][is_token], plain.text[is_token])
        torch.testing.assert_close(other.own_cls, plain.own_cls)


def _longer(video, text, is_token):
    return (video, (0, 0)), (text, (0, 0, 0, 3)), (is_token, (0, 3))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(3)))
def test_samples_know_nothing_of_each_other(kind, order):
    inputs = made_inputs()
    encoder = made_encoder(kind)
    with torch.no_grad():
        plain = encoder(*inputs).text[order]
        torch.testing.assert_close(encoder(*(each[order] for each in inputs)).text, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_text_sees_the_video_its_places_and_the_rest_of_the_text(kind):
    video, text, is_token = made_inputs()
    encoder = made_encoder(kind)
    with torch.no_grad():
        plain = encoder(video, text, is_token).text
        for changed in (video + 1.0, video.flip(1), video.flip(3)):
            assert (encoder(changed, text, is_token).text - plain)[is_token].abs().amax(dim=-1).min() > 1e-4
        other = text.clone()
        other[:, 1] += torch.randn(32, generator=torch.Generator().manual_seed(5))
        assert not torch.allclose(encoder(video, other, is_token).cls[:2], plain[:2, 0])


def test_closed_gates_give_the_text_as_it_is_and_learn_to_open():
    video, text, is_token = made_inputs()
    encoder = made_encoder("gated", opened=False)
    fused = encoder(video, text, is_token)
    assert torch.equal(fused.text, text)
    fused.text.square().sum().backward()
    gradients = [part.gates.grad for part in encoder.modules() if isinstance(part, GatedLayer)]
    assert all((gradient != 0).all() for gradient in gradients)
    with torch.no_grad():
        changed = made_encoder("gated")(video, text, is_token)
    assert not torch.allclose(changed.text, text)


@pytest.mark.parametrize("kind", ACROSS)
def test_too_many_frames_are_refused_by_all(kind):
    _, text, is_token = made_inputs()
    with pytest.raises(ConfigError, match="takes at most 4 temporal cells"):
        made_encoder(kind)(torch.zeros(3, 5, 2, 2, 32), text, is_token)


@pytest.mark.parametrize("kind", ACROSS)
def test_the_pairing_that_pools_fused_video_is_refused(kind):
    with pytest.raises(ConfigError, match=f"fusion.kind {kind} fuses the text's alone"):
        replace(with_kind(kind), fused_pairing="first_release")


@pytest.mark.parametrize("kind", KINDS)
def test_questions_blanks_and_choices_are_answered(kind):
    generator = torch.Generator().manual_seed(0)
    clip = torch.randint(0, 256, (2, 8, 32, 32, 3), dtype=torch.uint8, generator=generator)
    ids = torch.randint(5, 50, (2, 3, 6), generator=generator)
    is_token = torch.ones(2, 3, 6, dtype=torch.bool)
    is_blank = torch.zeros(2, 6, dtype=torch.bool)
    is_blank[0, 2] = is_blank[1, 4] = True
    for answers_at_mask in (False, True):
        heads = HeadConfig(num_answers=7, answers_at_mask=answers_at_mask, has_choices=True)
        network = new_model(replace(with_kind(kind), heads=heads)).eval()
        open_gates(network)
        with torch.no_grad():
            video = network.video_tokens(clip)
            scores = network.answer_scores(video, ids[:, 0], is_token[:, 0], is_blank=is_blank)
            choices = network.choice_scores(video, ids, is_token)
            blind = network.answer_scores(0 * video, ids[:, 0], is_token[:, 0], is_blank=is_blank)
        assert scores.shape == (2, 7)
        assert choices.shape == (2, 3)
        assert not torch.allclose(scores, blind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_keeps_its_kind(kind, tmp_path):
    tokenizer = Tokenizer.train(["a red ball moves left"], 100)
    config = with_kind(kind, tiny(vocabulary_size=tokenizer.vocabulary_size))
    clover = Clover(new_model(config, seed=3), tokenizer, CloverConfig(model=config))
    open_gates(clover.network)
    clover.save_pretrained(tmp_path / "checkpoint")
    again = Clover.from_pretrained(tmp_path / "checkpoint")
    assert again.config.model.fusion.kind == kind
    assert again.fingerprint == clover.fingerprint
    clips = np.random.default_rng(0).integers(0, 255, (1, 8, 32, 32, 3), dtype=np.uint8)
    ids, is_token = clover.encode_words(["a red ball"])
    with torch.inference_mode():
        fused = [_fused(each, clips, ids, is_token) for each in (clover, again)]
    assert torch.equal(*fused)


def _fused(clover, clips, ids, is_token):
    network = clover.network
    return network.fuse(clover.video_tokens(list(clips)), network.text_encoder(ids, is_token), is_token).cls


@pytest.mark.parametrize("kind", ACROSS)
def test_weights_of_another_kind_are_refused(kind):
    theirs, ours = new_model(with_kind("concatenated")), new_model(with_kind(kind))
    with pytest.raises(CheckpointError, match=r"unknown fusion_encoder\.type_embedding"):
        load_strictly(ours, theirs.state_dict(), source="theirs")
    with pytest.raises(CheckpointError, match="has no counterpart in official Clover"):
        to_official(ours.state_dict())
