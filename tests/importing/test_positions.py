"""Position tables for other extents."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from clover.modeling.positions import resized_bias, resized_grid, resized_sequence, resized_words

extents = st.integers(1, 5)
windows = st.tuples(extents, extents, extents)


def coordinates(window):
    """A table whose entry is its own distance in time, rows and columns, as a share of the largest."""
    axes = [torch.linspace(1 - extent, extent - 1, 2 * extent - 1) / max(extent - 1, 1) for extent in window]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)


@given(windows, windows)
def test_biases_keep_their_middle_their_constants_and_their_symmetry(old, new):
    constant = torch.full((len(coordinates(old)), 2), 3.0)
    torch.testing.assert_close(resized_bias(constant, old, new), torch.full((len(coordinates(new)), 2), 3.0))
    odd = resized_bias(coordinates(old), old, new)
    torch.testing.assert_close(odd, -odd.flip(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(odd[len(odd) // 2], torch.zeros(3), rtol=0, atol=1e-4)


@given(windows)
def test_the_same_window_changes_nothing(window):
    table = torch.randn(len(coordinates(window)), 3)
    assert torch.equal(resized_bias(table, window, window), table)


def test_biases_grow_along_the_axis_that_they_are_about():
    resized = resized_bias(coordinates((2, 3, 4)), (2, 3, 4), (4, 5, 6)).view(7, 9, 11, 3)
    for axis in range(3):
        along = resized[..., axis].mean(dim=[other for other in range(3) if other != axis])
        assert (along.diff() > -0.06).all()  # bicubic may swing a little at the ends
        assert along[-1] - along[0] > 1.5


def test_words_are_cut_as_they_are_and_other_axes_are_drawn():
    table = torch.arange(8.0)[:, None].expand(8, 2)
    assert torch.equal(resized_words(table, 5), table[:5])
    assert torch.equal(resized_words(table, 8), table)
    assert resized_words(table, 16)[:, 0].diff().min() >= 0
    torch.testing.assert_close(resized_sequence(table, 4)[:, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))


def test_cells_keep_rows_and_columns_apart():
    rows = torch.arange(4.0).repeat_interleave(4)[:, None]
    resized = resized_grid(rows, 64).view(8, 8)
    assert (resized.diff(dim=0) > 0)[1:-1].all()
    torch.testing.assert_close(resized, resized[:, :1].expand(8, 8), rtol=1e-4, atol=1e-4)
    assert resized_grid(rows, 60) is None
    assert resized_grid(rows[:15], 64) is None
