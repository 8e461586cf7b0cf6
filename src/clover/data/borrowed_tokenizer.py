"""The tokenizer of a text model of Hugging Face's transformers, as one of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clover.data.text import Tokenizer
from clover.errors import TextError

_VOCABULARIES = ("vocab.txt", "vocab.json", "spm.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
"""Older files, of which transformers needs one; without any it makes up a tokenizer of five words."""


def tokenizer_of(folder: Path) -> Tokenizer:
    """Read the tokenizer of a model's folder: its tokenizer.json, or what transformers makes of older files.

    Args:
        folder: Of the model; transformers must be installed where it holds no tokenizer.json.

    Raises:
        TextError: there is none, or it lacks [MASK] or another token that the objectives need.
    """
    if (folder / "tokenizer.json").is_file():
        return _checked(lambda: Tokenizer.load(folder), folder)
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise TextError(f"{folder} holds no tokenizer; it needs a tokenizer.json (or vocab.txt, vocab.json)")
    from transformers import AutoTokenizer

    try:
        found: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        backend = found.backend_tokenizer
    except Exception as error:  # the library raises many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TextError(
            f"the tokenizer of {folder} cannot be read ({first[:200]}); give it a tokenizer.json"
        ) from error
    return _checked(lambda: Tokenizer(backend, name=str(folder)), folder)


def _checked(make: Callable[[], Tokenizer], folder: Path) -> Tokenizer:
    try:
        return make()
    except TextError as error:
        if "[MASK]" not in str(error):
            raise
        raise TextError(
            f"{folder}: its tokenizer has no mask token, which masked words need ({error}); give a text model that was "
            "trained to fill masks, such as BERT"
        ) from error
