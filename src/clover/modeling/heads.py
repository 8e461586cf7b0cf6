"""Tokens to embedding, word scores or answer scores."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clover.modeling.layers import LayerNorm


class VideoProjection(nn.Module):
    """Pooled video tokens (or a fused [CLS]) to the shared space: Linear, LayerNorm, GELU, Linear, LayerNorm."""

    def __init__(self, *, input_width: int, hidden_width: int, output_width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(input_width, hidden_width)
        self.hidden_norm = LayerNorm(hidden_width)
        self.contract = nn.Linear(hidden_width, output_width)
        self.output_norm = LayerNorm(output_width)

    def forward(self, pooled: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Project; the result is not L2-normalised."""
        return self.output_norm(self.contract(F.gelu(self.hidden_norm(self.expand(pooled)))))


class TextProjection(nn.Module):
    """A [CLS] vector to the shared space: Linear, GELU, Dropout, Linear."""

    def __init__(self, *, input_width: int, output_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(input_width, output_width)
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(output_width, output_width)

    def forward(self, cls: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Project; the result is not L2-normalised."""
        return self.contract(self.dropout(F.gelu(self.expand(cls))))


class MaskedWordHead(nn.Module):
    """BERT's prediction head: fused tokens to word-piece scores. Its decoder is tied to nothing."""

    def __init__(self, *, width: int, vocabulary_size: int, norm_epsilon: float = 1e-12) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.norm = LayerNorm(width, eps=norm_epsilon)
        self.decoder = nn.Linear(width, vocabulary_size)

    def forward(self, tokens: Float[Tensor, "*places d"]) -> Float[Tensor, "*places vocabulary"]:
        """Scores (logits) of every word piece at every given place; give it the masked places only."""
        return self.decoder(self.norm(F.gelu(self.transform(tokens))))


class ClassifierHead(nn.Module):
    """A fused vector to scores: Dropout, Linear, LayerNorm, GELU, Linear."""

    def __init__(self, *, width: int, hidden_width: int, num_scores: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(width, hidden_width)
        self.norm = LayerNorm(hidden_width)
        self.scores = nn.Linear(hidden_width, num_scores)

    def forward(self, fused: Float[Tensor, "b d"]) -> Float[Tensor, "b scores"]:
        """Scores (logits)."""
        return self.scores(F.gelu(self.norm(self.hidden(self.dropout(fused)))))


class OpenEndedHead(ClassifierHead):
    """Fused [CLS] (or [MASK]) to scores over the answer vocabulary; hidden width is half the token width."""

    def __init__(self, *, width: int, num_answers: int, dropout: float = 0.1) -> None:
        super().__init__(width=width, hidden_width=width // 2, num_scores=num_answers, dropout=dropout)


class ChoiceHead(ClassifierHead):
    """Fused [CLS] of video and one composed candidate text to that candidate's score."""

    def __init__(self, *, width: int, dropout: float = 0.5) -> None:
        super().__init__(width=width, hidden_width=256, num_scores=1, dropout=dropout)
