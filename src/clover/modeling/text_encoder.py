"""Text encoder: BERT, token ids to one vector per token."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clover.errors import ConfigError
from clover.modeling.layers import LayerNorm, Transformer, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig:
    """BERT's embeddings and layers; the defaults are bert-base-uncased (method, section 1)."""

    vocabulary_size: int = 30_522
    """Number of word pieces."""
    max_length: int = 512
    """Number of learned positions: the longest text in tokens."""
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    """The layers."""

    @property
    def width(self) -> int:
        """Width of a token."""
        return self.transformer.width

    @property
    def norm_epsilon(self) -> float:
        """Epsilon of every LayerNorm."""
        return self.transformer.norm_epsilon


class TextEncoder(nn.Module):
    """BERT without its pooler, which no Clover objective reads."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        width = config.transformer.width
        self.max_length = config.max_length
        self.word_embedding = nn.Embedding(config.vocabulary_size, width, padding_idx=0)
        self.position_embedding = nn.Embedding(config.max_length, width)
        self.type_embedding = nn.Embedding(2, width)
        """BERT's sentence types; only the first is used, as in the published run."""
        self.norm = LayerNorm(width, eps=config.transformer.norm_epsilon)
        self.dropout = nn.Dropout(config.transformer.dropout)
        self.transformer = Transformer(config.transformer)

    def layers_in_order(self) -> list[nn.Module]:
        """The layers, from the input to the output."""
        return list(self.transformer.layers)

    def embed(self, token_ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Sum of word, position and type embeddings, normalised."""
        length = token_ids.shape[1]
        if length > self.max_length:
            raise ConfigError(f"a text of {length} tokens is longer than the encoder's {self.max_length} positions")
        positions = torch.arange(length, device=token_ids.device)
        summed = self.word_embedding(token_ids) + self.position_embedding(positions) + self.type_embedding.weight[0]
        return self.dropout(self.norm(summed))

    def forward(self, token_ids: Int[Tensor, "b l"], is_token: Bool[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Encode texts; the first token is [CLS]. Vectors at padding are computed and meaningless."""
        return self.transformer(self.embed(token_ids), is_token)
