"""Caption, question and options become token ids.

A lower-casing word-piece tokenizer (BERT's: Devlin et al. 2019) on the ``tokenizers`` library. It is trained
here on any captions, or read from the files that ``bert-base-uncased`` is published with. Tokenizers of other text
models (byte pairs, unigrams) are read too, as long as they have the special tokens that Clover needs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers
from jaxtyping import Bool, Int64
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from clover.errors import TextError, first_line
from clover.files import refused_address, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAD, UNKNOWN, CLASS, SEPARATOR, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNKNOWN, CLASS, SEPARATOR, MASK)
"""A freshly trained vocabulary starts with these; a published one has them wherever it likes."""

_ROLES = ((PAD, "<pad>"), (UNKNOWN, "<unk>"), (CLASS, "<s>", "<cls>"), (SEPARATOR, "</s>", "<sep>"), (MASK, "<mask>"))
"""What text models call each of the five, in their order."""

NUM_BERT_PIECES = 30_522
"""Size of the vocabulary of ``bert-base-uncased``."""

_MAX_CHARACTERS = 1_000
"""Distinct characters a trained vocabulary keeps; rarer ones become ``[UNK]``."""

_CONTINUES = "##"
"""Marks a piece that continues a word."""


@dataclass(frozen=True, kw_only=True)
class EncodedText:
    """A batch of texts as token ids, padded to one length.

    Attributes:
        token_ids: Ids in ``0..vocabulary_size - 1``; each row is ``[CLS] pieces... [SEP] [PAD]...``.
        is_token: True for a piece, ``[CLS]`` or ``[SEP]``; False for padding.
        spans: For each row and position, where the piece starts and ends in its text, in characters;
            ``(0, 0)`` for the ``[CLS]``, ``[SEP]`` and ``[PAD]`` that the tokenizer added.
    """

    token_ids: Int64[np.ndarray, "b l"]
    is_token: Bool[np.ndarray, "b l"]
    spans: list[list[tuple[int, int]]]


class Tokenizer:
    """Turns texts into word pieces and back.

    Made by :meth:`train` or :meth:`load`. It holds no state between calls and can be pickled, so it can be
    shared by loader processes.

    Attributes:
        vocabulary_size: Number of token ids: one more than the largest.
        pad_id: Id of ``[PAD]``.
        unk_id: Id of ``[UNK]``.
        cls_id: Id of ``[CLS]``.
        sep_id: Id of ``[SEP]``.
        mask_id: Id of ``[MASK]``.
        special_ids: The five ids above.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, name: str = "tokenizer") -> None:
        """Wrap a tokenizer of the ``tokenizers`` library; ``name`` is what error messages call it.

        Raises:
            TextError: If it lacks one of the special tokens.
        """
        vocabulary = backend.get_vocab(with_added_tokens=True)
        tokens = _special_tokens(backend, vocabulary)
        missing = [bert for bert, token in zip(SPECIAL_TOKENS, tokens, strict=True) if token is None]
        if missing:
            raise TextError(f"{name} has no {', '.join(missing)}: give a BERT vocabulary, or train a tokenizer")
        special = [token for token in tokens if token is not None]
        # Published files carry their own settings for both; ours are arguments of encode.
        backend.no_truncation()
        backend.no_padding()
        # A text may contain "[MASK]": it must stay one token whichever file the vocabulary came from.
        declared = {token.content for token in backend.get_added_tokens_decoder().values()}
        is_bert = tuple(special) == SPECIAL_TOKENS
        backend.add_special_tokens(special if is_bert else [token for token in special if token not in declared])
        self._backend = backend
        self._mask_token = special[-1]
        self._keeps_blanks = not isinstance(backend.model, models.WordPiece)
        """Pieces of byte pairs and unigrams begin with the blank in front of their word."""
        self.vocabulary_size: int = max(vocabulary.values()) + 1
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (vocabulary[token] for token in special)
        self.special_ids: frozenset[int] = frozenset(vocabulary[token] for token in special)

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int = NUM_BERT_PIECES) -> Tokenizer:
        """Learn a vocabulary from texts; the same texts always give the same vocabulary.

        Args:
            texts: Captions; read once and held in memory.
            vocabulary_size: Largest number of token ids; a small corpus gives fewer. ``[PAD]`` is 0.

        Raises:
            TextError: If there is no text, a text is no string, or the size does not even hold the
                characters.
        """
        texts = list(texts)
        check_texts(texts)
        characters = _frequent_characters(texts)
        if not characters:
            raise TextError("there is no text to train a tokenizer on: give at least one caption with a word")
        # The trainer numbers continuing characters in the order of a hash table, which differs from run to
        # run and decides ties between merges. Declared up front, their numbers are fixed.
        first_pieces = [*SPECIAL_TOKENS, *characters, *(_CONTINUES + character for character in characters)]
        if len(first_pieces) > vocabulary_size:
            raise TextError(
                f"vocabulary_size {vocabulary_size} is too small for these texts: "
                f"their characters alone need {len(first_pieces)}"
            )
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocabulary_size,
            min_frequency=2,
            show_progress=False,
            special_tokens=first_pieces,
            limit_alphabet=len(characters),
            initial_alphabet=characters,
        )
        learner = _word_piece_tokenizer({UNKNOWN: 0}, lowercase=True)
        learner.train_from_iterator(texts, trainer)
        # Only the vocabulary is kept: the learner matches the declared characters as whole tokens.
        return cls(_word_piece_tokenizer(learner.get_vocab(), lowercase=True))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a tokenizer.

        Args:
            path: A ``tokenizer.json``, a BERT ``vocab.txt``, or a folder that holds one (the former wins).

        Raises:
            TextError: If there is no such file, or it is no tokenizer with the special tokens.
        """
        path = Path(path)
        if path.is_dir():
            candidates = [path / "tokenizer.json", path / "vocab.txt"]
            found = next((candidate for candidate in candidates if candidate.is_file()), None)
            if found is None:
                raise TextError(f"{path} holds no tokenizer: it needs a tokenizer.json or a vocab.txt")
            path = found
        try:
            content = path.read_text(encoding="utf-8")
        except OSError as error:
            if refused := refused_address(path):
                raise TextError(refused) from error
            raise TextError(
                f"cannot read tokenizer {path}: {error.strerror or error}; give a tokenizer.json, a vocab.txt or a "
                "folder that holds one (nothing is downloaded)"
            ) from error
        except UnicodeDecodeError as error:
            raise TextError(f"{path} is not a tokenizer: it is not UTF-8 text") from error
        if path.suffix == ".json":
            return cls(_backend_from_json(content, path), name=str(path))
        return cls(_backend_from_vocabulary(content, path), name=str(path))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``tokenizer.json`` into a folder, made if need be, and return the file's path."""
        target = Path(folder) / "tokenizer.json"
        write_text(target, self._backend.to_str(pretty=True))
        return target

    @property
    def fingerprint(self) -> str:
        """A name of this exact vocabulary and its rules."""
        text = self._backend.to_str()
        if isinstance(self._backend.model, models.Unigram):  # the library reads its scores a last digit differently
            text = json.dumps(json.loads(text, parse_float=lambda number: f"{float(number):.6f}"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def encode(
        self, texts: Sequence[str], *, max_length: int, pad_to_max: bool = False, keep_mask: bool = False
    ) -> EncodedText:
        """Turn a batch of texts into padded token ids.

        Args:
            texts: At least one text.
            max_length: Longest row in tokens, ``[CLS]`` and ``[SEP]`` included, at least 3. The end of a
                longer text is cut off; ``[SEP]`` stays last.
            pad_to_max: Pad to ``max_length`` instead of to the longest row of this batch.
            keep_mask: Where the cut would take away a text's first ``[MASK]``, keep the pieces around it
                instead.

        Raises:
            TextError: If there is no text, or one is no string, is blank, or holds nothing the tokenizer can
                see; the message gives its place in ``texts``.
        """
        if max_length < 3:
            raise TextError(f"max_length {max_length} leaves no room for a word: use 3 or more")
        check_texts(texts)
        if not texts:
            raise TextError("there is no text to encode: give at least one")
        num_pieces = max_length - 2
        # One by one, not encode_batch: its threads cost more than they give on captions, and forked loader
        # processes would warn about them.
        rows = [self._pieces(text, row, num_pieces, keep_mask) for row, text in enumerate(texts)]
        length = max_length if pad_to_max else max(len(ids) for ids, _ in rows) + 2
        token_ids = np.full((len(rows), length), self.pad_id, dtype=np.int64)
        is_token = np.zeros((len(rows), length), dtype=bool)
        spans = []
        for row, (ids, offsets) in enumerate(rows):
            num_tokens = len(ids) + 2
            token_ids[row, :num_tokens] = [self.cls_id, *ids, self.sep_id]
            is_token[row, :num_tokens] = True
            spans.append([(0, 0), *offsets, *[(0, 0)] * (length - len(ids) - 1)])
        return EncodedText(token_ids=token_ids, is_token=is_token, spans=spans)

    def decode(self, token_ids: Iterable[int], *, skip_special: bool = True) -> str:
        """Join token ids into a lower-case text; ``skip_special`` leaves out ``[CLS]``, ``[PAD]``...

        Raises:
            TextError: If an id is outside the vocabulary.
        """
        ids = [int(token_id) for token_id in token_ids]
        for token_id in ids:
            if not 0 <= token_id < self.vocabulary_size:
                raise TextError(f"token id {token_id} is not in the vocabulary: use 0 to {self.vocabulary_size - 1}")
        text: str = self._backend.decode(ids, skip_special_tokens=skip_special)
        return text

    def _pieces(self, text: str, row: int, num_pieces: int, keep_mask: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and character spans of one text's pieces, at most ``num_pieces``, without the added tokens.

        A blank to be filled is written ``[MASK]`` in every text, whatever the tokenizer calls it.
        """
        if self._mask_token != MASK and isinstance(text, str):
            text = text.replace(MASK, self._mask_token)
        try:
            encoding = self._backend.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise TextError(f"text {row} is not valid Unicode: remove its lone surrogates") from error
        ids, spans = encoding.ids, encoding.offsets
        if not ids or (self._keeps_blanks and text.isspace()):
            raise TextError(f"text {row} is blank: give it at least one visible character, or drop it")
        start = 0
        if keep_mask and self.mask_id in ids:
            mask = ids.index(self.mask_id)
            if mask >= num_pieces:
                start = min(mask - num_pieces // 2, len(ids) - num_pieces)
        kept = slice(start, start + num_pieces)
        spans = spans[kept]
        return ids[kept], [_without_blank(text, span) for span in spans] if self._keeps_blanks else spans


def choice_texts(question: str, options: Sequence[str], *, lists_options: bool = True) -> list[str]:
    """Write a multiple-choice question as one text per option (published run).

    Every option is shown in every text, unless ``lists_options`` is False; with an empty question the texts start
    with a space.
    """
    if not lists_options:
        return [f"{question} {option}".strip() for option in options]
    shown = f"{question} Options: {' '.join(options)} Answer: "
    return [shown + option for option in options]


def check_texts(texts: Sequence[str]) -> None:
    """Raise a TextError that names the first element that is no string."""
    if isinstance(texts, str):
        raise TextError("one string was given where a list of texts is wanted: put it into a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TextError(f"text {row} is of type {type(text).__name__}: give a string")


def _special_tokens(backend: tokenizers.Tokenizer, vocabulary: dict[str, int]) -> list[str | None]:
    """A tokenizer's names of the five special tokens, None where it has none.

    A vocabulary may hold both families of names (MPNet's holds BERT's as leftovers): those declared as special win.
    """
    declared = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    found = [[name for name in names if name in vocabulary] for names in _ROLES]
    return [next((name for name in names if name in declared), names[0] if names else None) for names in found]


def _without_blank(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """A piece's span without the blanks that it begins with."""
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    return start, end


def _frequent_characters(texts: Sequence[str]) -> list[str]:
    """Characters of the normalised texts, the commonest first, ties in code point order, blanks left out."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for row, text in enumerate(texts):
        try:
            counts.update(normalizer.normalize_str(text))
        except (TypeError, UnicodeEncodeError) as error:
            raise TextError(f"text {row} is not valid Unicode: remove its lone surrogates") from error
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [character for character, _ in ranked if not character.isspace()][:_MAX_CHARACTERS]


def _word_piece_tokenizer(vocabulary: dict[str, int], *, lowercase: bool) -> tokenizers.Tokenizer:
    """BERT's pipeline around a vocabulary."""
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    # The library lets its components be assigned, but its type hints do not say so.
    pipeline: Any = backend
    pipeline.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pipeline.decoder = decoders.WordPiece()
    if CLASS in vocabulary and SEPARATOR in vocabulary:
        # Not used by encode: it makes the saved file complete for other programs.
        pipeline.post_processor = processors.BertProcessing(
            (SEPARATOR, vocabulary[SEPARATOR]), (CLASS, vocabulary[CLASS])
        )
    return backend


def _backend_from_json(content: str, path: Path) -> tokenizers.Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_str(content)
    except Exception as error:  # The library raises nothing more precise.
        raise TextError(
            f"{path} is not a tokenizer.json ({first_line(error)}); copy it again from where it comes from, "
            "or remove it where there is a vocab.txt beside it"
        ) from error
    return backend


def _backend_from_vocabulary(content: str, path: Path) -> tokenizers.Tokenizer:
    pieces = content.removesuffix("\n").split("\n")
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    if len(vocabulary) != len(pieces):
        raise TextError(f"{path} is damaged: it lists a word piece twice")
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise TextError(f"{path} is not a BERT vocabulary: it has no {', '.join(missing)}")
    lowercase = all(piece == piece.lower() for piece in pieces if not piece.startswith("["))
    return _word_piece_tokenizer(vocabulary, lowercase=lowercase)
