"""Video encoder: Video Swin Transformer (Liu et al., CVPR 2022), channels last from the first to the last line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clover.errors import ConfigError
from clover.modeling.layers import LayerNorm, RunLayer, run_plainly
from clover.modeling.window_attention import window_attention
from clover.modeling.windows import (
    Size,
    clipped_position_index,
    local_position_bias,
    window_order,
)

_MOST_STAGES = 16
"""More than any Swin has: each is twice as wide as the one before."""


@dataclass(frozen=True, kw_only=True)
class VideoEncoderConfig:
    """Geometry of the video encoder; the defaults are Video Swin-Base (method, section 1)."""

    patch_size: Size = (2, 4, 4)
    """Frames, rows and columns of pixels that become one token."""
    width: int = 128
    """Token width in the first stage; it doubles from stage to stage."""
    depths: tuple[int, ...] = (2, 2, 18, 2)
    """Blocks per stage."""
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    """Attention heads per stage."""
    window: Size = (8, 7, 7)
    """Tokens that attend to each other, in time, height and width; every second block shifts it by half."""
    feed_forward_ratio: float = 4.0
    """Hidden width of the feed-forward part over token width."""
    stochastic_depth: float = 0.3
    """Probability to drop the last block's branches in training; rises linearly from 0 at the first block."""
    clipped_window_bias: Literal["published", "exact"] = "published"
    """Position bias of a window clipped by a small feature map: `exact` uses the true distances, `published`
    the first rows and columns of the full window's table as the authors' code does. They agree where only
    time is clipped, that is for every 224-pixel input."""
    initial_position_bias: Literal["published", "local"] = "published"
    """Fresh position bias: small noise as published, or every head looking at one neighbour (`local_position_bias`),
    which short runs from nothing need: a bias of 0.02 takes thousands of steps to tell near from far."""
    norm_epsilon: float = 1e-5
    """Epsilon of every LayerNorm."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.depths) <= _MOST_STAGES:
            raise ConfigError(f"depths has {len(self.depths)} stages; give 1 to {_MOST_STAGES}")

    def check(self) -> None:
        """Whether the sizes go together; not asked when this is made, for weights may bring other sizes yet.

        Raises:
            ConfigError: they do not.
        """
        if len(self.depths) != len(self.num_heads):
            raise ConfigError(f"depths {self.depths} and num_heads {self.num_heads} differ in length")
        for stage, heads in enumerate(self.num_heads):
            if heads < 1 or (self.width << stage) % heads:
                raise ConfigError(f"stage {stage} of width {self.width << stage} does not divide into {heads} heads")

    @property
    def output_width(self) -> int:
        """Width of the tokens that come out."""
        return self.width << (len(self.depths) - 1)

    def output_grid(self, num_frames: int, height: int, width: int) -> Size:
        """Temporal cells, rows and columns of the tokens that come out for a clip of this size."""
        stride = 1 << (len(self.depths) - 1)
        t, h, w = (
            -(-extent // patch) for extent, patch in zip((num_frames, height, width), self.patch_size, strict=True)
        )
        return t, -(-h // stride), -(-w // stride)


def _size(extents: Iterable[int]) -> Size:
    t, h, w = extents
    return t, h, w


class WindowAttention(nn.Module):
    """Self-attention within (shifted) windows, with a learned bias per relative position."""

    def __init__(self, config: VideoEncoderConfig, width: int, num_heads: int, *, is_shifted: bool) -> None:
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.is_shifted = is_shifted
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        num_distances = prod(2 * extent - 1 for extent in config.window)
        self.position_bias = nn.Parameter(torch.empty(num_distances, num_heads))

    @torch.no_grad()
    def reset_own_parameters(self) -> None:
        """Swin's initial position bias, or the local one."""
        if self.config.initial_position_bias == "local":
            self.position_bias.copy_(local_position_bias(self.config.window, self.num_heads))
        else:
            nn.init.trunc_normal_(self.position_bias, std=0.02)

    def _bias(self, window: Size, blocked: Bool[Tensor, "kinds l l"]) -> Float[Tensor, "kinds n l l"]:
        """The bias of every kind of window: by position, and -100 between tokens that are no neighbours."""
        index = clipped_position_index(
            self.config.window, window, self.config.clipped_window_bias, self.position_bias.device
        )
        # columns of the transposed table: its gradient is summed up many times faster than that of rows
        bias = self.position_bias.t().index_select(1, index.flatten()).view(1, -1, *index.shape)
        return bias if len(blocked) == 1 else bias + blocked[:, None].to(bias.dtype) * -100.0

    def forward(self, tokens: Float[Tensor, "b t h w d"]) -> Float[Tensor, "b t h w d"]:
        """Attend within windows; a map smaller than the window clips it and is not shifted along that axis."""
        b, t, h, w, d = tokens.shape
        extents = (t, h, w)
        full = self.config.window
        window = _size(min(extent, reach) for extent, reach in zip(extents, full, strict=True))
        shift = _size(
            reach // 2 if self.is_shifted and extent > reach else 0 for extent, reach in zip(extents, full, strict=True)
        )
        missing = [-extent % reach for extent, reach in zip(extents, window, strict=True)]
        if any(missing):
            tokens = F.pad(tokens, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        size = _size(tokens.shape[1:4])
        order = window_order(b, size, window, shift, tokens.device)
        projected = self.query_key_value(order.split(tokens))
        projected = projected.unflatten(-1, (3, self.num_heads, d // self.num_heads))
        mixed = window_attention(projected, self._bias(window, order.blocked), order.counts)
        tokens = order.join(self.output(mixed), b, size)
        return tokens[:, :t, :h, :w] if any(missing) else tokens


class SwinBlock(nn.Module):
    """Window attention and feed-forward, each normalised before and added after."""

    def __init__(
        self,
        config: VideoEncoderConfig,
        width: int,
        num_heads: int,
        *,
        is_shifted: bool,
        drop_probability: float,
    ) -> None:
        super().__init__()
        hidden_width = int(width * config.feed_forward_ratio)
        self.drop_probability = drop_probability
        self.attention_norm = LayerNorm(width, eps=config.norm_epsilon)
        self.attention = WindowAttention(config, width, num_heads, is_shifted=is_shifted)
        self.feed_forward_norm = LayerNorm(width, eps=config.norm_epsilon)
        self.expand = nn.Linear(width, hidden_width)
        self.contract = nn.Linear(hidden_width, width)

    def draw_factors(self, tokens: Float[Tensor, "b t h w d"]) -> Float[Tensor, "2 b 1 1 1 1"] | None:
        """What stochastic depth multiplies the two branches of every sample with: 0, or one over the share kept.

        None where nothing is dropped. It is drawn outside of `forward`, so that this is a function of its inputs and
        blocks that differ in their probability alone share their compiled code.
        """
        if not self.training or self.drop_probability == 0.0:
            return None
        keep = 1.0 - self.drop_probability
        shape = (2, len(tokens)) + (1,) * (tokens.ndim - 1)
        return (torch.rand(shape, device=tokens.device) < keep).to(tokens.dtype).div_(keep)

    def forward(
        self, tokens: Float[Tensor, "b t h w d"], factors: Float[Tensor, "2 b 1 1 1 1"] | None
    ) -> Float[Tensor, "b t h w d"]:
        """One block; ``factors`` are those of `draw_factors`."""
        mixed = self.attention(self.attention_norm(tokens))
        tokens = tokens + (mixed if factors is None else mixed * factors[0])
        hidden = self.contract(F.gelu(self.expand(self.feed_forward_norm(tokens))))
        return tokens + (hidden if factors is None else hidden * factors[1])


class PatchMerging(nn.Module):
    """Four neighbours (never in time) become one token of twice the width."""

    def __init__(self, config: VideoEncoderConfig, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(4 * width, eps=config.norm_epsilon)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Float[Tensor, "b t h w d"]) -> Float[Tensor, "b t h2 w2 d2"]:
        """Halve height and width, odd ones padded by one at the end."""
        h, w = tokens.shape[2:4]
        if h % 2 or w % 2:
            tokens = F.pad(tokens, (0, 0, 0, w % 2, 0, h % 2))
        corners = rearrange(tokens, "b t (h row) (w column) d -> b t h w (column row d)", row=2, column=2)
        return self.reduction(self.norm(corners))


class PatchEmbedding(nn.Module):
    """Non-overlapping blocks of pixels to tokens; the convolution is written as one matrix product."""

    def __init__(self, config: VideoEncoderConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.weight = nn.Parameter(torch.empty(config.width, 3, *config.patch_size))
        self.bias = nn.Parameter(torch.empty(config.width))
        self.norm = LayerNorm(config.width, eps=config.norm_epsilon)

    @torch.no_grad()
    def reset_own_parameters(self) -> None:
        """Initial values of a PyTorch convolution."""
        bound = prod(self.weight.shape[1:]) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, clip: Float[Tensor, "b t h w 3"]) -> Float[Tensor, "b t2 h2 w2 d"]:
        """Embed a normalised clip, padded with zeros at the end to a multiple of the patch."""
        pt, ph, pw = self.patch_size
        missing = [-extent % patch for extent, patch in zip(clip.shape[1:4], self.patch_size, strict=True)]
        if any(missing):
            clip = F.pad(clip, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        b, t, h, w, c = clip.shape
        blocks = clip.view(b, t // pt, pt, h // ph, ph, w // pw, pw, c).permute(0, 1, 3, 5, 2, 4, 6, 7)
        pixels = blocks.reshape(b, t // pt, h // ph, w // pw, pt * ph * pw * c)
        weight = self.weight.permute(0, 2, 3, 4, 1).reshape(len(self.weight), -1)
        return self.norm(F.linear(pixels, weight, self.bias))


class VideoEncoder(nn.Module):
    """Normalised clips to video tokens."""

    def __init__(self, config: VideoEncoderConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.patch_embedding = PatchEmbedding(config)
        self.mask_token = nn.Parameter(torch.empty(config.width))
        last = max(1, sum(config.depths) - 1)
        drop = [config.stochastic_depth * block / last for block in range(sum(config.depths))]
        self.stages = nn.ModuleList()
        self.mergings = nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(config.depths, config.num_heads, strict=True)):
            width = config.width << stage
            if stage:
                self.mergings.append(PatchMerging(config, width // 2))
            first = sum(config.depths[:stage])
            self.stages.append(
                nn.ModuleList(
                    SwinBlock(config, width, heads, is_shifted=block % 2 == 1, drop_probability=drop[first + block])
                    for block in range(depth)
                )
            )
        self.norm = LayerNorm(config.output_width, eps=config.norm_epsilon)
        self.run_layer: RunLayer = run_plainly

    @torch.no_grad()
    def reset_own_parameters(self) -> None:
        """Initial mask token."""
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def replace_masked(
        self, patches: Float[Tensor, "b t h w d"], is_masked_cell: Bool[Tensor, "b gh gw"]
    ) -> Float[Tensor, "b t h w d"]:
        """Put the mask token at all patches of the masked cells, in every frame (tube mask).

        Raises:
            ConfigError: the patch grid is not a multiple of the mask grid.
        """
        (h, w), (gh, gw) = patches.shape[2:4], is_masked_cell.shape[1:]
        if h % gh or w % gw:
            raise ConfigError(f"a mask of {gh} x {gw} cells does not divide a grid of {h} x {w} patches")
        is_masked = is_masked_cell.repeat_interleave(h // gh, 1).repeat_interleave(w // gw, 2)
        return torch.where(is_masked[:, None, :, :, None], self.mask_token.to(patches.dtype), patches)

    def encode_patches(self, patches: Float[Tensor, "b t h w d"]) -> Float[Tensor, "b t h2 w2 d2"]:
        """Run the stages on embedded patches."""
        tokens = patches
        for stage, blocks in enumerate(self.stages):
            assert isinstance(blocks, nn.ModuleList)
            if stage:
                tokens = self.mergings[stage - 1](tokens)
            for block in blocks:
                assert isinstance(block, SwinBlock)
                tokens = self.run_layer(block, tokens, block.draw_factors(tokens))
        return self.norm(tokens)

    def layers_in_order(self) -> list[nn.Module]:
        """Blocks and mergings, from the input to the output."""
        found: list[nn.Module] = []
        for stage, blocks in enumerate(self.stages):
            assert isinstance(blocks, nn.ModuleList)
            found += [self.mergings[stage - 1], *blocks] if stage else blocks
        return found

    def encode_kinds(
        self, clip: Float[Tensor, "b t h w 3"], is_masked_cell: Bool[Tensor, "b gh gw"], kinds: Sequence[str]
    ) -> Float[Tensor, "kinds_b t2 h2 w2 d"]:
        """Encode normalised clips in several kinds in one call.

        Args:
            clip: The clips.
            is_masked_cell: Their tube masks.
            kinds: Of "masked" and "complete", one or both.

        Returns:
            Tokens of all clips of the first kind, then of the second.
        """
        patches = self.patch_embedding(clip)
        parts = [self.replace_masked(patches, is_masked_cell) if kind == "masked" else patches for kind in kinds]
        return self.encode_patches(torch.cat(parts))

    def forward(
        self, clip: Float[Tensor, "b t h w 3"], is_masked_cell: Bool[Tensor, "b gh gw"] | None = None
    ) -> Float[Tensor, "b t2 h2 w2 d"]:
        """Encode normalised clips of any size, optionally with a tube mask over the final grid's cells."""
        patches = self.patch_embedding(clip)
        if is_masked_cell is not None:
            patches = self.replace_masked(patches, is_masked_cell)
        return self.encode_patches(patches)
