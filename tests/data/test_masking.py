from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.data.masking import (
    TextMaskingConfig,
    VideoMaskingConfig,
    align_pieces,
    candidate_words,
    choose_words,
    mask_text,
    mask_words,
    tube_masks,
)
from clover.data.tagging import TaggedWord, tag
from clover.data.text import Tokenizer
from clover.errors import ConfigError, TextError
from clover.types import IGNORED

GOLDEN = Path(__file__).parents[1] / "golden"
RULES = json.loads((GOLDEN / "text_mask_rules.json").read_text())
VIDEO_RULES = json.loads((GOLDEN / "data_rules.json").read_text())["masking_generator"]
CAPTIONS = [
    "a black swan swimming in a calm lake",
    "the man is running quickly in paris",
    "two kids should have been playing football in the park",
    "close-up of a young woman cutting fresh vegetables, while her friends can't stop laughing!",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CAPTIONS * 3, 90)  # Small: long words are cut into several pieces.


# --------------------------------------------------------------------------- published numbers


@pytest.mark.parametrize("case", RULES["candidates"])
def test_published_candidates_and_their_repeats(case: str) -> None:
    golden = RULES["candidates"][case]
    positions = golden["word_to_token_positions"]
    candidates = candidate_words(golden["pos"], rule="published")
    assert [positions[word] for word in candidates] == golden["candidate_units_official_order"]


@pytest.mark.parametrize("case", RULES["candidates"])
def test_published_statistics(case: str) -> None:
    golden = RULES["candidates"][case]
    generator = np.random.default_rng(7)
    config = TextMaskingConfig()
    num_samples = 3000
    hits = np.zeros(len(golden["tokens"]))
    counts: Counter[int] = Counter()
    for _ in range(num_samples):
        words = choose_words(golden["pos"], config, generator)
        counts[len(words)] += 1
        for word in words:
            hits[golden["word_to_token_positions"][word]] += 1
    expected = np.array(golden["p0.3"]["token_mask_probability"])
    variance = expected * (1 - expected) * (1 / num_samples + 1 / golden["p0.3"]["samples"])
    tolerance = 5 * np.sqrt(variance)
    assert np.all(np.abs(hits / num_samples - expected) <= tolerance)
    histogram = {str(count): number / num_samples for count, number in counts.items()}
    assert histogram == golden["p0.3"]["masked_words_histogram"]


def test_published_corruption_is_80_10_10() -> None:
    length, vocabulary_size, mask_id = 20_000, 30_522, 103
    token_ids = np.arange(2000, 2000 + length) % 20_000 + 200
    words = [[position] for position in range(length)]
    masked = mask_words(
        token_ids,
        words,
        ["NOUN"] * length,
        TextMaskingConfig(ratio=1.0),
        mask_id=mask_id,
        vocabulary_size=vocabulary_size,
        generator=np.random.default_rng(3),
    )
    new = masked.token_ids[0]
    golden = RULES["corruption"]["fractions"]
    assert np.array_equal(masked.targets[0], token_ids)
    assert np.mean(new == mask_id) == pytest.approx(golden["mask"], abs=0.015)
    assert np.mean(new == token_ids) == pytest.approx(golden["keep"], abs=0.011)
    random_ids = new[(new != mask_id) & (new != token_ids)]
    assert len(random_ids) / length == pytest.approx(golden["random"], abs=0.011)
    # Uniform over the whole vocabulary: each tenth holds a tenth.
    tenths = np.histogram(random_ids, bins=10, range=(0, vocabulary_size))[0] / len(random_ids)
    assert np.all(np.abs(tenths - 0.1) < 0.04)


@pytest.mark.parametrize(
    ("name", "size", "config"),
    [
        ('{"window_size": 7, "num_masking_patches": 10}', 7, VideoMaskingConfig()),
        (
            '{"window_size": 4, "num_masking_patches": 4, "min_num_patches": 1}',
            4,
            VideoMaskingConfig(ratio=0.25, min_block_cells=1),
        ),
    ],
)
def test_published_tube_masks(name: str, size: int, config: VideoMaskingConfig) -> None:
    golden = VIDEO_RULES[name]
    num_masks = 5000
    masks = tube_masks(num_masks, size, size, config, np.random.default_rng(11))
    assert masks.shape == (num_masks, size, size)
    assert masks.dtype == bool
    expected = np.array(golden["cell_probability"])
    error = np.sqrt(expected * (1 - expected) * (1 / num_masks + 1 / golden["samples"]))
    assert np.all(np.abs(masks.mean(axis=0) - expected) < 4.5 * error)
    counts = Counter(masks.sum(axis=(1, 2)).tolist())
    for count in range(size * size + 1):
        probability = golden["count_histogram"].get(str(count), 0.0)
        deviation = 4.5 * np.sqrt(probability * (1 - probability) / num_masks)
        assert abs(counts[count] / num_masks - probability) <= deviation + 1 / num_masks
    neighbours = (masks[:, :, 1:] & masks[:, :, :-1]).mean()
    assert neighbours == pytest.approx(golden["prob_horizontal_neighbours_both_masked"], abs=0.003)


# --------------------------------------------------------------------------------------- words


def test_paper_rule_takes_main_verbs_once_and_never_auxiliaries() -> None:
    tags = ["NOUN", "AUX", "AUX", "ADV", "VERB", "VERB", "ADJ", "PROPN"]
    assert candidate_words(tags, rule="paper") == [0, 4, 5, 7]
    assert candidate_words(tags, rule="paper", mask_adjectives=True) == [0, 4, 5, 6, 7]
    assert candidate_words(["ADJ", "NOUN"], rule="published") == [1]
    assert candidate_words(["ADJ", "NOUN"], rule="published", mask_adjectives=True) == [0, 1]


def test_random_words_spare_punctuation_unless_there_is_nothing_else() -> None:
    assert candidate_words(["DET", "PUNCT", "X"], rule="random_words") == [0, 2]
    assert candidate_words(["PUNCT", "PUNCT"], rule="random_words") == [0, 1]
    assert candidate_words([], rule="random_words") == []


def test_caption_without_candidates() -> None:
    tags = ["ADV", "ADJ", "CONJ", "ADJ", "PUNCT"]
    generator = np.random.default_rng(0)
    assert choose_words(tags, TextMaskingConfig(rule="published"), generator) == []
    drawn = [choose_words(tags, TextMaskingConfig(rule="paper", ratio=0.9), generator) for _ in range(100)]
    assert {len(words) for words in drawn} == {1}
    assert {words[0] for words in drawn} == {0, 1, 2, 3}
    assert choose_words([], TextMaskingConfig(rule="paper"), generator) == []


@pytest.mark.parametrize(("num_candidates", "expected"), [(1, 1), (3, 1), (5, 2), (6, 2), (12, 4), (15, 4), (25, 8)])
def test_number_of_words_rounds_halves_to_even(num_candidates: int, expected: int) -> None:
    assert TextMaskingConfig().num_words(num_candidates) == expected


def test_random_words_mask_15_percent_unless_told_otherwise() -> None:
    assert TextMaskingConfig(rule="random_words").num_words(20) == 3
    assert TextMaskingConfig(rule="random_words", ratio=0.5).num_words(20) == 10


def test_pieces_belong_to_the_word_that_contains_their_start() -> None:
    # "can't stop": the tagger splits ca|n't, the tokenizer can|'|t.
    words = [
        TaggedWord(text="ca", start=0, end=2, part_of_speech="AUX"),
        TaggedWord(text="n't", start=2, end=5, part_of_speech="PART"),
        TaggedWord(text="stop", start=6, end=10, part_of_speech="VERB"),
    ]
    spans = [(0, 0), (0, 3), (3, 4), (4, 5), (6, 8), (0, 0), (0, 0)]
    is_maskable = [False, True, True, True, True, False, False]
    assert align_pieces(spans, is_maskable, words) == [[1], [2, 3], [4]]


def test_pieces_outside_every_word_belong_to_none() -> None:
    words = [TaggedWord(text="b", start=2, end=3, part_of_speech="NOUN")]
    spans = [(0, 0), (0, 1), (2, 3), (4, 5), (0, 0)]
    assert align_pieces(spans, [False, True, True, True, False], words) == [[2]]


def test_truncated_words_are_no_candidates(tokenizer: Tokenizer) -> None:
    caption = "a man " + "very " * 30 + "jumps"
    encoded = tokenizer.encode([caption], max_length=12)
    config = TextMaskingConfig(rule="paper", ratio=1.0)
    masked = mask_text(encoded, tag([caption]), config, tokenizer, np.random.default_rng(0))
    hidden = masked.targets[0] != IGNORED
    starts = [encoded.spans[0][position][0] for position in np.flatnonzero(hidden)]
    assert starts
    assert all(2 <= start < 5 for start in starts)  # "man"; "jumps" did not survive.


def test_a_written_mask_token_is_never_a_target(tokenizer: Tokenizer) -> None:
    captions = ["the [MASK] is running", "[MASK]"]
    encoded = tokenizer.encode(captions, max_length=30)
    config = TextMaskingConfig(rule="random_words", ratio=1.0)
    masked = mask_text(encoded, tag(captions), config, tokenizer, np.random.default_rng(0))
    assert not np.isin(masked.targets, list(tokenizer.special_ids)).any()
    assert (masked.targets[0] != IGNORED).any()
    assert (masked.targets[1] == IGNORED).all()


def test_another_number_of_tagged_captions_is_refused(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode(CAPTIONS, max_length=30)
    with pytest.raises(TextError, match="4 captions were encoded but 1 tagged"):
        mask_text(encoded, tag(CAPTIONS[:1]), TextMaskingConfig(), tokenizer, np.random.default_rng(0))


@settings(max_examples=40, deadline=None)
@given(
    captions=st.lists(
        st.text("abc d'-é[,.\u0301漢👍\n", min_size=1).map(lambda text: "man " + text) | st.sampled_from(CAPTIONS),
        min_size=1,
        max_size=3,
    ),
    rule=st.sampled_from(["published", "paper", "random_words"]),
    ratio=st.sampled_from([None, 0.01, 0.5, 1.0]),
    max_length=st.integers(3, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_properties_of_masked_text(tokenizer, captions, rule, ratio, max_length, seed) -> None:
    encoded = tokenizer.encode(captions, max_length=max_length)
    original = encoded.token_ids.copy()
    tagged = tag(captions)
    config = TextMaskingConfig(rule=rule, ratio=ratio)
    masked = mask_text(encoded, tagged, config, tokenizer, np.random.default_rng(seed))
    again = mask_text(encoded, tagged, config, tokenizer, np.random.default_rng(seed))
    assert np.array_equal(masked.token_ids, again.token_ids)
    assert np.array_equal(masked.targets, again.targets)
    assert np.array_equal(encoded.token_ids, original)  # The clean text is left as it was.

    hidden = masked.targets != IGNORED
    assert masked.token_ids.dtype == masked.targets.dtype == np.int64
    assert np.array_equal(masked.targets[hidden], original[hidden])
    assert np.array_equal(masked.token_ids[~hidden], original[~hidden])
    assert not np.isin(original[hidden], [tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id]).any()
    assert ((masked.token_ids >= 0) & (masked.token_ids < tokenizer.vocabulary_size)).all()
    if rule == "paper":
        assert (masked.token_ids[hidden] == tokenizer.mask_id).all()
    for row, words in enumerate(tagged):
        maskable = [token_id not in tokenizer.special_ids for token_id in original[row].tolist()]
        pieces = [word for word in align_pieces(encoded.spans[row], maskable, words) if word]
        for word in pieces:
            assert len(set(hidden[row, word].tolist())) == 1  # Whole words.
        assert hidden[row].sum() == sum(len(word) for word in pieces if hidden[row, word[0]])
        if rule != "published" and pieces:
            assert hidden[row].any()


# --------------------------------------------------------------------------------------- video


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 16),
    width=st.integers(1, 16),
    ratio=st.floats(0.01, 0.99),
    min_block_cells=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_properties_of_tube_masks(height, width, ratio, min_block_cells, seed) -> None:
    config = VideoMaskingConfig(ratio=ratio, min_block_cells=min_block_cells)
    masks = tube_masks(4, height, width, config, np.random.default_rng(seed))
    assert masks.shape == (4, height, width)
    num_masked = masks.sum(axis=(1, 2))
    assert (num_masked <= config.num_cells(height, width)).all()
    assert (num_masked < height * width).all()  # Something is always left to see.
    again = tube_masks(4, height, width, config, np.random.default_rng(seed))
    assert np.array_equal(masks, again)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(7, 7, 10), (4, 4, 3), (2, 2, 1), (1, 2, 1), (1, 1, 0), (3, 5, 3), (14, 14, 39)],
)
def test_small_and_oblong_grids_are_masked(height: int, width: int, expected: int) -> None:
    config = VideoMaskingConfig()
    assert config.num_cells(height, width) == expected
    masks = tube_masks(300, height, width, config, np.random.default_rng(5))
    num_masked = masks.sum(axis=(1, 2))
    assert num_masked.max() == expected
    assert np.mean(num_masked == expected) > 0.85
    if expected:  # No cell is spared.
        assert masks.any(axis=0).all()


def test_no_masks_are_an_empty_batch() -> None:
    assert tube_masks(0, 7, 7, VideoMaskingConfig(), np.random.default_rng(0)).shape == (0, 7, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextMaskingConfig(ratio=0.0), "ratio 0.0"),
        (lambda: TextMaskingConfig(ratio=1.1), "ratio 1.1"),
        (lambda: VideoMaskingConfig(ratio=1.0), "ratio 1.0"),
        (lambda: VideoMaskingConfig(min_block_cells=0), "min_block_cells 0"),
        (lambda: VideoMaskingConfig(min_aspect=2.0), "min_aspect 2.0"),
        (lambda: tube_masks(1, 0, 7, VideoMaskingConfig(), np.random.default_rng(0)), "0x7 grid"),
    ],
)
def test_settings_that_describe_no_mask_are_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_unknown_rule_is_refused() -> None:
    config = object.__new__(TextMaskingConfig)  # Around the type checks that only tests have.
    object.__setattr__(config, "rule", "verbs")
    with pytest.raises(ConfigError, match="'verbs': use published, paper or random_words"):
        config.__post_init__()
