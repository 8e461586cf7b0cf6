"""Three part-of-speech taggers, each behind the same small class.

HanTa brings its English model along and needs no download; spaCy (what the published run used) and NLTK (what
the paper cites) use a model that the user has installed. Nothing is ever downloaded.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clover.errors import TextError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PARTS_OF_SPEECH = (
    "NOUN",
    "PROPN",
    "VERB",
    "AUX",
    "ADJ",
    "ADV",
    "PRON",
    "DET",
    "ADP",
    "NUM",
    "CONJ",
    "PART",
    "PUNCT",
    "X",
)
"""The coarse universal tags that every tagger's own are mapped to."""

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


class Tagger(ABC):
    """What every tagger offers.

    Attributes:
        identity: Name and version of program, model and rules: equal identities give equal tags.
    """

    identity: str

    @abstractmethod
    def tag(self, texts: Sequence[str]) -> Iterator[list[TaggedWord]]:
        """Yield the words of each text in order."""


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


_BE = frozenset(("be", "am", "is", "are", "was", "were", "been", "being", "'s", "'m", "'re"))
_HAVE_DO = frozenset(("have", "has", "had", "having", "'ve", "'d", "do", "does", "did", "doing"))


def _resolve_auxiliaries(forms: Sequence[str], tags: list[str]) -> None:
    """Call "have" and "do" auxiliary where a verb follows ("has eaten", "does n't know"), in place."""
    for place, form in enumerate(forms):
        if tags[place] not in ("VERB", "AUX") or form.lower() not in _HAVE_DO:
            continue
        following = place + 1
        while following < len(tags) and tags[following] in ("ADV", "PRON", "PART") and forms[following].lower() != "to":
            following += 1
        tags[place] = "AUX" if following < len(tags) and tags[following] in ("VERB", "AUX") else "VERB"


class _WordTagger(Tagger):
    """A tagger that is handed the words we split: HanTa and NLTK."""

    def tag(self, texts: Sequence[str]) -> Iterator[list[TaggedWord]]:
        """Yield the words of each text in order."""
        for text in texts:
            places = split_words(text)
            forms = [text[start:end].replace("’", "'") for start, end in places]
            tags = self._tag_forms(forms) if forms else []
            _resolve_auxiliaries(forms, tags)
            yield [
                TaggedWord(text=text[start:end], start=start, end=end, part_of_speech=_symbol_tag(form) or tag)
                for (start, end), form, tag in zip(places, forms, tags, strict=True)
            ]

    @abstractmethod
    def _tag_forms(self, forms: list[str]) -> list[str]:
        """Coarse tag of each word of one text; at least one word."""


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
    """HanTa's English model with two rules for the captions' style, where it takes verbs for nouns."""

    def __init__(self) -> None:
        """Load the model that comes with the package (a third of a second)."""
        import HanTa
        from HanTa.HanoverTagger import HanoverTagger

        # By its full path: given the bare name, HanTa would prefer, and unpickle, a file in the current
        # folder.
        self._model = HanoverTagger(str(Path(HanTa.__file__).parent / "morphmodel_en.pgz"))
        # A word that is not in the model's dictionary is analysed anew each time; captions repeat theirs.
        self._model.analyze_forward = functools.lru_cache(maxsize=65_536)(self._model.analyze_forward)
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
                if [form.lower() for form in forms[place + 1 : place + 2]] == [
                    "left"
                ]:  # "moves left" is read as a noun and "leave".
                    tags[place + 1] = "AV0"
        return [
            next((coarse for prefix, coarse in _C5_PREFIXES.items() if tag.startswith(prefix)), "X") for tag in tags
        ]

    def _best_tag(self, form: str) -> str:
        candidates = self._model.tag_word(form)
        return candidates[0][0] if candidates else "UNC"

    def _can_be(self, form: str, tag: str) -> bool:
        return any(candidate == tag for candidate, _ in self._model.tag_word(form))

    def _is_gerund(self, forms: list[str], tags: list[str], place: int) -> bool:
        """At the start, or after a noun, "while", "by" or "and": "people dancing", "playing soccer"."""
        previous = tags[place - 1] if place else "PUN"
        after = forms[place - 1].lower() in ("while", "by", "and") if place else False
        return (after or previous.startswith(("NN", "NP", "PUN"))) and self._can_be(forms[place], "VVG")

    def _is_third_person(self, forms: list[str], tags: list[str], place: int) -> bool:
        """After a noun, no verb yet, before an article, preposition, adverb or the end: a ball rolls to."""
        if place == 0 or not tags[place - 1].startswith(("NN", "NP")):
            return False
        following = tags[place + 1] if place + 1 < len(tags) else "PUN"
        return (
            (following.startswith(("AT", "DT", "DPS", "PR", "AV", "PU")) or forms[place + 1].lower() == "left")
            and not any(tag.startswith("V") for tag in tags[:place])
            and self._can_be(forms[place], "VVZ")
        )


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


_UNIVERSAL = {"CCONJ": "CONJ", "SCONJ": "CONJ"}


class SpacyTagger(Tagger):
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
            raise TextError(
                f"spaCy pipeline {model} cannot be loaded, install it or give its folder: {first_line(error)}"
            ) from error
        meta = self._pipeline.meta
        self._model = model
        self.identity = f"spacy-{spacy.__version__}-{model}-{meta['lang']}_{meta['name']}-{meta['version']}"

    def tag(self, texts: Sequence[str]) -> Iterator[list[TaggedWord]]:
        """Yield the words of each text in order."""
        try:
            for document in self._pipeline.pipe(texts):
                tokens = [token for token in document if not token.is_space]
                if tokens and not any(token.pos for token in tokens):
                    raise TextError(f"spaCy pipeline {self._model} assigns no parts of speech: use one that does")
                yield [
                    TaggedWord(
                        text=token.text,
                        start=token.idx,
                        end=token.idx + len(token.text),
                        part_of_speech=_coarse_universal(token.pos_),
                    )
                    for token in tokens
                ]
        except ValueError as error:
            raise TextError(f"spaCy pipeline {self._model} fails on a text: {first_line(error)}") from error


def _coarse_universal(tag: str) -> str:
    tag = _UNIVERSAL.get(tag, tag)
    return tag if tag in PARTS_OF_SPEECH else "X"
