"""Three ways to fuse video and text, trained with the same operations: retrieval, re-ranking, questions.

    OMP_NUM_THREADS=1 python benchmarks/fusions.py --demo demo [--seeds N] [--steps S] [--out DIR] [--quick] [--save]

The small model of the demo is pre-trained and fine-tuned on the demo's corpus with every kind of fusion. All start from
one pair of warm encoders, made here; fusion, projections and heads are fresh, drawn by the seed. A kind whose step
takes fewer operations, as `clover.planning` counts them, gets as many more steps, in pre-training and in fine-tuning.
What is fused again is the 20 best videos of every text. Every run is done once: the same command goes on where it
stopped, and with more seeds it makes those that lack. `ratio` is the question accuracy of the better of the other kinds
over the paper's; `reranked_less_embeddings` what fusing again adds to R@1 of the same queries.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from clover.data.shapes.corpus import read_pairs, read_questions
from clover.evaluation.metrics import ranks
from clover.evaluation.predictions import predict_answers
from clover.evaluation.retrieval import evaluate_retrieval, one_text_per_video
from clover.evaluation.statistics import Difference, paired_difference
from clover.evaluation.views import read_clip
from clover.experiment.configs import PretrainingExperiment, StageConfig
from clover.experiment.finetuning import finetune_questions
from clover.experiment.pretraining import Pretraining
from clover.modeling.fusion import FusionKind
from clover.modeling.model import ModelConfig
from clover.pipeline import Clover
from clover.planning.network import SampleShape, blocks_of
from clover.recipes.ablation import WARM_PARTS, step_flops
from clover.recipes.finetune import shapes_questions
from clover.recipes.pretrain import shapes
from clover.search.rerank import RerankConfig, fused_similarity
from common import arguments, device_name, finish
from kept_runs import check_settings, is_begun, once, percent, save_arrays, told

KINDS: tuple[FusionKind, ...] = get_args(FusionKind)
PAPER = KINDS[0]
NUM_AGAIN = 20
CAPTION_LENGTH = 16
"""Word pieces; batches are padded to 20, by which the other kinds would get 327 steps in place of 331."""
QUESTION = SampleShape(num_frames=8, frame_size=64, text_length=12, number_bytes=4)
FIGURES = {
    "recall_at_1": ("texts", "ranks", 1),
    "recall_at_5": ("texts", "ranks", 5),
    "recall_at_10": ("texts", "ranks", 10),
    "reranked_recall_at_1": ("queries", "reranked", 1),
    "fused_recall_at_1": ("queries", "fused", 1),
    "question_accuracy": ("questions", "right", None),
}
"""Name to what is grouped by video, the array of a run, and the rank that counts as right."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done."""

    steps: int
    question_steps: int
    warm_share: float
    num_videos: int


def main() -> None:
    options = arguments(
        __doc__,
        demo=True,
        out="fusions",
        numbers={
            "seeds": (2, "of every kind"),
            "steps": (280, "of pre-training by the paper's fusion"),
            "question-steps": (400, "of its fine-tuning"),
        },
    )
    torch.set_num_threads(1)
    size = Size(
        steps=int(options.steps), question_steps=int(options.question_steps), warm_share=1.0, num_videos=1_000_000
    )
    if options.quick:
        size = Size(steps=4, question_steps=4, warm_share=0.01, num_videos=30)
    corpus, out = Path(options.demo or "demo") / "corpus", Path(options.out)
    check_settings(out, {"corpus": str(corpus.resolve()), **asdict(size)})
    seeds = range(1 if options.quick else int(options.seeds))
    warm(corpus, out / "warm", size)
    for seed in seeds:
        for kind in KINDS:
            once(out / f"{kind}-{seed}", lambda folder, k=kind, s=seed: train(folder, corpus, out, k, s, size))
    result = compared(out, corpus, len(seeds), size)
    finish(result | {"quick": options.quick}, options.save)


def experiment(corpus: Path, kind: FusionKind, size: Size, warm_folder: Path | None = None) -> PretrainingExperiment:
    """The recipe with one kind of fusion and as many steps as it may take."""
    recipe = shapes()
    model = replace(recipe.model, fusion=replace(recipe.model.fusion, kind=kind))
    recipe = replace(recipe, data=replace(recipe.data, corpus=str(corpus)), model=model)
    if warm_folder is None:
        stages = {
            name: replace(stage, num_steps=max(1, round(stage.num_steps * size.warm_share)))
            for name in ("video_warm_start", "text_warm_start")
            if (stage := getattr(recipe, name))
        }
        return replace(recipe, training=StageConfig(), **stages)
    return replace(
        recipe,
        init=str(warm_folder / "checkpoint"),
        init_parts=WARM_PARTS,
        video_warm_start=StageConfig(),
        text_warm_start=StageConfig(),
        training=replace(recipe.training, num_steps=num_steps(kind, size)),
    )


def num_steps(kind: FusionKind, size: Size) -> int:
    """Steps of pre-training that take the operations of the paper's fusion."""
    return round(size.steps * pretraining_flops(PAPER) / pretraining_flops(kind))


def pretraining_flops(kind: FusionKind) -> int:
    """Operations of a step."""
    recipe = shapes()
    vocabulary = replace(recipe.model.text, vocabulary_size=recipe.data.vocabulary_size)
    model = replace(recipe.model, text=vocabulary, fusion=replace(recipe.model.fusion, kind=kind))
    return step_flops(replace(recipe, model=model), text_length=CAPTION_LENGTH)


def question_flops(model: ModelConfig, kind: FusionKind) -> int:
    """Operations of one question: forward through frozen encoders, forward and backward through the fusion."""
    blocks = blocks_of(replace(model, fusion=replace(model.fusion, kind=kind)), QUESTION)
    forward = sum(block.flops for block in blocks if block.part != "heads")
    return (forward + sum(block.gradient_flops for block in blocks if block.part == "fusion")) // 2


def num_question_steps(kind: FusionKind, size: Size) -> int:
    model = shapes().model
    return round(size.question_steps * question_flops(model, PAPER) / question_flops(model, kind))


def warm(corpus: Path, folder: Path, size: Size) -> None:
    """Encoders that have named what videos show, and filled masked words of captions."""
    once(folder, lambda place: pretrain(experiment(corpus, PAPER, size), place))


def pretrain(recipe: PretrainingExperiment, folder: Path) -> Clover:
    """A run from wherever it stopped."""
    return Pretraining(recipe, folder, quiet=True).run(resume=is_begun(folder))


def train(folder: Path, corpus: Path, out: Path, kind: FusionKind, seed: int, size: Size) -> None:
    """Pre-train and fine-tune one model, and keep what it says to every query."""
    print(f"{folder.name}: {num_steps(kind, size)} + {num_question_steps(kind, size)} steps", flush=True)
    clover = pretrain(replace(experiment(corpus, kind, size, out / "warm"), seed=seed), folder)
    found = retrieval(clover, corpus, size)
    recipe = shapes_questions()
    tuned = finetune_questions(
        clover,
        replace(
            recipe,
            data=replace(recipe.data, corpus=str(corpus)),
            training=replace(recipe.training, num_steps=num_question_steps(kind, size)),
            seed=seed,
        ),
        folder / "questions",
        resume=is_begun(folder / "questions"),
        quiet=True,
    ).clover
    questions = read_questions(corpus, "test")
    known = list(dict.fromkeys(row.video for row in questions))[: size.num_videos]
    asked = predict_answers(tuned, [row for row in questions if row.video in set(known)], read_clip(tuned))
    groups = {"questions": np.array([str(row.video) for row in asked.rows])}
    save_arrays(folder / "queries.npz", right=asked.is_right, **found, **groups)


def retrieval(clover: Clover, corpus: Path, size: Size) -> dict[str, np.ndarray]:
    """Ranks of every caption's video by the embeddings; of first captions, with the best fused again."""
    pairs = read_pairs(corpus, "test")
    videos = set(list(dict.fromkeys(pair.video for pair in pairs))[: size.num_videos])
    pairs = [pair for pair in pairs if pair.video in videos]
    result = evaluate_retrieval(clover, pairs)
    place = {video: column for column, video in enumerate(result.videos)}
    tokens = torch.cat([clover.video_tokens([clover.clip(video)]) for video in result.videos])
    rows = {pair.video_id: row for row, pair in reversed(list(enumerate(result.pairs)))}
    chosen = one_text_per_video(result.pairs)
    scores = torch.from_numpy(result.scores[[rows[pair.video_id] for pair in chosen]])
    reranked, fused_only = scores - 100, scores - 100  # what is not fused stays behind, in its order
    best = scores.topk(min(NUM_AGAIN, scores.shape[1]), dim=1).indices
    for row, (pair, columns) in enumerate(zip(chosen, best, strict=True)):
        fused = fused_similarity(clover, pair.text, tokens[columns]).text
        reranked[row, columns] = scores[row, columns] + RerankConfig().rerank_weight * fused
        fused_only[row, columns] = fused
    right = np.array([place[pair.video] for pair in chosen])
    return {
        "ranks": result.text_ranks,
        "texts": np.array([str(pair.video) for pair in result.pairs]),
        "reranked": ranks(reranked.numpy(), right),
        "fused": ranks(fused_only.numpy(), right),
        "queries": np.array([str(pair.video) for pair in chosen]),
    }


def compared(out: Path, corpus: Path, num_seeds: int, size: Size) -> dict[str, object]:
    """Means over seeds, and each kind less the paper's, query by query."""
    kept = {
        kind: [dict(np.load(out / f"{kind}-{seed}" / "queries.npz")) for seed in range(num_seeds)] for kind in KINDS
    }
    values = {kind: {name: _values(runs, name) for name in FIGURES} for kind, runs in kept.items()}
    means = {kind: {name: percent(found) for name, found in each.items()} for kind, each in values.items()}
    differences = {
        kind: {
            name: told(paired_difference(values[kind][name], values[PAPER][name], kept[kind][0][group]))
            for name, (group, *_) in FIGURES.items()
        }
        for kind in KINDS[1:]
    }
    best = max(KINDS[1:], key=lambda kind: means[kind]["question_accuracy"])
    return {
        "name": "fusions",
        "device": device_name(accelerator=False),
        "ratio": round(means[best]["question_accuracy"] / max(means[PAPER]["question_accuracy"], 0.1), 3),
        "ratio_of": f"question accuracy, {best} over {PAPER}",
        "baseline": f"the paper's fusion, {PAPER}, trained with the same operations from the same warm encoders",
        "corpus": json.loads((corpus / "corpus.json").read_text())["config"],
        "num_seeds": num_seeds,
        "num_fused_again": NUM_AGAIN,
        "kinds": {
            kind: {
                "steps": num_steps(kind, size),
                "flops_of_a_step": pretraining_flops(kind),
                "question_steps": num_question_steps(kind, size),
                "means": means[kind],
                "by_seed": {name: [percent(row) for row in values[kind][name]] for name in FIGURES},
            }
            for kind in KINDS
        },
        "less_the_paper": differences,
        "reranked_less_embeddings": {kind: told(_gain_of_reranking(runs)) for kind, runs in kept.items()},
    }


def _gain_of_reranking(runs: list[dict[str, np.ndarray]]) -> Difference:
    """R@1 with the best fused again less R@1 by the embeddings alone, of the same first captions."""
    first = {video: row for row, video in reversed(list(enumerate(runs[0]["texts"])))}
    rows = [first[video] for video in runs[0]["queries"]]
    again = np.stack([run["reranked"] <= 1 for run in runs]).astype(np.float64)
    alone = np.stack([run["ranks"][rows] <= 1 for run in runs]).astype(np.float64)
    return paired_difference(again, alone, runs[0]["queries"])


def _values(runs: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    """Right or wrong, ``[seeds queries]``."""
    _, array, limit = FIGURES[name]
    return np.stack([run[array] if limit is None else run[array] <= limit for run in runs]).astype(np.float64)


if __name__ == "__main__":
    main()
