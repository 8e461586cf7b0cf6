"""The video encoder written for any number of frames gives what the encoder itself gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.export.video_graph import AxisWindows, TimeWindows, VideoGraph, position_codes
from clover.modeling.pixels import PixelConfig, normalise
from clover.modeling.video_swin import VideoEncoder, VideoEncoderConfig
from clover.modeling.windows import clipped_position_index


def encoder(window, rule):
    """Two stages with a shifted block each, and biases that make themselves felt."""
    config = VideoEncoderConfig(
        patch_size=(2, 8, 8), width=8, depths=(2, 2), num_heads=(1, 2), window=window, clipped_window_bias=rule
    )
    torch.manual_seed(0)
    made = VideoEncoder(config).eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return made


@settings(max_examples=40)
@given(
    window=st.sampled_from([(4, 4, 4), (2, 3, 3), (1, 2, 2), (3, 7, 5), (8, 7, 7)]),
    rule=st.sampled_from(["exact", "published"]),
    num_frames=st.integers(1, 20),
    height=st.integers(9, 72),
    width=st.integers(9, 72),
    order=st.sampled_from(["rgb", "bgr"]),
)
@torch.no_grad()
def test_tokens_are_those_of_the_encoder(window, rule, num_frames, height, width, order):
    own, pixels = encoder(window, rule), PixelConfig(channel_order=order)
    clip = torch.randint(0, 256, (2, num_frames, height, width, 3), dtype=torch.uint8)
    torch.testing.assert_close(VideoGraph(own, pixels)(clip), own(normalise(clip, pixels)), atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_views_are_encoded_apart_and_averaged():
    own, pixels = encoder((2, 3, 3), "exact"), PixelConfig()
    clip = torch.randint(0, 256, (2, 6, 16, 16, 3), dtype=torch.uint8)
    apart = [own(normalise(view, pixels)) for view in clip.split(3, dim=1)]
    torch.testing.assert_close(VideoGraph(own, pixels, num_views=2)(clip), torch.stack(apart).mean(dim=0))


@given(num_cells=st.integers(1, 30), full=st.integers(1, 9), is_shifted=st.booleans())
def test_every_cell_lies_at_one_place_and_is_found_there(num_cells, full, is_shifted):
    time = TimeWindows.of(num_cells, full, is_shifted=is_shifted)
    assert time.count * time.reach == len(time.source) == len(time.is_cell)
    assert int(time.is_cell.sum()) == num_cells
    assert time.source[time.back].tolist() == list(range(num_cells))
    assert (time.region is not None) == is_shifted
    if time.region is not None and num_cells <= full:
        assert not time.region.any(), "a window that holds everything is not shifted"


@pytest.mark.parametrize("rule", ["exact", "published"])
@pytest.mark.parametrize("used", [(3, 4, 2), (2, 3, 3), (1, 4, 5)])
def test_position_codes_tell_the_rows_of_the_bias_table(rule, used):
    full = (3, 4, 5)
    config = VideoEncoderConfig(window=full, clipped_window_bias=rule)
    codes = position_codes(config, used[1], used[2])[: used[0]].flatten()
    index = clipped_position_index(full, used, rule, torch.device("cpu"))
    assert torch.equal(codes[:, None] - codes[None, :], index - index[0, 0])


def test_an_axis_that_fits_into_a_window_is_not_shifted():
    assert AxisWindows.of(7, 7, is_shifted=True).shift == 0
    wide = AxisWindows.of(8, 7, is_shifted=True)
    assert (wide.shift, wide.missing) == (3, 6)
    assert wide.region.tolist() == [[0] * 7, [1] * 4 + [2] * 3]
