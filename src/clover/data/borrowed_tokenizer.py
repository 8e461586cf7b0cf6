"""The tokenizer of a text model of Hugging Face's transformers, as one of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clover.data.text import Tokenizer
from clover.errors import TextError

_PLAIN = ("vocab.txt", "vocab.json")
_SENTENCEPIECE = ("spm.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
"""Older files, of which transformers needs one; without any it makes up a tokenizer of five words. For those of
SentencePiece it needs other packages, and in their absence asks for one that is of no help."""
_WHOLE = "tokenizer.json"
TOKENIZER_FILES = (_WHOLE, *_PLAIN, *_SENTENCEPIECE)
"""Of which a text model's folder holds one."""


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder has a tokenizer, readable or not."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def tokenizer_of(folder: Path) -> Tokenizer:
    """Read the tokenizer of a model's folder: its tokenizer.json, or what transformers makes of older files.

    Args:
        folder: Of the model; transformers must be installed where it holds no tokenizer.json.

    Raises:
        TextError: there is none, a package that reads it is not installed, or it lacks [MASK] or another token that the
            objectives need.
    """
    if (folder / _WHOLE).is_file():
        return _checked(lambda: Tokenizer.load(folder), folder)
    held = [name for name in (*_PLAIN, *_SENTENCEPIECE) if (folder / name).is_file()]
    if not held:
        raise TextError(f"{folder} holds no tokenizer; it needs a tokenizer.json (or vocab.txt, vocab.json)")
    if held[0] in _SENTENCEPIECE:
        _check_reads_sentencepiece(folder, held[0])
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


def _check_reads_sentencepiece(folder: Path, name: str) -> None:
    from transformers.utils import is_protobuf_available, is_sentencepiece_available

    is_there = {"sentencepiece": is_sentencepiece_available(), "protobuf": is_protobuf_available()}
    missing = " ".join(package for package, is_installed in is_there.items() if not is_installed)
    if missing:
        raise TextError(
            f"{folder} holds {name} and no tokenizer.json, and transformers reads it with {' and '.join(is_there)}: "
            f"pip install {missing}, or write a tokenizer.json where they are installed "
            "(AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER))"
        )


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
