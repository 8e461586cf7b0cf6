"""Fusion encoder: video tokens and text tokens to fused tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clover.errors import ConfigError
from clover.modeling.cross_layers import CrossTransformer
from clover.modeling.layers import LayerNorm, Transformer, TransformerConfig

FusionKind = Literal["concatenated", "cross_attention", "gated"]


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How video tokens and text tokens come together (method, section 1; decision 0014)."""

    kind: FusionKind = "concatenated"
    """concatenated: one bidirectional transformer over ``[video tokens ; text tokens]``, the paper's; cross_attention:
    text looks at text, then at the video; gated: the same through gates that are closed at the start."""
    video_width: int = 1024
    """Width of a video token as the video encoder gives it."""
    num_spatial_positions: int = 49
    """Number of learned spatial positions: cells of the video encoder's final grid."""
    num_temporal_positions: int = 4
    """Number of learned temporal positions: most temporal cells that can be fused."""
    has_own_cls: bool = False
    """Put one learned token ahead of the text (the published fill-in-the-blank configuration)."""
    transformer: TransformerConfig = field(default_factory=lambda: TransformerConfig(num_layers=3))
    """The layers."""


@dataclass(frozen=True, kw_only=True)
class FusedTokens:
    """Output of the fusion encoder."""

    video: Float[Tensor, "b v d"] | None
    """Tokens at the video's positions, time-major; None where nobody asked for them, and where only text is fused."""
    text: Float[Tensor, "b l d"]
    """Tokens at the text's positions; the first, at [CLS], is the paper's ``M_f``."""
    own_cls: Float[Tensor, "b 1 d"] | None

    @property
    def cls(self) -> Float[Tensor, "b d"]:
        """The fused embedding ``M_f``: the output at the text's [CLS]."""
        return self.text[:, 0]


class FusionEncoder(nn.Module):
    """Joins the two modalities token by token.

    The kinds other than ``concatenated`` give tokens at the text's places alone: the video is looked at, and stays as
    it is.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width = config.transformer.width
        self.num_temporal_positions = config.num_temporal_positions
        self.num_spatial_positions = config.num_spatial_positions
        self.video_input = nn.Linear(config.video_width, width)
        self.spatial_position = nn.Parameter(torch.empty(config.num_spatial_positions, width))
        self.temporal_position = nn.Parameter(torch.empty(config.num_temporal_positions, width))
        self.type_embedding = nn.Embedding(2, width) if config.kind == "concatenated" else None
        self.video_norm = LayerNorm(width, eps=1e-5)
        self.own_cls = nn.Parameter(torch.empty(width)) if config.has_own_cls else None
        self.transformer: Transformer | CrossTransformer
        if config.kind == "concatenated":
            self.transformer = Transformer(config.transformer)
        else:
            self.transformer = CrossTransformer(config.transformer, config.kind)

    @torch.no_grad()
    def reset_own_parameters(self) -> None:
        """Initial values as published: positions and own [CLS] small, types standard normal."""
        nn.init.trunc_normal_(self.spatial_position, std=0.02)
        nn.init.trunc_normal_(self.temporal_position, std=0.02)
        if self.type_embedding is not None:
            nn.init.normal_(self.type_embedding.weight)
        if self.own_cls is not None:
            nn.init.trunc_normal_(self.own_cls, std=0.02)

    def _placed(self, video: Float[Tensor, "b t h w dv"]) -> Float[Tensor, "b v d"]:
        """Video tokens in the width of the text's, with their positions, and of type 0 where there are types."""
        _, t, h, w, _ = video.shape
        if t > self.num_temporal_positions or h * w != self.num_spatial_positions:
            raise ConfigError(
                f"fusion takes at most {self.num_temporal_positions} temporal cells of "
                f"{self.num_spatial_positions} spatial cells, but the video has {t} of {h * w} "
                f"({h} x {w}): use the model's own number of frames and frame size"
            )
        positions = self.temporal_position[:t, None] + self.spatial_position
        tokens = self.video_input(video.flatten(2, 3)) + positions
        if self.type_embedding is not None:
            tokens = tokens + self.type_embedding.weight[0]
        placed: Tensor = self.video_norm(tokens)
        return placed.flatten(1, 2)

    def _after(
        self, ahead: list[Float[Tensor, "b _ d"]], text: Float[Tensor, "b l d"], is_token: Bool[Tensor, "b l"]
    ) -> tuple[Float[Tensor, "b s d"], Bool[Tensor, "b s"]]:
        """What is ahead, the own [CLS] if there is one, and the text; and which of these places are no padding."""
        own = [] if self.own_cls is None else [self.own_cls.expand(text.shape[0], 1, -1)]
        sequence = torch.cat([*ahead, *own, text], dim=1)
        num_ahead = sequence.shape[1] - text.shape[1]
        return sequence, nn.functional.pad(is_token, (num_ahead, 0), value=True)

    def join(
        self,
        video: Float[Tensor, "b t h w dv"],
        text: Float[Tensor, "b l d"],
        is_token: Bool[Tensor, "b l"],
    ) -> tuple[Float[Tensor, "b s d"], Bool[Tensor, "b s"]]:
        """The joint input sequence of ``concatenated`` and which of its places are no padding."""
        assert self.type_embedding is not None, "the other kinds have no joint sequence"
        return self._after([self._placed(video)], text + self.type_embedding.weight[1], is_token)

    def forward(
        self,
        video: Float[Tensor, "b t h w dv"],
        text: Float[Tensor, "b l d"],
        is_token: Bool[Tensor, "b l"],
        *,
        gives_video: bool = True,
    ) -> FusedTokens:
        """Fuse video tokens (of the video encoder) with text tokens (of the text encoder).

        Args:
            video: Tokens of the video encoder.
            text: Tokens of the text encoder.
            is_token: False at padding.
            gives_video: Give the tokens at the video's positions too, if they are fused; without, the last layer, which
                nobody looks at there, is worked out at the text's alone.

        Raises:
            ConfigError: the video has more temporal cells or another grid than there are positions for.
        """
        num_text = text.shape[1]
        if isinstance(self.transformer, CrossTransformer):
            sequence, is_present = self._after([], text, is_token)
            fused = self.transformer(sequence, is_present, self._placed(video))
            own_cls = None if self.own_cls is None else fused[:, :1]
            return FusedTokens(video=None, text=fused[:, -num_text:], own_cls=own_cls)
        sequence, is_present = self.join(video, text, is_token)
        num_last = num_text if self.own_cls is None else num_text + 1
        fused = self.transformer(sequence, is_present, num_last=None if gives_video else num_last)
        return FusedTokens(
            video=fused[:, :-num_last] if gives_video else None,
            text=fused[:, -num_text:],
            own_cls=None if self.own_cls is None else fused[:, -num_last : 1 - num_last],
        )
