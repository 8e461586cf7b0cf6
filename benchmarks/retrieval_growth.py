"""Scoring N queries against M videos: one pass for each of them, against one pass for every pair.

    python benchmarks/retrieval_growth.py --demo demo [--most-pairs P] [--quick] [--save]

Ours encodes each video and each query once and compares embeddings: N + M passes. The joint-encoder way, as VIOLET and
ALPRO retrieve, sends every pair through the fusion encoder. It is treated generously: it, too, encodes each video and
each query once and fuses the tokens in batches, so that only the N x M passes of the fusion encoder come on top. Both
use the demo's model and its training videos with their first captions. Decoding, the same for both, is not timed. Times
are those of the processor, one thread, so that other work on the machine counts little.

Up to `--most-pairs` all pairs are fused; beyond, as many whole queries as fit, and the time of fusing is extrapolated
in proportion to the pairs: `is_extrapolated` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clover.data.shapes.corpus import read_pairs
from clover.evaluation.retrieval import one_text_per_video
from clover.pipeline import Clover
from clover.search.rerank import fused_similarity
from common import arguments, device_name, finish

SIZES = (10, 30, 100, 300, 1000)
BATCH = 50
ROUNDS = 3
NUM_AGAIN = 100
BASELINE = "every pair through the fusion encoder, the tokens of each video and each query made once"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Clips and captions of the demo."""

    clover: Clover
    clips: list[np.ndarray]
    captions: list[str]

    def tokens(self, count: int) -> Tensor:
        """Of the first videos."""
        parts = [
            self.clover.video_tokens(self.clips[start : min(start + BATCH, count)]) for start in range(0, count, BATCH)
        ]
        return torch.cat(parts)

    def separately(self, num_queries: int, num_videos: int) -> Tensor:
        """Scores ``[queries videos]`` by embeddings."""
        videos = [
            self.clover.embed_clips(self.clips[start : min(start + BATCH, num_videos)])
            for start in range(0, num_videos, BATCH)
        ]
        texts = [
            self.clover.encode_text(self.captions[start : min(start + BATCH, num_queries)])
            for start in range(0, num_queries, BATCH)
        ]
        return torch.cat(texts) @ torch.cat(videos).T

    def fused(self, num_queries: int, tokens: Tensor) -> Tensor:
        """Scores ``[queries videos]`` of the pairs' fusion."""
        return torch.stack(
            [
                torch.cat([fused_similarity(self.clover, caption, batch).text for batch in tokens.split(BATCH)])
                for caption in self.captions[:num_queries]
            ]
        )


def main() -> None:
    options = arguments(
        __doc__, demo=True, numbers={"most-pairs": (10_000, "of which all are fused; of more, a part is")}
    )
    torch.set_num_threads(1)
    sizes = [size for size in SIZES if not options.quick or size <= 30]
    corpus = read(Path(options.demo or "demo"), max(sizes))
    corpus.fused(1, corpus.tokens(BATCH))  # what is slow the first time
    growth = []
    for size in sizes:
        growth.append(measured(corpus, size, int(options.most_pairs)))
        print(growth[-1], flush=True)
    whole = [row for row in growth if not row["is_extrapolated"]]
    finish(
        {
            "name": "retrieval_growth",
            "device": device_name(accelerator=False),
            "ratio": growth[-1]["ratio"],
            "ratio_of": f"time, {sizes[-1]} queries x {sizes[-1]} videos, one thread"
            + (", fusion extrapolated from a part" if growth[-1]["is_extrapolated"] else ""),
            "ratio_measured_whole": whole[-1]["ratio"],
            "baseline": BASELINE,
            "quick": options.quick,
            "growth": growth,
        },
        options.save,
    )


def read(demo: Path, count: int) -> Corpus:
    clover = Clover.from_pretrained(demo / "pretraining" / "checkpoint")
    pairs = one_text_per_video(read_pairs(demo / "corpus", "train"))[:count]
    if len(pairs) < count:
        raise SystemExit(f"{demo} has {len(pairs)} videos; {count} are needed")
    return Corpus(clover=clover, clips=[clover.clip(pair.video) for pair in pairs], captions=[p.text for p in pairs])


def measured(corpus: Corpus, size: int, most_pairs: int) -> dict[str, object]:
    """Both ways in turn: as many queries as videos."""
    fused_queries = min(size, max(1, most_pairs // size))
    kept: dict[str, Tensor] = {}

    def encode() -> None:
        kept["tokens"] = corpus.tokens(size)

    rounds = range(ROUNDS if size <= 100 else 1)
    ours = min(seconds_of(lambda: corpus.separately(size, size)) for _ in rounds)
    encoding = min(seconds_of(encode) for _ in rounds)
    fusing = seconds_of(lambda: corpus.fused(fused_queries, kept["tokens"])) * size / fused_queries
    joint = encoding + fusing
    return {
        "queries": size,
        "videos": size,
        "passes": 2 * size,
        "joint_passes": 2 * size + size * size,
        "passes_with_rerank": 2 * size + min(NUM_AGAIN, size) * size,
        "seconds": round(ours, 3),
        "joint_seconds": round(joint, 3),
        "joint_seconds_of_fusing": round(fusing, 3),
        "pairs_fused": fused_queries * size,
        "is_extrapolated": fused_queries < size,
        "ratio": round(joint / ours, 1),
    }


def seconds_of(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
