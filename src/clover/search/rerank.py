"""The best spans once more, by the fusion encoder: it sees words and pictures together, one pass for each pair."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clover.errors import ConfigError, MediaError
from clover.modeling.model import unit
from clover.pipeline import Clover
from clover.search.index import Moment
from clover.search.indexing import signature
from clover.search.spans import Span


@dataclass(frozen=True, kw_only=True)
class RerankConfig:
    """How much is scored again, and what that counts."""

    rerank: int = 0
    """Score so many of the best spans again with the fusion encoder; 0 leaves the order to the embeddings alone."""
    rerank_seconds: float = 30.0
    """Stop after this time; what was not reached stays behind what was, in its order."""
    rerank_weight: float = 0.25
    """What the similarity of fusion and text counts beside that of the embeddings."""

    def __post_init__(self) -> None:
        if self.rerank < 0:
            raise ConfigError(f"rerank is {self.rerank}; use a number of spans, or 0 for none")
        if not self.rerank_seconds > 0:
            raise ConfigError(f"rerank_seconds is {self.rerank_seconds}; use more than 0")
        if not 0 <= self.rerank_weight < float("inf"):
            raise ConfigError(f"rerank_weight is {self.rerank_weight}; use 0 or more")


class VideoTokens:
    """Encoded windows, as they are asked for; the ones used last are kept, up to a number of bytes. Thread-safe."""

    def __init__(self, clover: Clover, *, max_bytes: int = 256 * 2**20) -> None:
        self._clover, self._max_bytes = clover, max_bytes
        self._kept: OrderedDict[Moment, Float[Tensor, "t h w d"]] = OrderedDict()
        self._lock = threading.Lock()
        self.num_bytes = 0
        """What is kept now."""

    def of(self, moments: Sequence[Moment]) -> list[Float[Tensor, "t h w d"] | None]:
        """Tokens of each moment; None where its file is gone, has changed since it was indexed, or cannot be read."""
        with self._lock:
            found = {moment: self._kept[moment] for moment in moments if moment in self._kept}
            for moment in found:
                self._kept.move_to_end(moment)
        clips = {}
        for moment in dict.fromkeys(moments):
            if moment not in found and (clip := _clip(self._clover, moment)) is not None:
                clips[moment] = clip
        if clips:
            made = self._clover.video_tokens(list(clips.values()))
            for moment, tokens in zip(clips, made, strict=True):
                found[moment] = tokens.clone()  # a row of its own, which can be let go of alone
                self._keep(moment, found[moment])
        return [found.get(moment) for moment in moments]

    def _keep(self, moment: Moment, tokens: Float[Tensor, "t h w d"]) -> None:
        size = tokens.numel() * tokens.element_size()
        with self._lock:
            if moment in self._kept or size > self._max_bytes:
                return
            self._kept[moment] = tokens
            self.num_bytes += size
            while self.num_bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self.num_bytes -= dropped.numel() * dropped.element_size()


def _clip(clover: Clover, moment: Moment) -> np.ndarray | None:
    try:
        if signature(Path(moment.video)) != moment.signature:
            return None
        return clover.clip(moment.video, start_seconds=moment.start_seconds, end_seconds=moment.end_seconds)
    except (MediaError, OSError):
        return None


@dataclass(frozen=True, kw_only=True)
class FusedSimilarity:
    """How well one text and several videos fit, by their fusion; cosine similarities, -1 to 1."""

    video: Float[Tensor, " b"]
    """Of the fused embedding and the video's."""
    text: Float[Tensor, " b"]
    """Of the fused embedding and the text's."""


@torch.inference_mode()
def fused_similarity(clover: Clover, text: str, video_tokens: Float[Tensor, "b t h w d"]) -> FusedSimilarity:
    """Fuse a text with each of several videos, and compare the fusion with both, as pre-training does.

    Raises:
        TextError: the text is empty.
    """
    network = clover.network
    token_ids, is_token = clover.encode_words([text])
    num_videos = len(video_tokens)
    words = network.text_encoder(token_ids, is_token)
    fused = network.fuse(
        video_tokens, words.expand(num_videos, -1, -1).contiguous(), is_token.expand(num_videos, -1).contiguous()
    )
    pair = network.fused_pair(fused)
    return FusedSimilarity(
        video=(unit(pair.for_video) * unit(network.embed_video(video_tokens))).sum(dim=1),
        text=unit(pair.for_text) @ unit(network.embed_text(words))[0],
    )


def reranked(
    spans: Sequence[Span],
    query: str,
    tokens: VideoTokens,
    clover: Clover,
    config: RerankConfig,
    *,
    batch_size: int = 16,
) -> list[Span]:
    """Spans in a new order: by similarity of the embeddings and weighted similarity of fusion and text.

    ``score`` and ``confidence`` stay those of the embeddings; ``reranked`` is the sum.

    Args:
        spans: Best first; the first ``config.rerank`` are scored, by their best windows.
        query: What they were found by.
        tokens: Where encoded windows come from.
        clover: The model.
        config: How much, how long, and what it counts.
        batch_size: Pairs in one pass.
    """
    scored: list[Span] = []
    left: list[Span] = []
    deadline = time.monotonic() + config.rerank_seconds
    for batch in _batches(spans[: config.rerank], batch_size):
        if time.monotonic() >= deadline:
            left += batch
            continue
        known = tokens.of([span.best for span in batch])
        there = [(span, one) for span, one in zip(batch, known, strict=True) if one is not None]
        left += [span for span, one in zip(batch, known, strict=True) if one is None]
        if there:
            similarity = fused_similarity(clover, query, torch.stack([one for _, one in there])).text.tolist()
            scored += [
                replace(span, reranked=span.score + config.rerank_weight * value)
                for (span, _), value in zip(there, similarity, strict=True)
            ]
    scored.sort(key=lambda span: -(span.reranked or 0.0))
    return [*scored, *left, *spans[config.rerank :]]


def _batches(spans: Sequence[Span], size: int) -> Iterator[Sequence[Span]]:
    for start in range(0, len(spans), size):
        yield spans[start : start + size]
