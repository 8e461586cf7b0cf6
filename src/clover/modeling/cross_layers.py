"""Layers in which text looks at video: the alternatives to one joint sequence (`clover.modeling.fusion`)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clover.modeling.layers import Attention, LayerNorm, RunLayer, TransformerConfig, run_plainly


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, tokens: Float[Tensor, "b l d"], seen: Float[Tensor, "b v d"]) -> Float[Tensor, "b l d"]:
        """Let every token look at everything that is seen."""
        b, length, _ = tokens.shape
        query = self.query(tokens).view(b, length, self.num_heads, -1).transpose(1, 2)
        projected = self.key_value(seen).view(b, seen.shape[1], 2, self.num_heads, -1)
        key, value = projected.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.output(mixed.transpose(1, 2).flatten(2))


class CrossLayer(nn.Module):
    """What both kinds of layers have: text looks at text, then at the video, then thinks."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = LayerNorm(config.width, eps=config.norm_epsilon)
        self.cross_attention = CrossAttention(config)
        self.cross_norm = LayerNorm(config.width, eps=config.norm_epsilon)
        self.expand = nn.Linear(config.width, config.feed_forward_width)
        self.contract = nn.Linear(config.feed_forward_width, config.width)
        self.output_norm = LayerNorm(config.width, eps=config.norm_epsilon)
        self.dropout = nn.Dropout(config.dropout)


class CrossAttentionLayer(CrossLayer):
    """BERT's layer with a cross-attention between its two parts, each added to its input and normalised afterwards.

    As the multi-modal encoder of ALBEF (Li et al. 2021, arXiv 2107.07651, section 3.1).
    """

    def forward(
        self, tokens: Float[Tensor, "b l d"], is_visible: Bool[Tensor, "b 1 1 l"], seen: Float[Tensor, "b v d"]
    ) -> Float[Tensor, "b l d"]:
        """Text looks at text, at the video, and thinks."""
        tokens = self.attention_norm(tokens + self.dropout(self.attention(tokens, is_visible)))
        tokens = self.cross_norm(tokens + self.dropout(self.cross_attention(tokens, seen)))
        hidden = self.contract(F.gelu(self.expand(tokens)))
        return self.output_norm(tokens + self.dropout(hidden))


class GatedLayer(CrossLayer):
    """The same three parts, normalised beforehand, each added through a gate ``tanh(g)`` with ``g`` 0 at the start.

    So a fresh layer gives back the text as it is. The gates are those of Flamingo's GATED XATTN-DENSE layers (Alayrac
    et al. 2022, arXiv 2204.14198). There, layers of the language model come in between; here the text encoder comes
    before, so the layer has a self-attention of its own, gated too.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.gates = nn.Parameter(torch.empty(3))

    @torch.no_grad()
    def reset_own_parameters(self) -> None:
        """Close all gates."""
        self.gates.zero_()

    def forward(
        self, tokens: Float[Tensor, "b l d"], is_visible: Bool[Tensor, "b 1 1 l"], seen: Float[Tensor, "b v d"]
    ) -> Float[Tensor, "b l d"]:
        """Text looks at text, at the video, and thinks, as far as the gates are open."""
        at_text, at_video, thinking = self.gates.tanh()
        tokens = tokens + at_text * self.dropout(self.attention(self.attention_norm(tokens), is_visible))
        tokens = tokens + at_video * self.dropout(self.cross_attention(self.cross_norm(tokens), seen))
        hidden = self.contract(F.gelu(self.expand(self.output_norm(tokens))))
        return tokens + thinking * self.dropout(hidden)


class CrossTransformer(nn.Module):
    """A stack of layers over one sequence with padding, which all look at another without."""

    def __init__(self, config: TransformerConfig, kind: Literal["cross_attention", "gated"]) -> None:
        super().__init__()
        layer = {"cross_attention": CrossAttentionLayer, "gated": GatedLayer}[kind]
        self.layers = nn.ModuleList(layer(config) for _ in range(config.num_layers))
        self.run_layer: RunLayer = run_plainly

    def forward(
        self, tokens: Float[Tensor, "b l d"], is_token: Bool[Tensor, "b l"], seen: Float[Tensor, "b v d"]
    ) -> Float[Tensor, "b l d"]:
        """Transform a sequence.

        Args:
            tokens: The sequence.
            is_token: False at padding.
            seen: What it looks at besides itself.
        """
        is_visible = is_token[:, None, None, :]
        for layer in self.layers:
            tokens = self.run_layer(layer, tokens, is_visible, seen)
        return tokens
