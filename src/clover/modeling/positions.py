"""Learned position tables for other numbers of frames, cells and words than they were learned for."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clover.modeling.model import ModelConfig
from clover.modeling.video_swin import VideoEncoderConfig
from clover.modeling.windows import Size
from clover.types import Resized

_BIAS = ".attention.position_bias"


def resized_bias(table: Float[Tensor, "old n"], old: Size, new: Size) -> Float[Tensor, "new n"]:
    """A position bias table for another window: bicubic over rows and columns, linear over time.

    The middle, distance zero, stays in the middle; over rows and columns this is how Video Swin takes over a table of
    another window (``inflate_weights`` of its release).

    Args:
        table: One row per distance in time, height and width, in this order.
        old: Window that the table is for.
        new: Window that it is wanted for.
    """
    if old == new:
        return table
    times, rows, columns = (2 * extent - 1 for extent in old)
    grid = table.t().reshape(-1, times, rows, columns)
    if old[1:] != new[1:]:
        grid = F.interpolate(grid, size=(2 * new[1] - 1, 2 * new[2] - 1), mode="bicubic", align_corners=False)
    if old[0] != new[0]:
        grid = grid.permute(0, 2, 3, 1).flatten(1, 2)
        grid = F.interpolate(grid, size=2 * new[0] - 1, mode="linear", align_corners=False)
        grid = grid.unflatten(1, (2 * new[1] - 1, 2 * new[2] - 1)).permute(0, 3, 1, 2)
    return grid.flatten(1).t().contiguous()


def resized_sequence(table: Float[Tensor, "old d"], length: int) -> Float[Tensor, "new d"]:
    """Positions along one axis for another number of places, linearly."""
    if len(table) == length:
        return table
    return F.interpolate(table.t()[None], size=length, mode="linear", align_corners=False)[0].t().contiguous()


def resized_words(table: Float[Tensor, "old d"], length: int) -> Float[Tensor, "new d"]:
    """Positions of words: fewer are the first ones, as they are; more are drawn out linearly, which moves every one."""
    return table[:length].contiguous() if length <= len(table) else resized_sequence(table, length)


def resized_grid(table: Float[Tensor, "old d"], num_cells: int) -> Float[Tensor, "new d"] | None:
    """Positions of a square grid's cells for another square grid, bicubic; None where one of the two is no square."""
    old, new = isqrt(len(table)), isqrt(num_cells)
    if old * old != len(table) or new * new != num_cells:
        return None
    grid = table.t().reshape(1, -1, old, old)
    resized = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).t().contiguous()


def fit_positions(
    state: Mapping[str, Tensor], old: ModelConfig, new: ModelConfig
) -> tuple[dict[str, Tensor], tuple[Resized, ...]]:
    """Resize the position tables of a state dict, and only them, to a network of other extents.

    Args:
        state: Weights under our names, of all of the network or a part of it.
        old: The network that they are of.
        new: The network that they are for.

    Returns:
        The weights, and what was resized, one for each kind of table. What cannot be resized stays as it is.
    """
    fitted = dict(state)
    resized: list[Resized] = []

    def tell(part: str, told: str) -> None:
        resized.append(Resized(part=part, told=told))

    biases = [name for name in state if name.endswith(_BIAS)]
    if biases and isinstance(old.video, VideoEncoderConfig) and isinstance(new.video, VideoEncoderConfig):
        window, new_window = old.video.window, new.video.window
        if window != new_window:
            for name in biases:
                fitted[name] = resized_bias(state[name], window, new_window)
            tell("video_encoder", f"position biases from a window of {_by(window)} to {_by(new_window)}")
    name = "text_encoder.position_embedding.weight"
    if name in state and len(state[name]) != new.text.max_length:
        fitted[name] = resized_words(state[name], new.text.max_length)
        how = "cut" if new.text.max_length < len(state[name]) else "drawn out"
        tell("text_encoder", f"text positions {how} from {len(state[name])} to {new.text.max_length}")
    name = "fusion_encoder.temporal_position"
    if name in state and len(state[name]) != new.fusion.num_temporal_positions:
        fitted[name] = resized_sequence(state[name], new.fusion.num_temporal_positions)
        tell("fusion", f"temporal positions from {len(state[name])} to {new.fusion.num_temporal_positions}")
    name = "fusion_encoder.spatial_position"
    if name in state and len(state[name]) != new.fusion.num_spatial_positions:
        grid = resized_grid(state[name], new.fusion.num_spatial_positions)
        if grid is not None:
            fitted[name] = grid
            tell("fusion", f"spatial positions from {len(state[name])} to {new.fusion.num_spatial_positions}")
    return fitted, tuple(resized)


def _by(window: Size) -> str:
    return "x".join(map(str, window))
