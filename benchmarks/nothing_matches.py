"""Knowing when there is nothing: precision and recall of "nothing matches", at several confidences.

Libraries of the demo's validation and test videos are asked three kinds of queries:
what is there (each video's first caption), what is far from everything there (people, animals, kitchens), and what is
nearly there (the caption, with all videos left out that show one of its objects, such as any green triangle). A query
counts as answered by "nothing matches" when its best result stays below the confidence. Positives of precision and
recall are queries about absent things. `ratio`: at a confidence of 0.95 on the test split, how many times likelier a
far query is answered so than one about what is there.

    python benchmarks/nothing_matches.py --demo demo [--save]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from clover.data.shapes.corpus import read_labels, read_pairs
from clover.evaluation.retrieval import one_text_per_video
from clover.pipeline import Clover
from clover.search.confidence import Calibration, null_queries
from clover.search.indexing import embed_windows
from clover.search.windows import WindowConfig
from clover.types import Pair
from common import arguments, device_name, finish

CONFIDENCES = (0.5, 0.8, 0.9, 0.95, 0.98)
WHO = (
    "a man",
    "a woman",
    "two children",
    "a dog",
    "a cat",
    "a chef",
    "a singer",
    "football players",
    "a horse",
    "a crowd",
)
WHAT = (
    "is cooking pasta in a kitchen",
    "plays the guitar on stage",
    "runs across a field",
    "drives along the coast",
    "talks to a reporter",
    "jumps into a swimming pool",
    "opens a birthday present",
    "sleeps on a sofa",
    "repairs an engine",
    "climbs a snowy mountain",
    "reads the newspaper",
    "dances at a wedding",
    "cuts a tomato into slices",
    "scores a goal",
)


def best_scores(clover: Clover, texts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
    return (clover.encode_text(texts).cpu().numpy() @ vectors.T).max(axis=1)


def measure(clover: Clover, corpus: Path, split: str, most: int) -> dict[str, object]:
    pairs = one_text_per_video(read_pairs(corpus, split))[:most]
    labels = read_labels(corpus, split)
    vectors, owners = [], []
    for number, pair in enumerate(pairs):
        for batch in embed_windows(clover, pair.video, WindowConfig()):
            vectors.append(batch.vectors)
            owners += [number] * len(batch.spans)
    every, owner = np.concatenate(vectors), np.array(owners)
    calibration = Calibration(null_scores=np.sort(best_scores(clover, null_queries(), every)))
    kinds = {
        "there": best_scores(clover, [pair.text for pair in pairs], every),
        "far": best_scores(clover, [f"{who} {what}" for who in WHO for what in WHAT], every),
        "near": np.array(_near(clover, pairs, labels, every, owner)),
    }
    sure = {
        kind: np.array([calibration.confidence(float(score)) for score in scores]) for kind, scores in kinds.items()
    }
    rows = {}
    for least in CONFIDENCES:
        nothing = {kind: float((values < least).mean()) for kind, values in sure.items()}
        rows[str(least)] = {
            "answered_of_there": 1 - nothing["there"],
            **{f"recall_{kind}": nothing[kind] for kind in ("far", "near")},
            **{f"precision_{kind}": _precision(sure[kind], sure["there"], least) for kind in ("far", "near")},
        }
    return {"num_queries": {kind: len(values) for kind, values in sure.items()}, "by_confidence": rows}


def _near(
    clover: Clover, pairs: Sequence[Pair], labels: dict[str, tuple[str, ...]], vectors: np.ndarray, owner: np.ndarray
) -> list[float]:
    """Best scores of the captions whose objects are nowhere."""
    shown = [set(labels[pair.video_id]) for pair in pairs]
    scores = []
    for pair, own in zip(pairs, shown, strict=True):
        named = {label for label in own if len(label.split()) == 2 and label in pair.text}
        kept = np.array([not named & shown[number] for number in owner])
        if named and kept.any():
            scores.append(float(best_scores(clover, [pair.text], vectors[kept])[0]))
    return scores


def _precision(absent: np.ndarray, there: np.ndarray, least: float) -> float:
    """Share of the queries answered by nothing that are about absent things, as many of them asked as of the others."""
    right, wrong = float((absent < least).mean()), float((there < least).mean())
    return right / (right + wrong) if right + wrong else 0.0


def main() -> None:
    options = arguments(__doc__, demo=True)
    torch.set_num_threads(1)
    demo, most = Path(options.demo or "demo"), 60 if options.quick else 1_000_000
    clover = Clover.from_pretrained(demo / "checkpoint")
    found = {split: measure(clover, demo / "corpus", split, most) for split in ("validation", "test")}
    rows = found["test"]["by_confidence"]
    assert isinstance(rows, dict)
    finish(
        {
            "name": "nothing_matches",
            "device": device_name(accelerator=False),
            "ratio": rows["0.95"]["recall_far"] / max(1 - rows["0.95"]["answered_of_there"], 1e-3),
            "baseline": "queries about what is there",
            **found,
        },
        options.save,
    )


if __name__ == "__main__":
    main()
