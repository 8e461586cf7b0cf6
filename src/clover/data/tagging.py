"""Parts of speech of the words of captions: one function over several taggers, and a cache on disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import sqlite3
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clover.data.taggers import PARTS_OF_SPEECH, HanTaTagger, NltkTagger, SpacyTagger, TaggedWord, Tagger
from clover.data.text import check_texts
from clover.errors import TextError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["PARTS_OF_SPEECH", "TagCache", "TaggedWord", "load_tagger", "tag"]

Result = TypeVar("Result")

_LETTERS = dict(zip(PARTS_OF_SPEECH, "NPVAJRODIMCKUX", strict=True))
_TAGS = dict(zip("NPVAJRODIMCKUX", PARTS_OF_SPEECH, strict=True))
_CHUNK = 1_000
"""Captions that are looked up, tagged and stored together."""


def tag(texts: Sequence[str], *, tagger: str = "hanta") -> list[list[TaggedWord]]:
    """Find the words of captions and their parts of speech.

    Args:
        texts: Captions; a blank one has no words.
        tagger: ``hanta``, ``nltk``, or ``spacy:`` and the name or path of a pipeline
            (``spacy:en_core_web_sm``).

    Raises:
        TextError: If a text is no string, or the tagger is unknown, not installed, or lacks its model.
    """
    check_texts(texts)
    return list(load_tagger(tagger).tag(texts))


@functools.lru_cache(maxsize=4)
def load_tagger(name: str) -> Tagger:
    """Load a tagger once a process; see :func:`tag` for the names and errors."""
    if name == "hanta":
        return HanTaTagger()
    if name == "nltk":
        return NltkTagger()
    if name.startswith("spacy:") and len(name) > len("spacy:"):
        return SpacyTagger(name.removeprefix("spacy:"))
    raise TextError(f"unknown tagger {name!r}: use hanta, nltk, or spacy: and the name or path of a pipeline")


class TagCache:
    """Tags of captions kept on disk, so that a corpus is tagged once.

    One SQLite file. Its journal does what writing aside and renaming does for other files: whatever is
    interrupted, the stored tags stay whole. A caption is found by a digest of its text and the tagger's
    identity, so one file serves several corpora and taggers, and several processes may share it. A damaged
    file is put aside with a warning and its tags are computed anew. Memory does not grow with the file.
    """

    def __init__(self, path: str | os.PathLike[str], *, tagger: str = "hanta") -> None:
        """Name the file, which is made when first needed, and the tagger (see :func:`tag`)."""
        self.path = Path(path)
        self.tagger = tagger

    def tag(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> list[list[TaggedWord]]:
        """Tag captions, from the file where it has them.

        Args:
            texts: Captions.
            progress: Called now and then with the number of captions done.

        Raises:
            TextError: As :func:`tag`, or if the file cannot be read or written.
        """
        check_texts(texts)
        tagged: list[list[TaggedWord]] = []
        for first in range(0, len(texts), _CHUNK):
            tagged += self._tag_chunk(texts[first : first + _CHUNK])
            if progress is not None:
                progress(len(tagged))
        return tagged

    def fill(self, texts: Iterable[str], progress: Callable[[int], None] | None = None) -> int:
        """Store the tags of a whole corpus without holding it in memory; return the number of captions seen.

        Raises:
            TextError: As :meth:`tag`.
        """
        num_done = 0
        remaining = iter(texts)
        while chunk := list(itertools.islice(remaining, _CHUNK)):
            check_texts(chunk)
            self._tag_chunk(chunk)
            num_done += len(chunk)
            if progress is not None:
                progress(num_done)
        return num_done

    def _tag_chunk(self, texts: Sequence[str]) -> list[list[TaggedWord]]:
        tagger = load_tagger(self.tagger)
        keys = [_cache_key(tagger.identity, text) for text in texts]
        known: dict[bytes, list[TaggedWord]] = {}
        stored = self._read(keys)
        missing: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if key in known or key in missing:
                continue
            words = _unpack_words(stored[key], text) if key in stored else None
            if words is None:
                missing[key] = text
            else:
                known[key] = words
        if missing:
            fresh = dict(zip(missing, tagger.tag(list(missing.values())), strict=True))
            self._write([(key, _pack_words(words)) for key, words in fresh.items()])
            known |= fresh
        return [known[key] for key in keys]

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, words FROM tags WHERE key IN ({marks})"
        return self._with_database(lambda database: dict(database.execute(query, keys).fetchall()))

    def _write(self, rows: Sequence[tuple[bytes, str]]) -> None:
        def insert(database: sqlite3.Connection) -> None:
            with database:  # One transaction.
                database.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?)", rows)

        self._with_database(insert)

    def _with_database(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run an action on the file, once more on a fresh one if it turns out to be damaged."""
        try:
            return self._run(action)
        except sqlite3.OperationalError as error:  # Locked, full, not writable; the content is all right.
            raise TextError(f"cannot use tag cache {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(self.path.name + ".damaged")
            warnings.warn(
                f"tag cache {self.path} is damaged ({error}): moved to {aside.name}, tags are computed anew",
                stacklevel=2,
            )
            with contextlib.suppress(FileNotFoundError):  # Another process may have put it aside already.
                self.path.replace(aside)
            self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)
            return self._run(action)

    def _run(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        # A connection for each use: it must not be carried into forked loader processes.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TextError(f"cannot make the folder of tag cache {self.path}: {error.strerror}") from error
        with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS tags (key BLOB PRIMARY KEY, words TEXT NOT NULL) WITHOUT ROWID"
            )
            return action(database)


def _cache_key(identity: str, text: str) -> bytes:
    content = f"{identity}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).digest()


def _pack_words(words: Sequence[TaggedWord]) -> str:
    """A letter for each word's tag, then where each starts and ends: "DN 0 3 4 9"."""
    letters = "".join(_LETTERS[word.part_of_speech] for word in words)
    return " ".join([letters, *(f"{word.start} {word.end}" for word in words)])


def _unpack_words(packed: str, text: str) -> list[TaggedWord] | None:
    """Read packed words of a text; None if they do not fit it."""
    letters, *places = packed.split(" ")
    try:
        numbers = [int(place) for place in places]
        tags = [_TAGS[letter] for letter in letters]
    except (ValueError, KeyError):
        return None
    starts, ends = numbers[::2], numbers[1::2]
    if (not tags and text.strip()) or not len(tags) == len(starts) == len(ends):
        return None
    if any(not 0 <= start < end <= len(text) for start, end in zip(starts, ends, strict=True)):
        return None
    return [
        TaggedWord(text=text[start:end], start=start, end=end, part_of_speech=tag)
        for start, end, tag in zip(starts, ends, tags, strict=True)
    ]
