"""Text-to-video retrieval: embeddings once per text and once per video, then metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clover.errors import DataError, MediaError
from clover.evaluation.metrics import RetrievalMetrics, both_directions, dual_softmax, ranks, similarities
from clover.evaluation.predictions import batched
from clover.evaluation.views import ReadClip
from clover.pipeline import Clover
from clover.types import Pair


@dataclass(frozen=True, kw_only=True)
class RetrievalResult:
    """Figures of one evaluation, and what they were computed from."""

    text_to_video: RetrievalMetrics
    video_to_text: RetrievalMetrics
    dual_softmax: RetrievalMetrics
    """Text to video with every score weighted by how the video prefers the text: it uses all queries at once, which a
    search engine cannot, so it is a row of its own."""
    skipped: dict[str, str]
    """Videos left out because they cannot be read, and why; they left the gallery and their texts the queries."""
    scores: Float[np.ndarray, "texts videos"]
    text_ranks: Float[np.ndarray, " texts"]
    """Rank, from 1, of every text's video."""
    pairs: list[Pair]
    """The queries, in step with the rows of the scores."""
    videos: list[Path]
    """The gallery, in step with the columns."""


def embed_videos(
    clover: Clover,
    videos: Sequence[Path],
    *,
    read: ReadClip | None = None,
    strict: bool = False,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[Path, np.ndarray], dict[str, str]]:
    """Embed whole videos.

    Returns:
        Normalised embeddings ``[d]`` by video, and the videos that cannot be read with the reason.

    Raises:
        MediaError: with ``strict``, the first video that cannot be read.
    """
    embeddings: dict[Path, np.ndarray] = {}
    skipped: dict[str, str] = {}
    for done, batch in enumerate(batched(videos, batch_size)):
        clips = {}
        for video in batch:
            try:
                clips[video] = (read or clover.clip)(video)
            except MediaError as error:
                if strict:
                    raise
                skipped[str(video)] = str(error)
        if clips:
            embeddings |= dict(zip(clips, clover.embed_clips(list(clips.values())).cpu().numpy(), strict=True))
        if progress is not None:
            progress(min(len(videos), (done + 1) * batch_size), len(videos))
    return embeddings, skipped


def embed_texts(clover: Clover, texts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
    """Normalised embeddings ``[texts d]``."""
    return np.concatenate([clover.encode_text(batch).cpu().numpy() for batch in batched(texts, batch_size)])


def one_text_per_video(pairs: Sequence[Pair]) -> list[Pair]:
    """The first text of every video, as in the 1 x 1 protocols (MSR-VTT 1k-A)."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.video_id, pair)
    return list(first.values())


def evaluate_retrieval(
    clover: Clover,
    pairs: Sequence[Pair],
    *,
    read: ReadClip | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> RetrievalResult:
    """Rank all videos for every text, and all texts for every video, by cosine similarity.

    Ties count against the model (pessimistic rule).

    Args:
        clover: The model.
        pairs: Queries with their right video; several texts of one video are several queries.
        read: How videos are read; None shows the model the whole clip.
        strict: Stop at a video that cannot be read instead of leaving it out.
        progress: Called with (videos done, videos).

    Raises:
        DataError: nothing is left to evaluate.
        MediaError: with ``strict``, a video that cannot be read.
    """
    videos = list(dict.fromkeys(pair.video for pair in pairs))
    embeddings, skipped = embed_videos(clover, videos, read=read, strict=strict, progress=progress)
    kept = [pair for pair in pairs if pair.video in embeddings]
    if not kept:
        raise DataError(f"none of the {len(videos)} videos can be read; the first: {next(iter(skipped.values()), '')}")
    place = {video: row for row, video in enumerate(embeddings)}
    texts = embed_texts(clover, [pair.text for pair in kept])
    scores = similarities(texts, np.stack(list(embeddings.values())))
    video_of_text = np.array([place[pair.video] for pair in kept])
    found = both_directions(scores, video_of_text)
    return RetrievalResult(
        text_to_video=found["text_to_video"],
        video_to_text=found["video_to_text"],
        dual_softmax=both_directions(dual_softmax(scores), video_of_text)["text_to_video"],
        skipped=skipped,
        scores=scores,
        text_ranks=ranks(scores, video_of_text),
        pairs=kept,
        videos=list(embeddings),
    )
