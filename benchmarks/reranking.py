"""Re-ranking by the fusion encoder: recall before and after, several rules, and what a query costs.

Queries are the first captions of the demo's validation and test videos, the gallery the videos of the same split,
whole. A rule adds a weighted similarity of the fusion to that of the embeddings; it is chosen by recall at 1 on the
validation split, ties by recall at 10, and reported on the test split. `ratio` is the time of a query without
re-ranking over that with it, so below 1.

    python benchmarks/reranking.py --demo demo [--save]
"""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from clover.data.shapes.corpus import read_pairs
from clover.evaluation.metrics import both_directions
from clover.evaluation.retrieval import one_text_per_video
from clover.modeling.model import unit
from clover.pipeline import Clover
from clover.search.rerank import fused_similarity
from common import arguments, device_name, finish

NUM_AGAIN = 100
RULES = {"video": (1.0, 0.0), "text": (0.0, 1.0), "both": (1.0, 1.0)}
WEIGHTS = (0.25, 0.5, 1.0, 2.0)
REPLACED = "in place of the embeddings"


class Split:
    """One split: similarities of the embeddings, and of the fusion for the best videos of every text."""

    def __init__(self, clover: Clover, corpus: Path, name: str, most: int) -> None:
        pairs = one_text_per_video(read_pairs(corpus, name))[:most]
        texts = [pair.text for pair in pairs]
        tokens = torch.cat([clover.video_tokens([clover.clip(pair.video)]) for pair in pairs])
        with torch.inference_mode():
            videos = unit(clover.network.embed_video(tokens))
        begin = time.perf_counter()
        rows = [clover.encode_text([text])[0] @ videos.T for text in texts]
        self.plain_seconds = (time.perf_counter() - begin) / len(texts)
        self.scores = torch.stack(rows)
        self.again = self.scores.topk(min(NUM_AGAIN, len(pairs)), dim=1).indices
        self.fused = {"video": torch.zeros_like(self.scores), "text": torch.zeros_like(self.scores)}
        begin = time.perf_counter()
        for row, (text, places) in enumerate(zip(texts, self.again, strict=True)):
            found = fused_similarity(clover, text, tokens[places])
            self.fused["video"][row, places], self.fused["text"][row, places] = found.video, found.text
        self.seconds = (time.perf_counter() - begin) / len(texts)

    def metrics(self, rule: str | None, weight: float | None) -> dict[str, float]:
        """Recall in per cent; without a rule that of the embeddings alone."""
        scores = self.scores.clone()
        if rule is not None:
            parts = RULES[rule]
            fused = parts[0] * self.fused["video"] + parts[1] * self.fused["text"]
            new = fused if weight is None else scores + weight * fused
            scores = (scores - 100).scatter(1, self.again, new.gather(1, self.again))
        found = both_directions(scores.numpy(), np.arange(len(scores)))["text_to_video"]
        return {"recall_at_1": found.recall_at_1, "recall_at_10": found.recall_at_10}


def measure(checkpoint: Path, corpus: Path, most: int) -> dict[str, object]:
    """All rules on the validation split, the best one on the test split."""
    clover = Clover.from_pretrained(checkpoint)
    validation, test = (Split(clover, corpus, name, most) for name in ("validation", "test"))
    tried = {
        f"{rule}, {REPLACED if weight is None else f'weight {weight:g}'}": (rule, weight)
        for rule, weight in product(RULES, (None, *WEIGHTS))
    }
    on_validation = {name: validation.metrics(*rule) for name, rule in tried.items()}
    best = max(
        on_validation, key=lambda name: (on_validation[name]["recall_at_1"], on_validation[name]["recall_at_10"])
    )
    return {
        "validation_before": validation.metrics(None, None),
        "validation": on_validation,
        "chosen": best,
        "test_before": test.metrics(None, None),
        "test_after": test.metrics(*tried[best]),
        "test_with_text_0.25": test.metrics("text", 0.25),
        "seconds_per_query_before": test.plain_seconds,
        "seconds_per_query_more": test.seconds,
    }


def main() -> None:
    options = arguments(__doc__, demo=True)
    torch.set_num_threads(1)
    demo, most = Path(options.demo or "demo"), 60 if options.quick else 1_000_000
    result: dict[str, object] = {
        place: measure(demo / place, demo / "corpus", most) for place in ("pretraining/checkpoint", "checkpoint")
    }
    tuned = result["checkpoint"]
    assert isinstance(tuned, dict)
    ratio = tuned["seconds_per_query_before"] / (tuned["seconds_per_query_before"] + tuned["seconds_per_query_more"])
    finish(
        {
            "name": "reranking",
            "device": device_name(accelerator=False),
            "ratio": ratio,
            "baseline": f"a query by embeddings alone, without fusing the best {NUM_AGAIN} (tokens at hand)",
            **result,
        },
        options.save,
    )


if __name__ == "__main__":
    main()
