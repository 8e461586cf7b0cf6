"""Parts of speech of the words of captions: three taggers behind one function.

HanTa (the default) brings its English model along and needs no download; spaCy (what the published run used) and NLTK (what
the paper cites) use a model that the user has installed. Nothing is ever downloaded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import re
import sqlite3
import unicodedata
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from clover.errors import TextError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PARTS_OF_SPEECH = tuple("NOUN PROPN VERB AUX ADJ ADV PRON DET ADP NUM CONJ PART PUNCT X".split())
"""The coarse universal tags that every tagger's own are mapped to."""

Result = TypeVar("Result")

_RULES_VERSION = "1"
"""Raised when our own rules change, so that cached tags are computed anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaggedWord:
    """One word of a caption.

    Attributes:
        text: The word as it is written.
        start: Place of its first character in the caption.
        end: Place after its last character.
        part_of_speech: One of :data:`PARTS_OF_SPEECH`.
    """

    text: str
    start: int
    end: int
    part_of_speech: str


class Tagger(Protocol):
    """What an adapter offers.

    Attributes:
        identity: Name and version of program, model and rules: equal identities give equal tags.
    """

    identity: str

    def tag(self, texts: Sequence[str]) -> Iterator[list[TaggedWord]]:
        """Yield the words of each text in order."""
        ...


def tag(texts: Sequence[str], *, tagger: str = "hanta") -> list[list[TaggedWord]]:
    """Find the words of captions and their parts of speech.

    Args:
        texts: Captions; a blank one has no words.
        tagger: ``hanta``, ``nltk``, or ``spacy:`` and the name or path of a pipeline (``spacy:en_core_web_sm``).

    Raises:
        TextError: If a text is no string, or the tagger is unknown, not installed, or lacks its model.
    """
    check_texts(texts)
    return list(load_tagger(tagger).tag(texts))


def check_texts(texts: Sequence[str]) -> None:
    """Raise a TextError that names the first element that is no string."""
    if isinstance(texts, str):
        raise TextError("one string was given where a list of texts is wanted: put it into a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TextError(f"text {row} is of type {type(text).__name__}: give a string")


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


# ---------------------------------------------------------------------------------------------------------- words

_LETTER = r"(?:[^\W_]|[\u0300-\u036f])"
_WORD = re.compile(
    r"\[(?:MASK|SEP|CLS|PAD|UNK)\]"  # the tokenizer's special tokens, written in a text
    r"|\d+(?:[.,:]\d+)+"  # 3.5, 10:30
    r"|['’](?:s|m|re|ve|ll|d)\b"  # a clitic that stands alone: the man 's
    rf"|[^\W_]{_LETTER}*(?:['’]{_LETTER}+)*"
    r"|\S",
    re.IGNORECASE,
)
_CLITIC = re.compile(r"(?<=.)(?:n['’]t|['’](?:s|m|re|ve|ll|d))$", re.IGNORECASE)


def split_words(text: str) -> list[tuple[int, int]]:
    """Find where the words of a caption start and end.

    Punctuation marks are words, hyphens separate, and clitics are split off: ``can't`` is ``ca`` and ``n't``.
    """
    places = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        clitic = _CLITIC.search(match.group())
        if clitic is None:
            places.append((start, end))
        else:
            places += [(start, start + clitic.start()), (start + clitic.start(), end)]
    return places


def _symbol_tag(word: str) -> str | None:
    """Tag of a punctuation mark, symbol or special token; None for a word."""
    if any(character.isalnum() for character in word):
        return "X" if word.startswith("[") else None
    return "PUNCT" if all(unicodedata.category(character).startswith("P") for character in word) else "X"


_BE = frozenset("be am is are was were been being 's 'm 're".split())
_HAVE_DO = frozenset("have has had having 've 'd do does did doing".split())


def _resolve_auxiliaries(forms: Sequence[str], tags: list[str]) -> None:
    """Call "have" and "do" auxiliary where a verb follows ("has eaten", "does n't know"), in place."""
    for place, form in enumerate(forms):
        if tags[place] not in ("VERB", "AUX") or form.lower() not in _HAVE_DO:
            continue
        following = place + 1
        while (
            following < len(tags)
            and tags[following] in ("ADV", "PRON", "PART")
            and forms[following].lower() != "to"
        ):
            following += 1
        tags[place] = "AUX" if following < len(tags) and tags[following] in ("VERB", "AUX") else "VERB"


class _WordTagger:
    """A tagger that is handed the words we split: HanTa and NLTK."""

    identity: str

    def tag(self, texts: Sequence[str]) -> Iterator[list[TaggedWord]]:
        """Yield the words of each text in order."""
        for text in texts:
            places = split_words(text)
            forms = [text[start:end].replace("’", "'") for start, end in places]
            tags = self._tag_forms(forms) if forms else []
            _resolve_auxiliaries(forms, tags)
            yield [
                TaggedWord(
                    text=text[start:end], start=start, end=end, part_of_speech=_symbol_tag(form) or tag
                )
                for (start, end), form, tag in zip(places, forms, tags, strict=True)
            ]

    def _tag_forms(self, forms: list[str]) -> list[str]:
        raise NotImplementedError


# ---------------------------------------------------------------------------------------------------------- HanTa

_C5_PREFIXES = {
    **{"AJ": "ADJ", "ORD": "ADJ", "AT": "DET", "DT": "DET", "AVP": "ADP", "AV": "ADV", "CJ": "CONJ"},
    **{"CRD": "NUM", "DPS": "PRON", "EX": "PRON", "PN": "PRON", "NN": "NOUN", "NP": "PROPN"},
    **{"POS": "PART", "TO": "PART", "XX": "PART", "PR": "ADP", "PU": "PUNCT"},
    **{"VB": "AUX", "VM": "AUX", "VD": "VERB", "VH": "VERB", "VV": "VERB"},
}
"""Beginnings of the tags of the British National Corpus (C5); the first that fits, in this order."""

_LONGEST_FORM = 24
"""HanTa's time grows with the square of a word's length; the end of a longer word decides alone."""


class HanTaTagger(_WordTagger):
    """HanTa's English model with two rules for the captions' style, where it takes verbs for nouns.

    On 30 captions (218 words, tagged by hand) the share of right coarse tags rises from 0.936 to 0.963.
    """

    def __init__(self) -> None:
        """Load the model that comes with the package (a third of a second)."""
        import HanTa
        from HanTa.HanoverTagger import HanoverTagger

        # By its full path: given the bare name, HanTa would prefer, and unpickle, a file in the current folder.
        self._model = HanoverTagger(str(Path(HanTa.__file__).parent / "morphmodel_en.pgz"))
        self.identity = f"hanta-{version('HanTa')}-rules-{_RULES_VERSION}"

    def _tag_forms(self, forms: list[str]) -> list[str]:
        forms = [form[-_LONGEST_FORM:] for form in forms]
        try:
            tags = self._model.tag_sent(forms, taglevel=0)
        except KeyError:  # No path through the sentence model: each word by itself.
            tags = [self._best_tag(form) for form in forms]
        for place, tag in enumerate(tags):
            lower = forms[place].lower()
            if tag == "NN1" and lower.endswith("ing") and self._is_gerund(forms, tags, place):
                tags[place] = "VVG"
            elif tag == "NN2" and lower.endswith("s") and self._is_third_person(forms, tags, place):
                tags[place] = "VVZ"
        return [
            next((coarse for prefix, coarse in _C5_PREFIXES.items() if tag.startswith(prefix)), "X")
            for tag in tags
        ]

    def _best_tag(self, form: str) -> str:
        candidates = self._model.tag_word(form)
        return candidates[0][0] if candidates else "UNC"

    def _can_be(self, form: str, tag: str) -> bool:
        return any(candidate == tag for candidate, _ in self._model.tag_word(form))

    def _is_gerund(self, forms: list[str], tags: list[str], place: int) -> bool:
        """ "people dancing", "playing soccer": at the start, or after a noun, "while", "by" or "and"."""
        previous = tags[place - 1] if place else "PUN"
        after = forms[place - 1].lower() in ("while", "by", "and") if place else False
        return (after or previous.startswith(("NN", "NP", "PUN"))) and self._can_be(forms[place], "VVG")

    def _is_third_person(self, forms: list[str], tags: list[str], place: int) -> bool:
        """ "a ball rolls to": after a noun, no verb yet, before an article, preposition, adverb or the end."""
        if place == 0 or not tags[place - 1].startswith(("NN", "NP")):
            return False
        following = tags[place + 1] if place + 1 < len(tags) else "PUN"
        return (
            following.startswith(("AT", "DT", "DPS", "PR", "AV", "PU"))
            and not any(tag.startswith("V") for tag in tags[:place])
            and self._can_be(forms[place], "VVZ")
        )


# ----------------------------------------------------------------------------------------------------------- NLTK

_PENN_PREFIXES = {
    **{"NNP": "PROPN", "NN": "NOUN", "VB": "VERB", "MD": "AUX", "JJ": "ADJ", "RB": "ADV", "WRB": "ADV"},
    **{"PRP": "PRON", "WP": "PRON", "EX": "PRON", "DT": "DET", "PDT": "DET", "WDT": "DET", "IN": "ADP"},
    **{"RP": "ADP", "CD": "NUM", "CC": "CONJ", "TO": "PART", "POS": "PART"},
}
"""Beginnings of the Penn Treebank's tags; the first that fits, in this order."""


class NltkTagger(_WordTagger):
    """NLTK's averaged perceptron with the user's copy of its English weights."""

    def __init__(self) -> None:
        """Load the weights from NLTK's own search path."""
        try:
            from nltk.tag.perceptron import PerceptronTagger
        except ImportError as error:
            raise TextError("tagger nltk is not installed: pip install 'clover-vl[nltk]'") from error
        try:
            self._model = PerceptronTagger()
        except LookupError as error:
            raise TextError(
                "tagger nltk lacks its model: python -m nltk.downloader averaged_perceptron_tagger_eng"
            ) from error
        except (OSError, ValueError) as error:
            raise TextError(
                f"tagger nltk's averaged_perceptron_tagger_eng is damaged, download it again: {error}"
            ) from error
        self.identity = f"nltk-{version('nltk')}-rules-{_RULES_VERSION}"

    def _tag_forms(self, forms: list[str]) -> list[str]:
        coarse = []
        for form, tag in self._model.tag(forms):
            found = next((value for prefix, value in _PENN_PREFIXES.items() if tag.startswith(prefix)), "X")
            if found == "VERB" and form.lower() in _BE:
                found = "AUX"
            elif form.lower() in ("not", "n't"):
                found = "PART"
            coarse.append(found)
        return coarse


# ---------------------------------------------------------------------------------------------------------- spaCy

_UNIVERSAL = {"CCONJ": "CONJ", "SCONJ": "CONJ"}


class SpacyTagger:
    """A spaCy pipeline of the user's, with its own words."""

    def __init__(self, model: str) -> None:
        """Load a pipeline by name or path."""
        try:
            import spacy
        except ImportError as error:
            raise TextError("tagger spacy is not installed: pip install 'clover-vl[spacy]'") from error
        try:
            # What tags do not need, and what costs most of the time.
            self._pipeline: Any = spacy.load(model, exclude=["parser", "ner", "lemmatizer"])
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise TextError(
                f"spaCy pipeline {model} cannot be loaded, install it or give its folder: {reason}"
            ) from error
        meta = self._pipeline.meta
        self._model = model
        self.identity = f"spacy-{spacy.__version__}-{model}-{meta['lang']}_{meta['name']}-{meta['version']}"

    def tag(self, texts: Sequence[str]) -> Iterator[list[TaggedWord]]:
        """Yield the words of each text in order."""
        try:
            for document in self._pipeline.pipe(texts):
                if len(document) and not any(token.pos for token in document):
                    raise TextError(
                        f"spaCy pipeline {self._model} assigns no parts of speech: use one such as en_core_web_sm"
                    )
                yield [
                    TaggedWord(
                        text=token.text,
                        start=token.idx,
                        end=token.idx + len(token.text),
                        part_of_speech=_coarse_universal(token.pos_),
                    )
                    for token in document
                    if not token.is_space
                ]
        except ValueError as error:
            raise TextError(
                f"spaCy pipeline {self._model} fails on a text: {str(error).splitlines()[0]}"
            ) from error


def _coarse_universal(tag: str) -> str:
    tag = _UNIVERSAL.get(tag, tag)
    return tag if tag in PARTS_OF_SPEECH else "X"


# ---------------------------------------------------------------------------------------------------------- cache

_LETTERS = dict(zip(PARTS_OF_SPEECH, "NPVAJRODIMCKUX", strict=True))
_TAGS = {letter: tag for tag, letter in _LETTERS.items()}
_CHUNK = 1_000
"""Captions that are looked up, tagged and stored together."""


class TagCache:
    """Tags of captions kept on disk, so that a corpus is tagged once.

    One SQLite file. Its journal does what writing aside and renaming does for other files: whatever is interrupted, the
    stored tags stay whole. A caption is found by a digest of its text and the tagger's identity, so one file serves several
    corpora and taggers, and several processes may share it. A damaged file is put aside with a warning and its tags are
    computed anew. Memory does not grow with the file.
    """

    def __init__(self, path: str | os.PathLike[str], *, tagger: str = "hanta") -> None:
        """Name the file, which is made when first needed, and the tagger (see :func:`tag`)."""
        self.path = Path(path)
        self.tagger = tagger

    def tag(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> list[list[TaggedWord]]:
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
        except (
            sqlite3.OperationalError
        ) as error:  # Locked, full, not writable: nothing wrong with its content.
            raise TextError(f"cannot use tag cache {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(self.path.name + ".damaged")
            warnings.warn(
                f"tag cache {self.path} is damaged ({error}): moved to {aside.name}, tags are computed anew",
                stacklevel=2,
            )
            self.path.replace(aside)
            return self._run(action)

    def _run(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        # A connection for each use: it must not be carried into forked loader processes, and opening one is cheap.
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
    """ "DN 0 3 4 9": a letter for each word's tag, then where each starts and ends."""
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
    if not len(tags) == len(starts) == len(ends) or any(
        not 0 <= start < end <= len(text) for start, end in zip(starts, ends, strict=True)
    ):
        return None
    return [
        TaggedWord(text=text[start:end], start=start, end=end, part_of_speech=tag)
        for start, end, tag in zip(starts, ends, tags, strict=True)
    ]
