"""What nobody asks for is not worked out, and what is given stays the same."""

from dataclasses import replace

import pytest
import torch

from clover.modeling.fusion import FusionEncoder
from clover.modeling.initialise import initialise
from clover.modeling.sizes import tiny


@pytest.mark.parametrize("has_own_cls", [False, True])
def test_without_the_videos_places_the_rest_is_the_same(has_own_cls):
    plain = tiny(vocabulary_size=9).fusion
    config = replace(plain, has_own_cls=has_own_cls, transformer=replace(plain.transformer, num_layers=2))
    encoder = FusionEncoder(config)
    initialise(encoder, 0, "fan_in")
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(3, 4, 2, 2, 32, generator=generator)
    text = torch.randn(3, 5, 32, generator=generator)
    is_token = torch.arange(5) < torch.tensor([[3], [5], [1]])
    found = {}
    for gives_video in (True, False):
        encoder.zero_grad()
        fused = encoder(video, text, is_token, gives_video=gives_video)
        (fused.text.square().sum() + (fused.own_cls.sum() if has_own_cls else 0.0)).backward()
        found[gives_video] = fused, {name: weight.grad for name, weight in encoder.named_parameters()}
    (whole, expected), (part, ours) = found[True], found[False]
    assert whole.video.shape == (3, 16, 32)
    assert part.video is None
    torch.testing.assert_close(part.text, whole.text)
    torch.testing.assert_close(part.cls, whole.cls)
    assert (part.own_cls is None) == (not has_own_cls)
    if has_own_cls:
        torch.testing.assert_close(part.own_cls, whole.own_cls)
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
