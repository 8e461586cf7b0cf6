"""The video encoder as one graph for any number of clips and frames; the weights are those of the module it is made of.

The module itself decides by the clip's size which windows there are, and holds their tables ready; a graph that was
traced through it knows one size. Here everything that depends on the number of frames is worked out of it by
arithmetic, so that a tracer keeps it as a symbol. Height and width stay those of the trace: the fusion encoder has
learned positions for one grid alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clover.modeling.pixels import PixelConfig, normalise
from clover.modeling.video_swin import PatchEmbedding, SwinBlock, VideoEncoder, VideoEncoderConfig, WindowAttention

_BLOCKED = -100.0
"""Added to the score of two tokens that a shift brings together although they are no neighbours (as published)."""


@dataclass(frozen=True, kw_only=True)
class TimeWindows:
    """How temporal cells fall into windows, as tensors whose sizes may be symbols."""

    count: int
    """Number of windows."""
    reach: int
    """Cells of one: those of the configured window, or all there are."""
    source: Tensor
    """For every place of every window, one after another, the cell that lies there."""
    is_cell: Tensor
    """False at places beyond the last cell, which are filled with zeros."""
    back: Tensor
    """For every cell its place."""
    region: Tensor | None
    """For every place a number; within a window, places of one number are neighbours. None where nothing is shifted."""

    @classmethod
    def of(cls, num_cells: int, full: int, *, is_shifted: bool) -> TimeWindows:
        """Windows of at most ``full`` cells; shifted by half of that where there are more cells.

        Args:
            num_cells: Temporal cells, 1 or more; may be a symbol.
            full: Temporal extent of the configured window.
            is_shifted: Of every second block.
        """
        reach = torch.sym_min(num_cells, full)
        count = (num_cells + full - 1) // full
        extent = count * reach
        shift = torch.sym_min((count - 1) * full, full // 2) if is_shifted else 0
        moved = torch.arange(extent)
        source, region = moved + shift, None
        source = torch.where(source >= extent, source - extent, source)
        if is_shifted:
            is_moved = (moved >= extent - shift).long()
            region = ((moved >= extent - reach).long() + is_moved) * torch.where(moved + shift > moved, 1, 0)
        back = torch.arange(num_cells) - shift
        return cls(
            count=count,
            reach=reach,
            source=torch.where(source < num_cells, source, torch.zeros_like(source)),
            is_cell=source < num_cells,
            back=torch.where(back < 0, back + extent, back),
            region=region,
        )


@dataclass(frozen=True, kw_only=True)
class AxisWindows:
    """Windows along height or width, which are known when the graph is made."""

    extent: int
    """Tokens, without the padding."""
    reach: int
    shift: int

    @classmethod
    def of(cls, extent: int, full: int, *, is_shifted: bool) -> AxisWindows:
        """Windows of at most ``full`` tokens, shifted by half where there are more."""
        return cls(extent=extent, reach=min(extent, full), shift=full // 2 if is_shifted and extent > full else 0)

    @property
    def missing(self) -> int:
        """Padding at the end."""
        return -self.extent % self.reach

    @property
    def region(self) -> Tensor:
        """As `TimeWindows.region`, ``[windows places]``."""
        padded = self.extent + self.missing
        place = torch.arange(padded)
        label = (place >= padded - self.reach).long() + (place >= padded - self.shift).long()
        return (label if self.shift else place * 0).view(-1, self.reach)


class VideoGraph(nn.Module):
    """`VideoEncoder` behind `normalise`: RGB pixels to tokens, for any number of clips and frames."""

    def __init__(self, encoder: VideoEncoder, pixels: PixelConfig, num_views: int = 1) -> None:
        """Wrap an encoder.

        Args:
            encoder: Its weights are shared.
            pixels: How pixels become numbers.
            num_views: Clips that one video is seen by, one after another along time; their tokens are averaged.
        """
        super().__init__()
        self.encoder, self.pixels, self.num_views = encoder, pixels, num_views

    def forward(self, clip: Tensor) -> Tensor:
        """Tokens ``[b t h w d]`` of clips ``[b frames height width 3]``, RGB, uint8."""
        b, num_frames, height, width, _ = clip.shape
        views = clip.reshape(b * self.num_views, num_frames // self.num_views, height, width, 3)
        tokens = self._encode(embed_patches(self.encoder.patch_embedding, normalise(views, self.pixels)))
        return tokens.unflatten(0, (b, self.num_views)).mean(dim=1) if self.num_views > 1 else tokens

    def _encode(self, tokens: Tensor) -> Tensor:
        encoder = self.encoder
        num_cells, full = tokens.shape[1], encoder.config.window[0]
        plain = TimeWindows.of(num_cells, full, is_shifted=False)
        shifted = TimeWindows.of(num_cells, full, is_shifted=True)
        for stage, blocks in enumerate(encoder.stages):
            assert isinstance(blocks, nn.ModuleList)
            if stage:
                tokens = encoder.mergings[stage - 1](tokens)
            for block in blocks:
                assert isinstance(block, SwinBlock)
                time = shifted if block.attention.is_shifted else plain
                tokens = tokens + attend(block.attention, block.attention_norm(tokens), time)
                tokens = tokens + block.contract(F.gelu(block.expand(block.feed_forward_norm(tokens))))
        return encoder.norm(tokens)


def embed_patches(embedding: PatchEmbedding, clip: Tensor) -> Tensor:
    """What `PatchEmbedding` gives for a normalised clip, for any number of frames."""
    pt, ph, pw = embedding.patch_size
    b, num_frames, height, width, _ = clip.shape
    clip = F.pad(clip, (0, 0, 0, -width % pw, 0, -height % ph))
    h, w = clip.shape[2] // ph, clip.shape[3] // pw
    num_cells = (num_frames + pt - 1) // pt
    place = torch.arange(num_cells * pt)
    is_frame = place < num_frames
    frames = clip.index_select(1, torch.where(is_frame, place, torch.zeros_like(place)))
    frames = frames * is_frame.to(clip.dtype)[:, None, None, None]
    blocks = frames.reshape(b, num_cells, pt, h, ph, w, pw, 3).permute(0, 1, 3, 5, 2, 4, 6, 7)
    weight = embedding.weight.permute(0, 2, 3, 4, 1).reshape(len(embedding.weight), -1)
    pixels = blocks.reshape(b, num_cells, h, w, pt * ph * pw * 3)
    tokens: Tensor = embedding.norm(F.linear(pixels, weight, embedding.bias))
    return tokens


def attend(attention: WindowAttention, tokens: Tensor, time: TimeWindows) -> Tensor:
    """What `WindowAttention` gives for tokens ``[b t h w d]``, for any number of temporal cells."""
    b, t, h, w, d = tokens.shape
    _, full_h, full_w = attention.config.window
    rows = AxisWindows.of(h, full_h, is_shifted=attention.is_shifted)
    columns = AxisWindows.of(w, full_w, is_shifted=attention.is_shifted)
    tokens = F.pad(tokens, (0, 0, 0, columns.missing, 0, rows.missing))
    shift = (rows.shift, columns.shift)
    tokens = tokens.roll((-shift[0], -shift[1]), dims=(2, 3)) if any(shift) else tokens
    num_rows, num_columns = tokens.shape[2] // rows.reach, tokens.shape[3] // columns.reach
    num_windows, area = num_rows * num_columns, rows.reach * columns.reach
    cut = tokens.reshape(b, t, num_rows, rows.reach, num_columns, columns.reach, d).permute(0, 2, 4, 1, 3, 5, 6)
    cut = cut.reshape(b, num_windows, t, area, d).index_select(2, time.source)
    cut = cut * time.is_cell.to(cut.dtype)[:, None, None]
    windows = cut.reshape(b, num_windows * time.count, time.reach * area, d)
    mixed = _mix(attention, windows, _bias(attention, (rows, columns), time))
    mixed = mixed.reshape(b, num_windows, time.count * time.reach, area, d).index_select(2, time.back)
    mixed = mixed.reshape(b, num_rows, num_columns, t, rows.reach, columns.reach, d).permute(0, 3, 1, 4, 2, 5, 6)
    mixed = mixed.reshape(b, t, num_rows * rows.reach, num_columns * columns.reach, d)
    return (mixed.roll(shift, dims=(2, 3)) if any(shift) else mixed)[:, :, :h, :w]


def _mix(attention: WindowAttention, windows: Tensor, bias: Tensor) -> Tensor:
    """Attention within windows ``[b windows l d]``; bias ``[1 or windows, n, l, l]``."""
    b, count, length, d = windows.shape
    heads = attention.num_heads
    projected = attention.query_key_value(windows).reshape(b, count, length, 3, heads, d // heads)
    query, key, value = projected.permute(3, 0, 1, 4, 2, 5).unbind(0)
    scores = (query * (d // heads) ** -0.5) @ key.transpose(-2, -1) + bias
    mixed = (scores.softmax(dim=-1) @ value).transpose(2, 3).reshape(b, count, length, d)
    output: Tensor = attention.output(mixed)
    return output


def _bias(attention: WindowAttention, axes: tuple[AxisWindows, AxisWindows], time: TimeWindows) -> Tensor:
    """Position bias of a window, and where windows are shifted also what keeps strangers apart."""
    rows, columns = axes
    codes = position_codes(attention.config, rows.reach, columns.reach)[torch.arange(time.reach)].flatten()
    full = attention.config.window
    middle = ((full[0] - 1) * (2 * full[1] - 1) + full[1] - 1) * (2 * full[2] - 1) + full[2] - 1
    index = codes[:, None] - codes[None, :] + middle
    bias = attention.position_bias.t()[:, index][None]
    if time.region is None:
        return bias
    area = rows.reach * columns.reach
    in_frame = (rows.region[:, None, :, None] * 3 + columns.region[None, :, None, :]).reshape(-1, 1, 1, area)
    region = in_frame + 9 * time.region.reshape(1, time.count, time.reach, 1)
    region = region.reshape(-1, time.reach * area)
    blocked = region[:, :, None] != region[:, None, :]
    return bias + blocked[:, None].to(bias.dtype) * _BLOCKED


def position_codes(config: VideoEncoderConfig, rows: int, columns: int) -> Tensor:
    """Numbers ``[t, rows * columns]`` of a window's places whose differences tell rows of the bias table.

    The places are those of `clipped_position_index`: of a window of so many rows and columns, and with the full
    extent in time; fewer cells in time are the first of them, by either of its rules.
    """
    full_t, full_h, full_w = config.window
    if config.clipped_window_bias == "published":
        place = torch.arange(full_t * rows * columns)
    else:
        grids = torch.meshgrid(torch.arange(full_t), torch.arange(rows), torch.arange(columns), indexing="ij")
        place = ((grids[0] * full_h + grids[1]) * full_w + grids[2]).flatten()
    t, h, w = place // (full_h * full_w), place // full_w % full_h, place % full_w
    return ((t * (2 * full_h - 1) + h) * (2 * full_w - 1) + w).view(full_t, rows * columns)
