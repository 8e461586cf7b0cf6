from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.data.text import SPECIAL_TOKENS, Tokenizer, choice_texts
from clover.errors import TextError

GOLDEN = Path(__file__).parents[1] / "golden"
CAPTIONS = [
    "a black swan swimming in a calm lake",
    "A man is folding pieces of paper into a paper airplane.",
    "two kids should have been playing football in the park",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CAPTIONS * 3, 150)


def published_vocabulary() -> list[str]:
    """A small vocabulary with BERT's habits: unused ids, and special tokens far from the front."""
    unused = [f"[unused{number}]" for number in range(99)]
    words = ["the", "man", "swim", "##ming", "##s", "un", "##aff", "##able", ",", "'", "t", "can", "cafe"]
    return ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]


def test_special_ids_of_a_trained_vocabulary(tokenizer: Tokenizer) -> None:
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id) == (0, 1, 2, 3)
    assert tokenizer.mask_id == 4
    assert tokenizer.special_ids == {0, 1, 2, 3, 4}
    assert 100 < tokenizer.vocabulary_size <= 150


def test_encoding_of_a_batch(tokenizer: Tokenizer) -> None:
    texts = ["a swan", "a paper airplane in the park"]
    encoded = tokenizer.encode(texts, max_length=30)
    assert encoded.token_ids.dtype == np.int64
    assert encoded.token_ids.shape == encoded.is_token.shape
    assert [len(row) for row in encoded.spans] == [encoded.token_ids.shape[1]] * 2
    assert (encoded.token_ids[:, 0] == tokenizer.cls_id).all()
    for row, text in enumerate(texts):
        length = encoded.is_token[row].sum()
        assert encoded.is_token[row, :length].all()
        assert encoded.token_ids[row, length - 1] == tokenizer.sep_id
        assert (encoded.token_ids[row, length:] == tokenizer.pad_id).all()
        assert tokenizer.decode(encoded.token_ids[row]) == text
        pieces = [text[start:end] for start, end in encoded.spans[row]]
        assert "".join(pieces) == text.replace(" ", "")
    assert encoded.is_token[1].all()  # No wider than the longest row.
    assert tokenizer.encode(texts, max_length=30, pad_to_max=True).token_ids.shape == (2, 30)


def test_case_and_accents_do_not_matter(tokenizer: Tokenizer) -> None:
    plain, decorated, decomposed = tokenizer.encode(
        ["paper swan", "Pâper SWAN", unicodedata.normalize("NFD", "Pâper SWAN")], max_length=9
    ).token_ids
    assert np.array_equal(plain, decorated)
    assert np.array_equal(plain, decomposed)


def test_a_written_mask_is_one_token(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode(["a [MASK] swan", "a[MASK]."], max_length=12)
    assert (encoded.token_ids == tokenizer.mask_id).sum(axis=1).tolist() == [1, 1]
    position = encoded.token_ids[0].tolist().index(tokenizer.mask_id)
    assert encoded.spans[0][position] == (2, 8)
    assert tokenizer.decode(encoded.token_ids[0], skip_special=False).startswith("[CLS] a [MASK] swan [SEP]")


def test_truncation_keeps_the_separator_last(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode([CAPTIONS[0]], max_length=5)
    whole = tokenizer.encode([CAPTIONS[0]], max_length=100)
    assert encoded.token_ids[0].tolist() == [*whole.token_ids[0, :4].tolist(), tokenizer.sep_id]
    assert encoded.spans[0] == [*whole.spans[0][:4], (0, 0)]


def test_truncation_around_the_mask(tokenizer: Tokenizer) -> None:
    for before in (0, 3, 20, 50):
        text = "swan " * before + "[MASK]" + " lake" * 50
        encoded = tokenizer.encode([text], max_length=12, keep_mask=True)
        assert (encoded.token_ids == tokenizer.mask_id).sum() == 1
        assert encoded.token_ids[0, 0] == tokenizer.cls_id
        assert encoded.token_ids[0, -1] == tokenizer.sep_id
        assert encoded.token_ids.shape == (1, 12)
    late = "swan " * 50 + "[MASK]"
    assert not (tokenizer.encode([late], max_length=12).token_ids == tokenizer.mask_id).any()
    kept = tokenizer.encode([late], max_length=12, keep_mask=True)
    assert kept.token_ids[0, -2] == tokenizer.mask_id  # The end of the text is full of pieces, not padding.
    assert kept.is_token.all()
    position = kept.token_ids[0].tolist().index(tokenizer.mask_id)
    start, end = kept.spans[0][position]
    assert late[start:end] == "[MASK]"


def test_ten_thousand_words_are_truncated_quickly(tokenizer: Tokenizer) -> None:
    start = time.perf_counter()
    encoded = tokenizer.encode(["swan lake " * 5_000, "x" * 100_000], max_length=30)
    assert time.perf_counter() - start < 20  # the square of these lengths takes minutes
    assert encoded.token_ids.shape == (2, 30)
    assert encoded.token_ids[1, 1] == tokenizer.unk_id


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60), max_length=st.integers(3, 20))
def test_any_text_is_encoded_or_refused(tokenizer, text, max_length) -> None:
    try:
        encoded = tokenizer.encode([text], max_length=max_length)
    except TextError as error:
        assert str(error).startswith("text 0 is")
        assert "\n" not in str(error)
        return
    assert 3 <= encoded.token_ids.shape[1] <= max_length
    assert encoded.is_token.all()
    assert encoded.token_ids[0, -1] == tokenizer.sep_id
    previous = 0
    for start, end in encoded.spans[0][1:-1]:
        assert previous <= start < end <= len(text)
        previous = start


@pytest.mark.parametrize("blank", ["", "   ", "\n\t", "\u200b"])
def test_blank_texts_are_named(tokenizer: Tokenizer, blank: str) -> None:
    with pytest.raises(TextError, match="text 1 is blank"):
        tokenizer.encode(["a swan", blank, "a lake"], max_length=10)


def test_what_is_no_text_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextError, match="text 1 is of type int"):
        tokenizer.encode(["a", 3], max_length=10)
    with pytest.raises(TextError, match="text 0 is not valid Unicode"):
        tokenizer.encode(["\ud800"], max_length=10)
    with pytest.raises(TextError, match="one string"):
        tokenizer.encode("abc", max_length=10)
    with pytest.raises(TextError, match="no text to encode"):
        tokenizer.encode([], max_length=10)
    with pytest.raises(TextError, match="max_length 2"):
        tokenizer.encode(["a"], max_length=2)


def test_decoding_refuses_ids_outside_the_vocabulary(tokenizer: Tokenizer) -> None:
    for token_id in (-100, tokenizer.vocabulary_size):
        with pytest.raises(TextError, match=f"token id {token_id} "):
            tokenizer.decode([tokenizer.cls_id, token_id])


# ------------------------------------------------------------------------------------------------- training

TRAIN = """
import hashlib, pathlib, sys
from clover.data.text import Tokenizer
words = [f"{a}{b}ing {b}{a}t" for a in ("sw", "pl", "tr") for b in ("imm", "ay", "ick", "oub", "ee")]
Tokenizer.train(words * 2, 80).save(sys.argv[1])
print(hashlib.sha256((pathlib.Path(sys.argv[1]) / "tokenizer.json").read_bytes()).hexdigest())
"""


def test_training_gives_the_same_file_in_every_process(tmp_path: Path) -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", TRAIN, str(tmp_path / str(run))],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for run in range(3)
    }
    assert len(digests) == 1
    content = (tmp_path / "0" / "tokenizer.json").read_bytes()
    assert digests.pop().strip() == hashlib.sha256(content).hexdigest()
    assert len(json.loads(content)["model"]["vocab"]) == 80


def test_frequent_words_become_whole_pieces(tokenizer: Tokenizer) -> None:
    trained = Tokenizer.train(["the square jumps over the circle"] * 5, 200)
    encoded = trained.encode(["the circle jumps"], max_length=30)
    assert encoded.spans[0][1:-1] == [(0, 3), (4, 10), (11, 16)]
    assert trained.encode(["jumpsquare"], max_length=30).token_ids.shape[1] > 3


def test_training_on_nothing_or_too_small_is_refused() -> None:
    for texts in ([], ["", "  "]):
        with pytest.raises(TextError, match="no text to train"):
            Tokenizer.train(texts)
    with pytest.raises(TextError, match="vocabulary_size 20 is too small"):
        Tokenizer.train(CAPTIONS, 20)
    with pytest.raises(TextError, match="text 0 is not valid Unicode"):
        Tokenizer.train(["\ud800"])


# ------------------------------------------------------------------------------------------------------ files


def test_saved_and_loaded_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tokenizer.save(tmp_path / "new" / "folder")
    assert [entry.name for entry in path.parent.iterdir()] == ["tokenizer.json"]
    assert tokenizer.save(path.parent) == path  # Over the old one.
    expected = tokenizer.encode([*CAPTIONS, "[MASK] it"], max_length=20)
    for loaded in (Tokenizer.load(path), Tokenizer.load(path.parent), pickle.loads(pickle.dumps(tokenizer))):
        encoded = loaded.encode([*CAPTIONS, "[MASK] it"], max_length=20)
        assert np.array_equal(encoded.token_ids, expected.token_ids)
        assert encoded.spans == expected.spans
        assert loaded.vocabulary_size == tokenizer.vocabulary_size


def test_the_saved_file_is_complete_for_other_programs(tokenizer: Tokenizer, tmp_path: Path) -> None:
    plain = tokenizers.Tokenizer.from_file(str(tokenizer.save(tmp_path)))
    assert plain.encode(CAPTIONS[0]).ids == tokenizer.encode(CAPTIONS[:1], max_length=99).token_ids[0].tolist()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_published_vocabulary(tmp_path: Path, newline: str) -> None:
    content = newline.join(published_vocabulary()) + newline
    (tmp_path / "vocab.txt").write_bytes(content.encode())
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.vocabulary_size == len(published_vocabulary())
    expected = json.loads((GOLDEN / "data_rules.json").read_text())["special_token_ids"]
    assert tokenizer.cls_id == expected["CLS"]
    assert tokenizer.sep_id == expected["SEP"]
    assert tokenizer.mask_id == expected["MASK"]
    assert tokenizer.pad_id == expected["PAD"]
    ids = tokenizer.encode(["The man, swimming! [MASK] Unaffable café can't"], max_length=30).token_ids[0]
    pieces = [published_vocabulary()[token_id] for token_id in ids]
    assert pieces == [
        *["[CLS]", "the", "man", ",", "swim", "##ming", "[UNK]", "[MASK]", "un", "##aff", "##able", "cafe"],
        *["can", "'", "t", "[SEP]"],
    ]


def test_published_settings_for_truncation_and_padding_are_ignored(tokenizer: Tokenizer, tmp_path: Path) -> None:
    plain = tokenizers.Tokenizer.from_file(str(tokenizer.save(tmp_path)))
    plain.enable_truncation(4)
    plain.enable_padding(length=64)
    plain.save(str(tmp_path / "tokenizer.json"))
    expected = tokenizer.encode(CAPTIONS, max_length=50)
    assert np.array_equal(Tokenizer.load(tmp_path).encode(CAPTIONS, max_length=50).token_ids, expected.token_ids)


def test_a_cased_vocabulary_is_not_lower_cased(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, "Paris", "paris"]))
    assert Tokenizer.load(path).encode(["Paris paris"], max_length=9).token_ids[0, 1:3].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"{", "not a tokenizer.json"),
        ("tokenizer.json", b"", "not a tokenizer.json"),
        ("tokenizer.json", b"\xff\xfe", "not UTF-8"),
        ("vocab.txt", b"one\ntwo\n", r"no \[PAD\], \[UNK\]"),
        ("vocab.txt", b"", "not a BERT vocabulary"),
        ("vocab.txt", b"[PAD]\n[PAD]\n", "twice"),
        ("vocab.txt", b"\x00\xff", "not UTF-8"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TextError, match=message) as caught:
        Tokenizer.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokenizers_without_the_special_tokens_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizers.Tokenizer(tokenizers.models.BPE()).save(str(path))
    with pytest.raises(TextError, match=r"has no \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\]"):
        Tokenizer.load(path)
    tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).save(str(path))
    with pytest.raises(TextError, match=r"has no \[PAD\], \[CLS\], \[SEP\], \[MASK\]"):
        Tokenizer.load(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"needs a tokenizer\.json or a vocab\.txt"):
        Tokenizer.load(tmp_path)
    with pytest.raises(TextError, match=r"nowhere.*No such file"):
        Tokenizer.load(tmp_path / "nowhere")


# ----------------------------------------------------------------------------------------- questions


@pytest.mark.parametrize("case", ["multiple_choice_with_question", "multiple_choice_without_question"])
def test_choices_are_composed_as_published(case: str) -> None:
    golden = json.loads((GOLDEN / "data_rules.json").read_text())["qa_text_templates"][case]
    assert choice_texts(golden["question"], golden["answers"]) == golden["texts"]
