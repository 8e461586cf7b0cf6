"""A video encoder of Hugging Face's transformers in place of Clover's own.

Video models (VideoMAE, V-JEPA 2, TimeSformer, ViViT) are taken as they are. Image models (CLIP, SigLIP, DINOv2, ViT,
Swin, ...) see each frame by itself; what follows mixes the frames of each cell over time, and at first changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clover.errors import ConfigError
from clover.modeling.huggingface import Borrowed
from clover.modeling.layers import Attention, LayerNorm, TransformerConfig
from clover.modeling.windows import Size

_HEAD_WIDTH = 64


@dataclass(frozen=True, kw_only=True)
class BorrowedVideoConfig:
    """An image or video model of the library: its config and what Clover must know of it."""

    architecture: dict[str, Any]
    """The library's config of the model."""
    kind: Literal["image", "video"]
    """An image model sees frame by frame."""
    output_width: int
    """Width of the tokens that come out."""
    grid: Size
    """Temporal cells, rows and columns of the tokens of a clip of `num_frames`."""
    num_frames: int
    """Frames of a clip."""
    frame_size: int
    """Rows and columns of pixels."""
    frames_per_cell: int = 1
    """Frames that become one temporal cell."""
    has_fixed_frames: bool = False
    """Whether the model takes that number of frames only; others are repeated or left out evenly."""
    num_extra_tokens: int = 0
    """Tokens in front of the grid's ([CLS], registers), which are left out."""
    is_time_last: bool = False
    """Whether the tokens of one cell at all times follow one another (TimeSformer), not those of one time."""
    interpolates: bool = False
    """Whether the model's positions must be stretched to this frame size."""

    def output_grid(self, num_frames: int, height: int, width: int) -> Size:
        """Temporal cells, rows and columns of the tokens that come out for a clip of this size.

        Raises:
            ConfigError: the frames are not of the size that the encoder was set up for.
        """
        if (height, width) != (self.frame_size, self.frame_size):
            raise ConfigError(
                f"the encoder of this model takes frames of {self.frame_size} x {self.frame_size} pixels, "
                f"not of {width} x {height}; use --inputs.frames.size {self.frame_size}"
            )
        cells = self.grid[0] if self.has_fixed_frames else -(-num_frames // self.frames_per_cell)
        return cells, self.grid[1], self.grid[2]


class TemporalMixing(nn.Module):
    """One transformer layer over the times of each cell, with learned positions; fresh, it gives what it gets."""

    def __init__(self, width: int, num_frames: int) -> None:
        super().__init__()
        num_heads = width // _HEAD_WIDTH if width % _HEAD_WIDTH == 0 else 1
        self.position = nn.Parameter(torch.empty(num_frames, width))
        self.attention_norm = LayerNorm(width)
        self.attention = Attention(TransformerConfig(width=width, num_heads=num_heads, dropout=0.0))
        self.feed_forward_norm = LayerNorm(width)
        self.expand = nn.Linear(width, width)
        self.contract = nn.Linear(width, width)

    @torch.no_grad()
    def reset_own_parameters(self) -> None:
        """Small positions; both branches begin at zero."""
        nn.init.trunc_normal_(self.position, std=0.02)
        nn.init.zeros_(self.attention.output.weight)
        nn.init.zeros_(self.contract.weight)

    def _positions(self, num_frames: int) -> Float[Tensor, "t d"]:
        """Those of the first frames; of a longer clip, stretched."""
        if num_frames <= len(self.position):
            return self.position[:num_frames]
        return F.interpolate(self.position.t()[None], size=num_frames, mode="linear", align_corners=True)[0].t()

    def forward(self, tokens: Float[Tensor, "b t h w d"]) -> Float[Tensor, "b t h w d"]:
        """Let every token look at the same cell of the other frames."""
        b, t, h, w, _ = tokens.shape
        columns = rearrange(tokens, "b t h w d -> (b h w) t d")
        columns = columns + self.attention(self.attention_norm(columns) + self._positions(t), None)
        columns = columns + self.contract(F.gelu(self.expand(self.feed_forward_norm(columns))))
        return rearrange(columns, "(b h w) t d -> b t h w d", b=b, h=h, w=w)


class BorrowedVideoEncoder(nn.Module):
    """Normalised clips to video tokens, by a model of the library."""

    def __init__(self, config: BorrowedVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.borrowed = Borrowed(config.architecture)
        self.mask_token = nn.Parameter(torch.empty(patch_layer(self.borrowed.model).out_channels))
        self.mixing = TemporalMixing(config.output_width, config.num_frames) if config.kind == "image" else None

    @torch.no_grad()
    def reset_own_parameters(self) -> None:
        """Initial mask token."""
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def layers_in_order(self) -> list[nn.Module]:
        """The layers of the library's model, from the input to the output."""
        return self.borrowed.layers_in_order()

    def encode_kinds(
        self, clip: Float[Tensor, "b t h w 3"], is_masked_cell: Bool[Tensor, "b gh gw"], kinds: Sequence[str]
    ) -> Float[Tensor, "kinds_b t2 h2 w2 d"]:
        """Encode clips masked, complete or both in one call, one kind after the other; see `VideoEncoder`."""
        masks = [is_masked_cell if kind == "masked" else torch.zeros_like(is_masked_cell) for kind in kinds]
        tokens: Tensor = self(clip.repeat(len(kinds), 1, 1, 1, 1), torch.cat(masks))
        return tokens

    def forward(
        self, clip: Float[Tensor, "b t h w 3"], is_masked_cell: Bool[Tensor, "b gh gw"] | None = None
    ) -> Float[Tensor, "b t2 h2 w2 d"]:
        """Encode normalised clips, optionally with a tube mask over cells of any number.

        Raises:
            ConfigError: the frames are not of the encoder's size.
        """
        config = self.config
        _, h, w = config.output_grid(*clip.shape[1:4])
        b, clip = len(clip), self._as_many_frames(clip)
        axes = "(b t) c h w" if config.kind == "image" else "b t c h w"
        pixels = rearrange(clip, f"b t h w c -> {axes}")
        options = {"interpolate_pos_encoding": True} if config.interpolates else {}
        with self._masked(is_masked_cell, b):
            output = call(self.borrowed.model, pixels, **options)
        if output.ndim == 4:  # a convolutional network's map
            output = rearrange(output, "n d h w -> n (h w) d")
        cells = output[:, config.num_extra_tokens :]
        if config.kind == "image":
            tokens = rearrange(cells, "(b t) (h w) d -> b t h w d", b=b, h=h, w=w)
        else:
            order = "(h w t)" if config.is_time_last else "(t h w)"
            tokens = rearrange(cells, f"b {order} d -> b t h w d", h=h, w=w)
        return tokens if self.mixing is None else self.mixing(tokens)

    def _as_many_frames(self, clip: Float[Tensor, "b t h w 3"]) -> Float[Tensor, "b t2 h w 3"]:
        """Frames as many as the model takes: an image is repeated, a longer clip thinned out evenly."""
        num_frames, per_cell = clip.shape[1], self.config.frames_per_cell
        wanted = self.config.num_frames if self.config.has_fixed_frames else -(-num_frames // per_cell) * per_cell
        if wanted == num_frames:
            return clip
        places = (torch.arange(wanted, device=clip.device) * 2 + 1) * num_frames // (2 * wanted)
        return clip[:, places]

    @contextmanager
    def _masked(self, is_masked_cell: Bool[Tensor, "b gh gw"] | None, num_clips: int) -> Iterator[None]:
        """Meanwhile the embedded patches of masked cells are the mask token, before positions are added to them."""
        if is_masked_cell is None:
            yield
            return
        cells = is_masked_cell[:, None].float()

        def replace(_layer: nn.Module, _inputs: Any, patches: Tensor) -> Tensor:
            is_masked = F.interpolate(cells, size=tuple(patches.shape[-2:]), mode="nearest") > 0
            is_masked = is_masked.repeat_interleave(len(patches) // num_clips, dim=0)
            shape = (1, -1) + (1,) * (patches.ndim - 2)
            if patches.ndim == 5:
                is_masked = is_masked[:, :, None]
            return torch.where(is_masked, self.mask_token.to(patches.dtype).view(shape), patches)

        handle = patch_layer(self.borrowed.model).register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()


def patch_layer(model: nn.Module) -> nn.Conv2d | nn.Conv3d:
    """The convolution that turns pixels into patches: a model's first.

    Raises:
        ConfigError: there is none, or its patches overlap, so that a mask would hide nothing.
    """
    layer = next((part for part in model.modules() if isinstance(part, nn.Conv2d | nn.Conv3d)), None)
    if layer is None:
        raise ConfigError(f"{type(model).__name__} has no convolution that makes patches; its video cannot be masked")
    if layer.kernel_size != layer.stride:
        raise ConfigError(f"the patches of {type(model).__name__} overlap; its video cannot be masked")
    return layer


def call(model: nn.Module, pixels: Tensor, **options: Any) -> Tensor:
    """The last hidden state of a model of the library, whatever it calls its input."""
    name: Any = model.main_input_name
    if name == "pixel_values_videos":  # V-JEPA 2, whose predictor is left out
        options = {"skip_predictor": True} | options
    output: Tensor = model(**{name: pixels}, **options).last_hidden_state
    return output
