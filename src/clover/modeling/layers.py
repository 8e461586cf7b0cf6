"""One bidirectional transformer, shared by the text and the fusion encoder (BERT's layer, post-norm)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clover.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A stack of BERT layers."""

    width: int = 768
    """Width of a token."""
    num_layers: int = 12
    """Number of layers."""
    num_heads: int = 12
    """Number of attention heads; divides the width."""
    feed_forward_width: int = 3072
    """Width of the hidden layer of the feed-forward part."""
    dropout: float = 0.1
    """Dropout probability after attention and feed-forward, and on the attention probabilities."""
    norm_epsilon: float = 1e-12
    """Epsilon of every LayerNorm (BERT's)."""

    def check(self) -> None:
        """Whether the sizes go together; not asked when this is made, for weights may bring other sizes yet.

        Raises:
            ConfigError: they do not.
        """
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ConfigError(f"transformer width {self.width} is not a multiple of {self.num_heads} heads")


RunLayer = Callable[..., Tensor]
"""How a stack runs one layer: the layer and its inputs in, its output out (`clover.training.compute` has others)."""


def run_plainly(layer: nn.Module, *inputs: Tensor | int | None) -> Tensor:
    """Call the layer."""
    output: Tensor = layer(*inputs)
    return output


class LayerNorm(nn.LayerNorm):
    """Layer norm in float32 (wider, if that comes in), given in the format of its weights: float32 under autocast.

    Autocast by itself would do so on a GPU only; on the processor it follows what comes in.
    """

    def forward(self, tokens: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Normalise the last axis."""
        wide = torch.promote_types(tokens.dtype, torch.float32)
        weight, bias = self.weight.to(wide), self.bias.to(wide)
        normalised = F.layer_norm(tokens.to(wide), self.normalized_shape, weight, bias, self.eps)
        return normalised.to(self.weight.dtype)


class Attention(nn.Module):
    """Multi-head self-attention; the three input projections are one matrix."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        config.check()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def _split(self, tokens: Float[Tensor, "b l d"]) -> tuple[Tensor, Tensor, Tensor]:
        b, length, _ = tokens.shape
        projected = self.query_key_value(tokens).view(b, length, 3, self.num_heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        return query, key, value

    def forward(
        self, tokens: Float[Tensor, "b l d"], is_visible: Bool[Tensor, "b 1 1 l"] | None, num_last: int | None = None
    ) -> Float[Tensor, "b l2 d"]:
        """Let every token, or so many last ones, look at every visible token."""
        query, key, value = self._split(tokens)
        if num_last is not None:
            query = query[:, :, -num_last:]
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=is_visible, dropout_p=dropout)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def probabilities(
        self, tokens: Float[Tensor, "b l d"], is_visible: Bool[Tensor, "b 1 1 l"] | None
    ) -> Float[Tensor, "b n l l"]:
        """Who looks at whom: rows (the looking token) sum to one."""
        query, key, _ = self._split(tokens)
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        if is_visible is not None:
            scores = scores.masked_fill(~is_visible, float("-inf"))
        return scores.softmax(dim=-1)


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each added to its input and normalised afterwards."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = LayerNorm(config.width, eps=config.norm_epsilon)
        self.expand = nn.Linear(config.width, config.feed_forward_width)
        self.contract = nn.Linear(config.feed_forward_width, config.width)
        self.output_norm = LayerNorm(config.width, eps=config.norm_epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, tokens: Float[Tensor, "b l d"], is_visible: Bool[Tensor, "b 1 1 l"] | None, num_last: int | None = None
    ) -> Float[Tensor, "b l2 d"]:
        """One step of mixing and thinking, of every token or of so many last ones."""
        mixed = self.attention(tokens, is_visible, num_last)
        if num_last is not None:
            tokens = tokens[:, -num_last:]
        tokens = self.attention_norm(tokens + self.dropout(mixed))
        hidden = self.contract(F.gelu(self.expand(tokens)))
        return self.output_norm(tokens + self.dropout(hidden))


class Transformer(nn.Module):
    """A stack of layers over one sequence with padding."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.num_layers))
        self.run_layer: RunLayer = run_plainly

    @staticmethod
    def _visible(is_token: Bool[Tensor, "b l"] | None) -> Bool[Tensor, "b 1 1 l"] | None:
        return None if is_token is None else is_token[:, None, None, :]

    def forward(
        self, tokens: Float[Tensor, "b l d"], is_token: Bool[Tensor, "b l"] | None, *, num_last: int | None = None
    ) -> Float[Tensor, "b l2 d"]:
        """Transform a sequence.

        Args:
            tokens: The sequence.
            is_token: False at padding; None means that nothing is padding.
            num_last: Give only so many last places; the last layer then works on no others.
        """
        is_visible = self._visible(is_token)
        for place, layer in enumerate(self.layers, start=1):
            tokens = self.run_layer(layer, tokens, is_visible, num_last if place == len(self.layers) else None)
        return tokens

    @torch.no_grad()
    def attention_maps(
        self, tokens: Float[Tensor, "b l d"], is_token: Bool[Tensor, "b l"] | None
    ) -> list[Float[Tensor, "b n l l"]]:
        """The attention probabilities of every layer, for looking at."""
        is_visible = self._visible(is_token)
        maps = []
        for layer in self.layers:
            assert isinstance(layer, TransformerLayer)
            maps.append(layer.attention.probabilities(tokens, is_visible))
            tokens = layer(tokens, is_visible)
        return maps
