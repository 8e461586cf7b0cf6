"""A text encoder of Hugging Face's transformers in place of Clover's own: any one of BERT's kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clover.errors import CheckpointError, ConfigError
from clover.modeling.huggingface import Borrowed, build, config_of, model_class
from clover.modeling.weights import load_strictly


@dataclass(frozen=True, kw_only=True)
class BorrowedTextConfig:
    """A text model of the library: its config and what Clover must know of it."""

    architecture: dict[str, Any]
    """The library's config of the model."""
    vocabulary_size: int
    """Number of token ids of its tokenizer; the model itself may have room for more."""
    max_length: int
    """The longest text in tokens."""
    width: int
    """Width of a token."""
    norm_epsilon: float = 1e-12
    """Epsilon of its LayerNorms, for the masked-word head."""


def check_is_text(plain: dict[str, Any], *, source: str) -> None:
    """Find out whether a model encodes texts, before its tokenizer is looked for.

    Raises:
        CheckpointError: it does not.
    """
    kind = plain["model_type"]
    if plain.get("is_encoder_decoder"):
        raise CheckpointError(f"{source}: {kind} is an encoder with a decoder; give an encoder, such as BERT")
    if plain.get("is_decoder"):
        raise CheckpointError(f"{source}: {kind} is a decoder (is_decoder), whose [CLS] sees no other word")
    if any(name in plain for name in ("text_config", "vision_config")):
        raise CheckpointError(f"{source}: {kind} is a model of texts and something else; give a text encoder alone")
    name = model_class(config_of(plain, source=source)).main_input_name
    if name != "input_ids":
        raise CheckpointError(f"{source}: {kind} takes {name}, not words; it is no text encoder")


def describe_text(plain: dict[str, Any], *, vocabulary_size: int, pad_id: int, source: str) -> BorrowedTextConfig:
    """What Clover must know of a text model; its weights are neither needed nor made.

    Args:
        plain: The architecture.
        vocabulary_size: Of its tokenizer.
        pad_id: Of its tokenizer.
        source: Name of the folder, for messages.

    Raises:
        CheckpointError: it is no text encoder, or the tokenizer is another model's.
    """
    check_is_text(plain, source=source)
    with torch.device("meta"):
        model: Any = build(plain)
    room = model.get_input_embeddings().weight.shape[0]
    if vocabulary_size > room:
        raise CheckpointError(
            f"{source}: its tokenizer has {vocabulary_size} ids, the model words for {room}; they are of two models"
        )
    if plain.get("pad_token_id") not in (None, pad_id):
        raise CheckpointError(
            f"{source}: [PAD] is {plain['pad_token_id']} to the model and {pad_id} to the tokenizer; "
            "they are of two models"
        )
    longest = int(plain.get("max_position_embeddings") or 512)
    return BorrowedTextConfig(
        architecture=plain,
        vocabulary_size=vocabulary_size,
        max_length=longest - pad_id - 1 if _counts_from_padding(model) else longest,
        width=int(config_of(plain).hidden_size),
        norm_epsilon=float(plain.get("layer_norm_eps") or 1e-12),
    )


@torch.no_grad()
def check_sees_all_words(config: BorrowedTextConfig, weights: dict[str, Tensor], *, pad_id: int, source: str) -> None:
    """Find out whether the first token of a text, which becomes the text's embedding, sees the words after it.

    Two texts that differ in their last word go through the model: one that reads from left to right, whatever its
    config calls itself, gives the same first token to the bit.

    Args:
        config: Of the model.
        weights: Of the model, under the library's names.
        pad_id: Of its tokenizer.
        source: Name of the folder, for messages.

    Raises:
        CheckpointError: it does not, or the model does not run on words alone.
    """
    model = build(config.architecture).eval()
    load_strictly(model, weights, source=source)
    kind = config.architecture["model_type"]
    words = [number for number in range(min(config.vocabulary_size, 6)) if number != pad_id]
    texts = torch.tensor([[*words[1:], words[1]], [*words[1:], words[0]]])
    try:
        first = model(input_ids=texts, attention_mask=torch.ones_like(texts)).last_hidden_state[:, 0]
    except Exception as error:  # whatever an unknown architecture may want beside words
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{source}: {kind} does not take words alone ({lines[0][:150]})") from error
    if torch.equal(first[0], first[1]):
        raise CheckpointError(
            f"{source}: {kind} reads from left to right, and its [CLS] sees no other word; "
            "give an encoder, such as BERT"
        )


def _counts_from_padding(model: nn.Module) -> bool:
    """Whether the first position of a text is one after the number of [PAD], as RoBERTa and its relatives count."""
    tables = (part for name, part in model.named_modules() if name.endswith("position_embeddings"))
    return any(getattr(table, "padding_idx", None) is not None for table in tables)


class BorrowedTextEncoder(nn.Module):
    """Token ids to one vector per token, by a model of the library."""

    def __init__(self, config: BorrowedTextConfig) -> None:
        super().__init__()
        self.config = config
        self.max_length = config.max_length
        self.borrowed = Borrowed(config.architecture)

    def layers_in_order(self) -> list[nn.Module]:
        """The layers, from the input to the output."""
        return self.borrowed.layers_in_order()

    def forward(self, token_ids: Int[Tensor, "b l"], is_token: Bool[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Encode texts; the first token is [CLS]. Vectors at padding are computed and meaningless.

        Raises:
            ConfigError: a text is longer than the model's positions.
        """
        length = token_ids.shape[1]
        if length > self.max_length:
            raise ConfigError(f"a text of {length} tokens is longer than the encoder's {self.max_length} positions")
        output = self.borrowed.model(input_ids=token_ids, attention_mask=is_token.long())
        tokens: Tensor = output.last_hidden_state
        return tokens
