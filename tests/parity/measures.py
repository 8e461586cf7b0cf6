"""Retrieval and multiple-choice figures against their golden file."""

import numpy as np
import pytest

from clover.evaluation.metrics import both_directions, ranks, retrieval_metrics, similarities
from golden import Golden


def _agrees(metrics, expected: dict) -> None:
    ours = {
        "Recall@1": metrics.recall_at_1,
        "Recall@5": metrics.recall_at_5,
        "Recall@10": metrics.recall_at_10,
        "MR": metrics.median_rank,
        "Recall@all": metrics.recall_at_all,
    }
    assert ours == pytest.approx({name: expected[name] for name in ours}, abs=1e-9)


def metrics(golden: Golden) -> None:
    expected = golden.config["expected"]
    tensors = {name: value.numpy() for name, value in golden.tensors.items()}
    sizes = [name for name in expected if name.startswith("N")]
    assert sizes
    for name in sizes:
        video, text = tensors[f"in.{name}.video"], tensors[f"in.{name}.text"]
        found = both_directions(similarities(text, video), np.arange(len(video)))
        _agrees(found["text_to_video"], expected[name]["text_to_video"])
        _agrees(found["video_to_text"], expected[name]["video_to_text_by_swapping_arguments"])
    for name, bounds in expected["ties"].items():
        scores = tensors[f"in.ties_{name}.scores"]
        right = np.arange(len(scores))
        for rule in ("optimistic", "pessimistic"):
            _agrees(retrieval_metrics(scores, right, ties=rule), bounds[rule])
            assert np.array_equal(ranks(scores, right, ties=rule) - 1, tensors[f"out.ties_{name}.rank0_{rule}"])
        official = tensors[f"out.ties_{name}.rank0_official_this_build"]
        low, high = (ranks(scores, right, ties=rule) - 1 for rule in ("optimistic", "pessimistic"))
        assert ((low <= official) & (official <= high)).all()
    for name in [key.split(".")[1] for key in tensors if key.startswith("in.mc_") and key.endswith(".video")]:
        video, text = tensors[f"in.{name}.video"], tensors[f"in.{name}.text"]
        scores = np.einsum("nd,nkd->nk", video / np.linalg.norm(video, axis=1, keepdims=True), _unit(text))
        assert np.array_equal(scores.argmax(axis=1), tensors[f"out.{name}.pred_cosine"])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
