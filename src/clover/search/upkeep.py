"""What a library needs now and then: compaction, with queries like those it will be asked."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from clover.pipeline import Clover
from clover.search.index import Index

_NUM_QUERIES = 1024
_AT_ONCE = 32
_NUM_PIECES = (3, 10)


def compact(index: Index, clover: Clover) -> None:
    """Compact a library (`Index.compact`), with texts of its model among the queries that recall is measured on.

    Texts lie elsewhere in the space than videos: what finds enough for one may find too little for the other.

    Raises:
        LibraryError, WriteError: as `Index.save`.
    """
    index.sample_queries = sample_queries(clover)
    index.compact()


def compact_if_due(index: Index, clover: Clover) -> bool:
    """Compact a library if enough was added or removed; says whether it was."""
    is_due = index.is_due()
    if is_due:
        compact(index, clover)
    return is_due


def sample_queries(clover: Clover) -> Float32[np.ndarray, "q d"]:
    """Normalised embeddings of texts of words that the model knows, drawn at random, always the same ones."""
    generator = np.random.default_rng(0)
    texts: list[str] = []
    while len(texts) < _NUM_QUERIES:
        pieces = generator.integers(0, clover.config.model.text.vocabulary_size, generator.integers(*_NUM_PIECES))
        text = clover.tokenizer.decode(pieces.tolist()).strip()
        if text:
            texts.append(text)
    batches = [texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE)]
    return np.concatenate([clover.encode_text(batch).cpu().numpy() for batch in batches]).astype(np.float32)
