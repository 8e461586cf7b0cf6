"""A tiny student with and without a teacher, trained for the same number of steps: text-to-video retrieval.

    OMP_NUM_THREADS=1 python benchmarks/distillation.py --demo demo [--seeds N] [--steps S] [--out DIR] [--save]

The teacher is the demo's pre-trained model. `alone` is the student pre-trained by the recipe without warm start,
`taught` what `clover distill` does: the teacher's terms in place of the objective. `with_words` adds masked words,
`both` all of the paper's objective. All see the same batches in the same order and begin with the same weights. A step
with a teacher takes longer: `seconds_of_a_step`. Every run is done once: the same command goes on where it stopped.
`ratio` is R@10 of `taught` over that of `alone`.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from clover.data.shapes.corpus import read_pairs
from clover.evaluation.retrieval import evaluate_retrieval
from clover.evaluation.statistics import paired_difference
from clover.experiment.configs import PretrainingExperiment
from clover.experiment.distillation import Distillation, DistillationExperiment
from clover.experiment.pretraining import Pretraining
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.pipeline import Clover
from clover.recipes.distill import shapes_student
from common import arguments, device_name, finish
from kept_runs import check_settings, is_begun, once, percent, save_arrays, told

OBJECTIVES = {
    "alone": PretrainingObjectiveConfig(),
    "taught": None,
    "with_words": PretrainingObjectiveConfig(alignment="none", ranking_weight=0.0),
    "both": PretrainingObjectiveConfig(),
}
"""Beside the teacher's terms, which `alone` has none of; None is the recipe's."""
WAYS = tuple(OBJECTIVES)
LIMITS = (1, 5, 10)


def main() -> None:
    options = arguments(
        __doc__,
        demo=True,
        out="distillation",
        numbers={"seeds": (2, "of every way"), "steps": (300, "of every run")},
    )
    torch.set_num_threads(1)
    demo, out = Path(options.demo or "demo"), Path(options.out)
    steps, num_seeds = (4, 1) if options.quick else (int(options.steps), int(options.seeds))
    num_videos = 30 if options.quick else 1_000_000
    teacher = demo / "pretraining" / "checkpoint"
    taught = Clover.from_pretrained(teacher)
    check_settings(out, {"teacher": taught.fingerprint, "steps": steps, "num_videos": num_videos})
    once(out / "teacher", lambda folder: measure(taught, demo / "corpus", folder, num_videos))
    for seed in range(num_seeds):
        for way in WAYS:
            once(
                out / f"{way}-{seed}",
                lambda folder, way=way, seed=seed: measure(
                    train(way, teacher, demo / "corpus", folder, steps, seed), demo / "corpus", folder, num_videos
                ),
            )
    finish(compared(out, num_seeds, steps, taught) | {"quick": options.quick}, options.save)


def train(way: str, teacher: Path, corpus: Path, folder: Path, steps: int, seed: int) -> Clover:
    """One student, from wherever its run stopped."""
    print(f"{folder.name}: {steps} steps", flush=True)
    recipe = shapes_student(Clover.from_pretrained(teacher).config, "tiny")
    recipe = replace(
        recipe,
        data=replace(recipe.data, corpus=str(corpus), tokenizer=str(teacher)),
        training=replace(recipe.training, num_steps=steps),
        seed=seed,
    )
    resume = is_begun(folder)
    recipe = replace(recipe, objective=OBJECTIVES[way] or recipe.objective)
    if way == "alone":
        return Pretraining(without_teacher(recipe), folder, quiet=True).run(resume=resume)
    return Distillation(teacher, recipe, folder, quiet=True).run(resume=resume)


def without_teacher(recipe: DistillationExperiment) -> PretrainingExperiment:
    return PretrainingExperiment(**{each.name: getattr(recipe, each.name) for each in fields(PretrainingExperiment)})


def measure(clover: Clover, corpus: Path, folder: Path, num_videos: int) -> None:
    """Keep the rank of every test caption's video."""
    pairs = read_pairs(corpus, "test")
    videos = set(list(dict.fromkeys(pair.video for pair in pairs))[:num_videos])
    result = evaluate_retrieval(clover, [pair for pair in pairs if pair.video in videos])
    folder.mkdir(parents=True, exist_ok=True)
    texts = np.array([str(pair.video) for pair in result.pairs])
    save_arrays(folder / "queries.npz", ranks=result.text_ranks, texts=texts)


def compared(out: Path, num_seeds: int, steps: int, teacher: Clover) -> dict[str, object]:
    """Means over seeds, and each way less the student alone, query by query."""
    kept = {way: [dict(np.load(out / f"{way}-{seed}" / "queries.npz")) for seed in range(num_seeds)] for way in WAYS}
    right = {
        way: {k: np.stack([run["ranks"] <= k for run in runs]).astype(np.float64) for k in LIMITS}
        for way, runs in kept.items()
    }
    means = {way: {f"recall_at_{k}": percent(each[k]) for k in LIMITS} for way, each in right.items()}
    groups = kept["alone"][0]["texts"]
    ranks = np.load(out / "teacher" / "queries.npz")["ranks"]
    student = Clover.from_pretrained(out / "taught-0" / "checkpoint")
    return {
        "name": "distillation",
        "device": device_name(accelerator=False),
        "ratio": round(means["taught"]["recall_at_10"] / max(means["alone"]["recall_at_10"], 0.1), 3),
        "ratio_of": "R@10 of a tiny student with a teacher over R@10 without, after as many steps",
        "baseline": "the same student pre-trained by the paper's objective alone",
        "steps": steps,
        "num_seeds": num_seeds,
        "num_queries": len(groups),
        "num_weights": {"student": weights_of(student), "teacher": weights_of(teacher)},
        "teacher": {f"recall_at_{k}": percent(ranks <= k) for k in LIMITS},
        "means": means,
        "by_seed": {
            way: {f"recall_at_{k}": [percent(row) for row in each[k]] for k in LIMITS} for way, each in right.items()
        },
        "seconds_of_a_step": {way: seconds_of_a_step(out / f"{way}-0") for way in WAYS},
        "less_alone": {
            way: {f"recall_at_{k}": told(paired_difference(right[way][k], right["alone"][k], groups)) for k in LIMITS}
            for way in WAYS[1:]
        },
    }


def weights_of(clover: Clover) -> int:
    return sum(weight.numel() for weight in clover.network.parameters())


def seconds_of_a_step(folder: Path) -> float:
    """Median, from the log."""
    lines = (folder / "pretraining" / "log.jsonl").read_text().splitlines()
    rates = [row["time_samples_per_second"] for row in map(json.loads, lines) if "time_samples_per_second" in row]
    return round(64 / float(np.median(rates)), 3)


if __name__ == "__main__":
    main()
