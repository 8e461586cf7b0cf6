"""Which words and which cells are hidden (the paper's section on masked samples). Pure and seeded.

Text: semantic masking of whole words, chosen by part of speech. Video: tube-block masking, one mask of grid
cells for all frames, drawn as in BEiT (Bao et al. 2022).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Int64

from clover.errors import ConfigError, TextError
from clover.types import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clover.data.tagging import TaggedWord
    from clover.data.text import EncodedText, Tokenizer

MaskingRule = Literal["published", "paper", "random_words"]

_NUM_TRIES = 10
"""Rectangles drawn before a video mask is left as it is (BEiT)."""


@dataclass(frozen=True, kw_only=True)
class TextMaskingConfig:
    """Which words of a caption are hidden, and how."""

    rule: MaskingRule = "published"
    """published: nouns and verb phrases, auxiliaries and adverbs before a verb included, 80/10/10; paper:
    nouns and main verbs, always [MASK]; random_words: any word, 80/10/10."""
    ratio: float | None = None
    """Share of the candidate words that is masked, at least one word; None: 0.3, or 0.15 for random_words."""
    mask_adjectives: bool = False
    """Whether adjectives are candidates too; the paper names them as meaningful, its run does not."""

    def __post_init__(self) -> None:
        """Refuse a ratio that masks nothing or more than everything, or an unknown rule."""
        if self.rule not in ("published", "paper", "random_words"):
            raise ConfigError(f"unknown text masking rule {self.rule!r}: use published, paper or random_words")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise ConfigError(f"text masking ratio {self.ratio} is out of range: use more than 0 and at most 1")

    def num_words(self, num_candidates: int) -> int:
        """How many words to mask, halves rounded to even (the published run), at least one."""
        ratio = self.ratio if self.ratio is not None else (0.15 if self.rule == "random_words" else 0.3)
        return max(1, round(ratio * num_candidates))


@dataclass(frozen=True, kw_only=True)
class MaskedText:
    """Texts with some words hidden.

    Attributes:
        token_ids: The batch's token ids with the hidden words replaced.
        targets: The original ids at the chosen positions, ``IGNORED`` (-100) elsewhere.
    """

    token_ids: Int64[np.ndarray, "b l"]
    targets: Int64[np.ndarray, "b l"]


def candidate_words(parts_of_speech: Sequence[str], *, rule: MaskingRule, mask_adjectives: bool = False) -> list[int]:
    """Say which words of a caption may be masked.

    Args:
        parts_of_speech: Universal tag of each word, in order (``NOUN``, ``VERB``, ...).
        rule: ``published``: every ``NOUN`` and ``PROPN``, then every word of every match of "optional VERB,
            any ADV, any AUX, one or more VERB". All overlapping matches count, so a word of a verb phrase
            comes up repeatedly: it is likelier to be drawn and raises the number of words drawn. ``paper``:
            nouns and main verbs, each once, in order. ``random_words``: every word but punctuation.
        mask_adjectives: Whether to add ``ADJ`` to the nouns.

    Returns:
        Places of the candidates in ``parts_of_speech``, with the published rule's repeats.
    """
    named = {"NOUN", "PROPN", "ADJ"} if mask_adjectives else {"NOUN", "PROPN"}
    if rule == "random_words":
        return _maskable_words(parts_of_speech)
    if rule == "paper":
        named.add("VERB")
    candidates = [word for word, tag in enumerate(parts_of_speech) if tag in named]
    if rule == "published":
        for first, tag in enumerate(parts_of_speech):
            if tag in ("VERB", "ADV", "AUX"):
                for end in _verb_phrase_ends(parts_of_speech, first):
                    candidates.extend(range(first, end))
    return candidates


def _maskable_words(parts_of_speech: Sequence[str]) -> list[int]:
    """Every word but punctuation, or everything when there is nothing but punctuation."""
    words = [word for word, tag in enumerate(parts_of_speech) if tag != "PUNCT"]
    return words or list(range(len(parts_of_speech)))


def _verb_phrase_ends(tags: Sequence[str], first: int) -> list[int]:
    """Where the matches of VERB? ADV* AUX* VERB+ that start at ``first`` end, ascending, each once."""
    ends = set()
    for start in (first, first + 1) if tags[first] == "VERB" else (first,):
        end = start
        while end < len(tags) and tags[end] == "ADV":
            end += 1
        while end < len(tags) and tags[end] == "AUX":
            end += 1
        while end < len(tags) and tags[end] == "VERB":
            end += 1
            ends.add(end)
    return sorted(ends)


def choose_words(
    parts_of_speech: Sequence[str], config: TextMaskingConfig, generator: np.random.Generator
) -> list[int]:
    """Draw the words of one caption to mask, without replacement.

    A caption without candidates: the published run masks nothing, the paper's rule masks one random word.

    Returns:
        Places of distinct words in ``parts_of_speech``, ascending; empty for an empty caption.
    """
    candidates = candidate_words(parts_of_speech, rule=config.rule, mask_adjectives=config.mask_adjectives)
    if not candidates and config.rule == "paper":
        candidates = _maskable_words(parts_of_speech)
        num_words = min(1, len(candidates))
    else:
        num_words = config.num_words(len(candidates))
    if not candidates:
        return []
    # The first distinct words of a shuffled list with repeats are those whose exponential clocks, running as
    # fast as the word has repeats, ring first.
    repeats = Counter(candidates)
    waits = generator.standard_exponential(len(repeats)).tolist()
    ranked = sorted((wait / repeats[word], word) for wait, word in zip(waits, repeats, strict=True))
    return sorted(word for _, word in ranked[:num_words])


def align_pieces(
    spans: Sequence[tuple[int, int]], is_maskable: Sequence[bool], words: Sequence[TaggedWord]
) -> list[list[int]]:
    """Find the word pieces of each tagged word by their places in the caption.

    A piece belongs to the word that contains its first character. Pieces outside every word (blanks between
    words of a tagger that skips symbols) belong to none.

    Args:
        spans: Character span of each position of the token row.
        is_maskable: False for positions to leave out: padding and special tokens.
        words: Words in the order of their places, not overlapping.

    Returns:
        For each word its positions, ascending; empty for a word that truncation cut off.
    """
    pieces: list[list[int]] = [[] for _ in words]
    current = 0
    for position, (start, _) in enumerate(spans):
        if not is_maskable[position]:
            continue
        while current < len(words) and words[current].end <= start:
            current += 1
        if current == len(words):
            break
        if words[current].start <= start:
            pieces[current].append(position)
    return pieces


def mask_words(
    token_ids: Int64[np.ndarray, " l"],
    word_pieces: Sequence[Sequence[int]],
    parts_of_speech: Sequence[str],
    config: TextMaskingConfig,
    *,
    mask_id: int,
    vocabulary_size: int,
    generator: np.random.Generator,
) -> MaskedText:
    """Mask one token row whose words and tags are given; the result is a batch of one row.

    Args:
        token_ids: The row.
        word_pieces: Positions of each word's pieces; a word without pieces (cut off) is no candidate.
        parts_of_speech: Universal tag of each word.
        config: The rule.
        mask_id: Id of ``[MASK]``.
        vocabulary_size: Random replacements are uniform over this many ids, special ones included (published
            run).
        generator: Source of all randomness.
    """
    columns = _chosen_positions(word_pieces, parts_of_speech, config, generator)
    chosen = (np.zeros(len(columns), dtype=np.int64), np.array(columns, dtype=np.int64))
    return _replace(token_ids[None], chosen, config, mask_id, vocabulary_size, generator)


def mask_text(
    encoded: EncodedText,
    tagged: Sequence[Sequence[TaggedWord]],
    config: TextMaskingConfig,
    tokenizer: Tokenizer,
    generator: np.random.Generator,
) -> MaskedText:
    """Mask whole words of a batch of captions. Special tokens and padding are never chosen.

    Args:
        encoded: The captions as the tokenizer encoded them.
        tagged: The words of the same captions, from :func:`clover.data.tagging.tag`.
        config: The rule.
        tokenizer: The tokenizer that encoded them.
        generator: Source of all randomness.

    Raises:
        TextError: If there are not as many tagged captions as encoded ones.
    """
    if len(tagged) != len(encoded.token_ids):
        raise TextError(
            f"{len(encoded.token_ids)} captions were encoded but {len(tagged)} tagged: tag the same captions"
        )
    special_ids = tokenizer.special_ids
    rows: list[int] = []
    columns: list[int] = []
    for row, (token_row, spans, words) in enumerate(
        zip(encoded.token_ids.tolist(), encoded.spans, tagged, strict=True)
    ):
        is_maskable = [token_id not in special_ids for token_id in token_row]
        pieces = align_pieces(spans, is_maskable, words)
        chosen = _chosen_positions(pieces, [word.part_of_speech for word in words], config, generator)
        rows += [row] * len(chosen)
        columns += chosen
    places = (np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64))
    return _replace(encoded.token_ids, places, config, tokenizer.mask_id, tokenizer.vocabulary_size, generator)


def _chosen_positions(
    word_pieces: Sequence[Sequence[int]],
    parts_of_speech: Sequence[str],
    config: TextMaskingConfig,
    generator: np.random.Generator,
) -> list[int]:
    """Positions of all pieces of the words drawn among those that have pieces."""
    present = [word for word, pieces in enumerate(word_pieces) if pieces]
    chosen = choose_words([parts_of_speech[word] for word in present], config, generator)
    return [position for place in chosen for position in word_pieces[present[place]]]


def _replace(
    token_ids: Int64[np.ndarray, "b l"],
    places: tuple[np.ndarray, np.ndarray],
    config: TextMaskingConfig,
    mask_id: int,
    vocabulary_size: int,
    generator: np.random.Generator,
) -> MaskedText:
    """Hide the ids at these rows and columns, and keep them as targets."""
    originals = token_ids[places]
    targets = np.full_like(token_ids, IGNORED)
    targets[places] = originals
    replacements = np.full(len(originals), mask_id, dtype=np.int64)
    if config.rule != "paper":  # BERT's: 80 % [MASK], 10 % a random id, 10 % unchanged, each word piece by itself.
        draws = generator.random(len(originals))
        random_ids = generator.integers(vocabulary_size, size=len(originals))
        replacements = np.where(draws < 0.8, mask_id, np.where(draws < 0.9, random_ids, originals))
    masked = token_ids.copy()
    masked[places] = replacements
    return MaskedText(token_ids=masked, targets=targets)


@dataclass(frozen=True, kw_only=True)
class VideoMaskingConfig:
    """Which grid cells of a video are hidden, in every frame alike."""

    ratio: float = 0.2
    """Share of the grid's cells that is masked; 0.2 is 10 of 49."""
    min_block_cells: int = 4
    """Smallest area of a drawn rectangle in cells, as long as the budget allows it."""
    min_aspect: float = 0.3
    """Smallest ratio of a rectangle's sides; the largest is its inverse."""

    def __post_init__(self) -> None:
        """Refuse values that describe no mask."""
        if not 0 < self.ratio < 1:
            raise ConfigError(f"video masking ratio {self.ratio} is out of range: use more than 0 and less than 1")
        if self.min_block_cells < 1:
            raise ConfigError(f"min_block_cells {self.min_block_cells} is out of range: use 1 or more")
        if not 0 < self.min_aspect <= 1:
            raise ConfigError(f"min_aspect {self.min_aspect} is out of range: use more than 0 and at most 1")

    def num_cells(self, grid_height: int, grid_width: int) -> int:
        """Most cells to mask: the nearest whole number, at least one, and never the whole grid."""
        num_cells = grid_height * grid_width
        return min(max(1, round(self.ratio * num_cells)), num_cells - 1)


def tube_masks(
    num_masks: int,
    grid_height: int,
    grid_width: int,
    config: VideoMaskingConfig,
    generator: np.random.Generator,
) -> Bool[np.ndarray, "b h w"]:
    """Draw one block mask a video; True is masked, in every frame alike.

    Rectangles whose area is uniform between the smallest block and the remaining budget, and whose log aspect
    ratio is uniform, are laid on the grid until the budget is used. Each is tried at most ten times, so a
    mask may stop short (4 % of the 7x7 masks do, by a cell or two); it never exceeds the budget. A grid of
    one cell is never masked.

    Args:
        num_masks: How many masks.
        grid_height: Rows of the grid: frame height / 32 for Video Swin.
        grid_width: Columns of the grid.
        config: The ratio and the shape of the rectangles.
        generator: Source of all randomness.
    """
    if grid_height < 1 or grid_width < 1:
        raise ConfigError(f"a {grid_height}x{grid_width} grid has no cells: use frames of 32 pixels or more")
    num_cells = grid_height * grid_width
    num_bytes = (num_cells + 7) // 8
    masks = b"".join(
        _draw_cells(grid_height, grid_width, config, generator).to_bytes(num_bytes, "little") for _ in range(num_masks)
    )
    bits = np.frombuffer(masks, dtype=np.uint8).reshape(num_masks, num_bytes)
    cells = np.unpackbits(bits, axis=1, bitorder="little")[:, :num_cells]
    return cells.reshape(num_masks, grid_height, grid_width).astype(bool)


def _draw_cells(height: int, width: int, config: VideoMaskingConfig, generator: np.random.Generator) -> int:
    """One mask as an integer whose bit ``row * width + column`` is a cell: ten times faster than an array."""
    budget = config.num_cells(height, width)
    min_area = min(config.min_block_cells, budget)
    max_log_aspect = -math.log(config.min_aspect)
    row_starts = sum(1 << (row * width) for row in range(height))
    cells = 0
    while budget > 0:
        for area_draw, aspect_draw, top_draw, left_draw in generator.random((_NUM_TRIES, 4)).tolist():
            # With less than the smallest block left, the area is uniform between the two all the same (BEiT).
            area = min_area + (budget - min_area) * area_draw
            aspect = math.exp(max_log_aspect * (2 * aspect_draw - 1))
            block_height = round(math.sqrt(area * aspect))
            block_width = round(math.sqrt(area / aspect))
            # A block never spans the grid (BEiT), unless the grid is a single line.
            if block_height > max(1, height - 1) or block_width > max(1, width - 1):
                continue
            top = int(top_draw * (height - block_height + 1))
            left = int(left_draw * (width - block_width + 1))
            columns = ((1 << block_width) - 1) << left
            rows = (row_starts & ((1 << (block_height * width)) - 1)) << (top * width)
            added = columns * rows & ~cells
            if 0 < added.bit_count() <= budget:
                cells |= added
                budget -= added.bit_count()
                break
        else:
            break
    return cells
