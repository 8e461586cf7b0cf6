from __future__ import annotations

import json
import os
import sqlite3
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.data import tagging
from clover.data.taggers import split_words
from clover.data.tagging import PARTS_OF_SPEECH, TagCache, load_tagger, tag
from clover.errors import TextError


def written(text: str, tagger: str = "hanta") -> str:
    (words,) = tag([text], tagger=tagger)
    return " ".join(f"{word.text}/{word.part_of_speech}" for word in words)


# ---------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a man's dog can't", ["a", "man", "'s", "dog", "ca", "n't"]),
        ("he doesn’t; they’ll", ["he", "does", "n’t", ";", "they", "’ll"]),
        ("the man 's hat is n't red", ["the", "man", "'s", "hat", "is", "n't", "red"]),
        ("close-up at 10:30, 3.5 m.", ["close", "-", "up", "at", "10:30", ",", "3.5", "m", "."]),
        ("a [MASK] on 5 o'clock", ["a", "[MASK]", "on", "5", "o'clock"]),
        ("cafe\u0301 under_score 漢字 👍", ["cafe\u0301", "under", "_", "score", "漢字", "👍"]),
        (" \t\n", []),
        ("", []),
    ],
)
def test_words_and_their_places(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80) | st.text("a's nt[MASK]’.ing\u0301 0,", max_size=80))
def test_tags_cover_any_text(text: str) -> None:
    (words,) = tag([text])
    previous = 0
    for word in words:
        assert previous <= word.start < word.end
        assert not text[previous : word.start].strip()  # Nothing but blanks is left out.
        assert word.text == text[word.start : word.end]
        assert word.part_of_speech in PARTS_OF_SPEECH
        previous = word.end
    assert not text[previous:].strip()


# ---------------------------------------------------------------------------------------------- HanTa


@pytest.mark.parametrize(
    "tagged",
    [
        "a/DET black/ADJ swan/NOUN swimming/VERB in/ADP a/DET calm/ADJ lake/NOUN",
        "a/DET man/NOUN is/AUX folding/VERB pieces/NOUN of/ADP paper/NOUN",
        "two/NUM kids/NOUN should/AUX have/AUX been/AUX playing/VERB football/NOUN in/ADP the/DET park/NOUN",
        "the/DET woman/NOUN will/AUX slice/VERB onions/NOUN quickly/ADV",
        "she/PRON has/AUX eaten/VERB it/PRON",
        "she/PRON has/VERB a/DET hat/NOUN",
        "kids/NOUN do/VERB homework/NOUN ./PUNCT",
        "person/NOUN does/AUX push/VERB up/ADP",
        # The first rule: bare gerunds.
        "girl/NOUN playing/VERB soccer/NOUN while/CONJ singing/VERB",
        "cooking/VERB and/CONJ baking/VERB",
        "the/DET building/NOUN in/ADP the/DET morning/NOUN",
        # The second rule: third persons after a noun.
        "a/DET red/ADJ ball/NOUN rolls/VERB to/ADP the/DET side/NOUN",
        "girl/NOUN walks/VERB",
        "a/DET red/ADJ circle/NOUN moves/VERB left/ADV",
        "the/DET man/NOUN sees/VERB paper/NOUN rolls/NOUN",
        # What is no word.
        "👍/X [MASK]/X !/PUNCT ,/PUNCT",
    ],
)
def test_captions_tagged_by_hanta(tagged: str) -> None:
    text = " ".join(word.rpartition("/")[0] for word in tagged.split())
    assert written(text) == tagged


def test_clitics_are_auxiliaries_or_particles() -> None:
    assert written("the man's dog can't stop") == "the/DET man/NOUN 's/PART dog/NOUN ca/AUX n't/PART stop/VERB"
    assert written("she doesn’t know") == "she/PRON does/AUX n’t/PART know/VERB"


def test_a_model_file_in_the_current_folder_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "morphmodel_en.pgz").write_bytes(b"not a model")
    monkeypatch.chdir(tmp_path)
    load_tagger.cache_clear()
    assert written("a dog") == "a/DET dog/NOUN"


def test_very_long_captions_and_words() -> None:
    caption = "a man walks " * 1_000 + "x" * 100_000
    (words,) = tag([caption])
    assert len(words) == 3_001
    assert words[-1].end == len(caption)


# ---------------------------------------------------------------------------------------------- NLTK


@pytest.fixture
def nltk_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """English weights where NLTK looks for them, trained on a few sentences."""
    import nltk.data
    from nltk.tag.perceptron import PerceptronTagger

    sentences = [
        "the/DT man/NN is/VBZ eating/VBG quickly/RB ./.",
        "she/PRP has/VBZ seen/VBN Paris/NNP",
        "she/PRP has/VBZ two/CD red/JJ hats/NNS",
        "he/PRP will/MD not/RB go/VB to/TO the/DT man/NN 's/POS hat/NN",
    ]
    model = PerceptronTagger(load=False)
    model.train([[tuple(word.split("/")) for word in sentence.split()] for sentence in sentences * 3], nr_iter=8)
    weights, tags, classes = model.encode_json_obj()
    folder = tmp_path / "nltk_data" / "taggers" / "averaged_perceptron_tagger_eng"
    folder.mkdir(parents=True)
    for name, content in zip(("weights", "tagdict", "classes"), (weights, tags, classes), strict=True):
        (folder / f"averaged_perceptron_tagger_eng.{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])
    load_tagger.cache_clear()
    return folder


@pytest.mark.usefixtures("nltk_model")
def test_captions_tagged_by_nltk() -> None:
    assert written("the man is eating quickly.", "nltk") == ("the/DET man/NOUN is/AUX eating/VERB quickly/ADV ./PUNCT")
    assert written("she has seen Paris", "nltk") == "she/PRON has/AUX seen/VERB Paris/PROPN"
    assert written("she has two red hats", "nltk") == "she/PRON has/VERB two/NUM red/ADJ hats/NOUN"
    assert written("he will not go to the man's hat", "nltk") == (
        "he/PRON will/AUX not/PART go/VERB to/PART the/DET man/NOUN 's/PART hat/NOUN"
    )


def test_nltk_without_or_with_a_damaged_model(nltk_model: Path) -> None:
    (nltk_model / "averaged_perceptron_tagger_eng.weights.json").write_text("{")
    with pytest.raises(TextError, match="damaged, download it again"):
        tag(["a"], tagger="nltk")
    for path in nltk_model.iterdir():
        path.unlink()
    nltk_model.rmdir()
    with pytest.raises(TextError, match=r"nltk\.downloader averaged_perceptron_tagger_eng"):
        tag(["a"], tagger="nltk")


# ---------------------------------------------------------------------------------------------- spaCy


@pytest.fixture(scope="module")
def spacy_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline that knows a few words."""
    import spacy

    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("attribute_ruler")
    known = {
        "man": "NOUN",
        "ca": "AUX",
        "n't": "PART",
        "stop": "VERB",
        "and": "CCONJ",
        "oh": "INTJ",
        ",": "PUNCT",
    }
    for word, part_of_speech in known.items():
        ruler.add(patterns=[[{"LOWER": word}]], attrs={"POS": part_of_speech})
    folder = tmp_path_factory.mktemp("spacy") / "tiny"
    pipeline.to_disk(folder)
    return folder


def test_captions_tagged_by_spacy(spacy_pipeline: Path) -> None:
    text = "oh,  Man can't stop and unheard"
    tagger = f"spacy:{spacy_pipeline}"
    assert written(text, tagger) == "oh/X ,/PUNCT Man/NOUN ca/AUX n't/PART stop/VERB and/CONJ unheard/X"
    (words, nothing) = tag([text, "  "], tagger=tagger)
    assert all(text[word.start : word.end] == word.text for word in words)
    assert nothing == []


def test_spacy_without_a_model_or_without_tags(tmp_path: Path) -> None:
    import spacy

    with pytest.raises(TextError, match="no_such_model cannot be loaded, install it") as caught:
        tag(["a"], tagger="spacy:no_such_model")
    assert "\n" not in str(caught.value)
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(TextError, match="assigns no parts of speech"):
        tag(["a man"], tagger=f"spacy:{tmp_path / 'blank'}")
    (tmp_path / "blank" / "config.cfg").write_text("[broken")
    load_tagger.cache_clear()
    with pytest.raises(TextError, match="cannot be loaded"):
        tag(["a man"], tagger=f"spacy:{tmp_path / 'blank'}")


def test_spacy_refuses_a_text_beyond_its_limit(spacy_pipeline: Path) -> None:
    with pytest.raises(TextError, match="fails on a text"):
        tag(["a " * 600_000], tagger=f"spacy:{spacy_pipeline}")


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("name", ["spacy:x", "nltk"])
def test_absent_packages_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = name.partition(":")[0]
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    load_tagger.cache_clear()
    with pytest.raises(TextError, match=rf"pip install 'clover-vl\[{package}\]'"):
        tag(["a"], tagger=name)


@pytest.mark.parametrize("name", ["", "stanza", "spacy:", "HanTa"])
def test_unknown_taggers_are_refused(name: str) -> None:
    with pytest.raises(TextError, match="unknown tagger"):
        tag(["a"], tagger=name)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="text 1 is of type NoneType"):
        tag(["a", None])  # type: ignore[list-item]
    with pytest.raises(TextError, match="text 0 is of type int"):
        TagCache(tmp_path / "tags").tag([3])  # type: ignore[list-item]


# ---------------------------------------------------------------------------------------------- cache

CAPTIONS = ["a man walks", "a man's dog can't stop!", "", "漢字 👍", "a man walks"]


class _NoTagger:
    """Stands where a tagger would: has its identity, and fails when asked to tag."""

    identity = load_tagger("hanta").identity

    def tag(self, texts: object) -> object:
        raise AssertionError(f"{texts} should have been cached")


def forbid_tagging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagging, "load_tagger", lambda _: _NoTagger())


def test_cached_tags_are_the_same_and_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "tags.db"
    done: list[int] = []
    assert TagCache(path).tag(CAPTIONS, done.append) == tag(CAPTIONS)
    assert done == [len(CAPTIONS)]
    expected = tag(CAPTIONS)
    forbid_tagging(monkeypatch)
    assert TagCache(path).tag(CAPTIONS[::-1]) == expected[::-1]
    assert TagCache(path).tag([]) == []


def test_a_corpus_is_filled_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagging, "_CHUNK", 2)
    cache = TagCache(tmp_path / "tags.db")
    done: list[int] = []
    assert cache.fill(iter(CAPTIONS), done.append) == len(CAPTIONS)
    assert done == [2, 4, 5]
    expected = tag(CAPTIONS)
    forbid_tagging(monkeypatch)
    assert cache.tag(CAPTIONS) == expected


def test_another_tagger_has_its_own_tags(tmp_path: Path, spacy_pipeline: Path) -> None:
    path = tmp_path / "tags.db"
    TagCache(path).tag(["stop man"])
    other = TagCache(path, tagger=f"spacy:{spacy_pipeline}")
    (words,) = other.tag(["stop man"])
    assert [word.part_of_speech for word in words] == ["VERB", "NOUN"]
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT COUNT(*) FROM tags").fetchone() == (2,)
    database.close()


@pytest.mark.parametrize("damage", ["garbage", "header", "middle"])
def test_a_damaged_file_is_put_aside_with_a_warning(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tags.db"
    captions = [f"man {number}" for number in range(500)]
    TagCache(path).fill(captions)
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content = bytearray(b"no database at all" * 100)
    elif damage == "header":
        content[:16] = b"\0" * 16
    else:
        content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"tags\.db is damaged .* moved to tags\.db\.damaged"):
        tagged = TagCache(path).tag(captions)
    assert tagged == tag(captions)
    assert path.with_name("tags.db.damaged").read_bytes() == bytes(content)
    assert TagCache(path).tag(captions) == tagged


@pytest.mark.parametrize("packed", ["", "N", "N 0", "N 0 99", "N 3 1", "? 0 1", "N a b", "NN 0 1", "N -1 2"])
def test_a_damaged_row_is_computed_anew(tmp_path: Path, packed: str) -> None:
    cache = TagCache(tmp_path / "tags.db")
    expected = cache.tag(["a man"])
    database = sqlite3.connect(cache.path)
    with database:
        database.execute("UPDATE tags SET words = ?", (packed,))
    database.close()
    assert cache.tag(["a man"]) == expected
    database = sqlite3.connect(cache.path)
    assert database.execute("SELECT words FROM tags").fetchone() == ("DN 0 1 2 5",)
    database.close()


def test_a_cache_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="cannot use tag cache"):
        TagCache(tmp_path).tag(["a"])
    (tmp_path / "file").write_text("")
    with pytest.raises(TextError, match="cannot make the folder of tag cache"):
        TagCache(tmp_path / "file" / "tags.db").tag(["a"])


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text("a man's.\ud800\0é’漢", max_size=20), max_size=4))
def test_any_text_can_be_cached(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    cache = TagCache(tmp_path_factory.mktemp("cache") / "tags.db")
    assert cache.tag(texts) == cache.tag(texts) == tag(texts)


def test_decomposed_accents_keep_their_places() -> None:
    text = unicodedata.normalize("NFD", "né café")
    (words,) = tag([text])
    assert [(word.start, word.end) for word in words] == [(0, 3), (4, 9)]
