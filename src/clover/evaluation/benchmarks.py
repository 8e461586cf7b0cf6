"""The eleven benchmarks as rows of one table: files, splits, inputs, published recipe, metric and published figures.

Sources: the configs and pipelines of the authors' code at commit fa05f2e (recipes and inputs), the paper's Tables 1
and 2 (figures), the files of the publishers (counts).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clover.data.annotations.didemo import read_didemo_retrieval
from clover.data.annotations.lsmdc import read_lsmdc_choices, read_lsmdc_cloze, read_lsmdc_retrieval
from clover.data.annotations.msrvtt import read_msrvtt_choices, read_msrvtt_questions, read_msrvtt_retrieval
from clover.data.annotations.msvd import read_msvd_questions
from clover.data.annotations.problems import Problems
from clover.data.annotations.tgif import read_tgif_action, read_tgif_frame, read_tgif_transition
from clover.errors import ConfigError

Family = Literal["retrieval", "choice", "answer"]
"""Rank videos by a text; pick one of five texts; name the answer (of a question, or of a blank)."""

Read = Callable[[Path, str, Problems], list[Any]]
"""Folder and split to records; what is left out goes to the problems."""


@dataclass(frozen=True, kw_only=True)
class PublishedInputs:
    """What the published run showed its network; frames are 224 pixels a side."""

    training_frames: int = 8
    test_frames: int = 8
    num_views: int = 1
    training_fit: Literal["random_crop", "square"] = "random_crop"
    test_fit: Literal["center_crop", "square"] = "center_crop"
    flip_probability: float = 0.0
    training_text_length: int
    test_text_length: int
    zero_shot_text_length: int = 0
    """Where the zero-shot test reads texts of another length than the fine-tuned one; 0 where it does not."""


@dataclass(frozen=True, kw_only=True)
class PublishedRecipe:
    """How the published run trained; the rate holds at this batch size and scales with it."""

    learning_rate: float = 1.2e-5
    weight_decay: float = 0.01
    batch_size: int
    num_epochs: int
    warmup_epochs: int
    warmup_start: float
    stepping: Literal["epoch", "iteration"]
    gradient_norm: float
    mixed_precision: bool = True
    head_rate_factor: float = 1.0
    decays_position_bias: bool = False
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Names of the splits as the readers know them."""

    train: str = "train"
    validation: str | None = "val"
    """None: the publisher has none, and the published run chose its checkpoint on the test split."""
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One row."""

    name: str
    title: str
    family: Family
    read: Read
    read_training: Read | None = None
    """Where training rows are of another kind than test rows (MSRVTT-MC trains as retrieval)."""
    files: str
    """What to put into the annotation folder."""
    splits: Splits = field(default_factory=Splits)
    counts: dict[str, int]
    """Rows (queries) per split in the published files, by the names of `Splits`."""
    num_answers: int = 0
    """Size of the answer vocabulary."""
    answers_at_mask: bool = False
    """The answer fills the blank of a sentence."""
    inputs: PublishedInputs
    recipe: PublishedRecipe
    published: dict[str, float]
    """Fine-tuned figures of the paper, by metric; percent, ranks from 1."""
    published_zero_shot: dict[str, float] = field(default_factory=dict)
    caution: str = ""
    """What makes numbers of this benchmark hard to compare."""

    @property
    def metric(self) -> str:
        """The one figure that is quoted first."""
        return "recall_at_1" if self.family == "retrieval" else "accuracy"

    @property
    def chooses_by_retrieval(self) -> bool:
        """Choices are made by the two uni-modal encoders."""
        return self.family == "choice" and self.read_training is not None


def _retrieval_recipe(batch_size: int, num_epochs: int, *, mixed_precision: bool = True) -> PublishedRecipe:
    return PublishedRecipe(
        batch_size=batch_size,
        num_epochs=num_epochs,
        warmup_epochs=num_epochs // 10,
        warmup_start=1e-3,
        stepping="epoch",
        gradient_norm=5.0,
        mixed_precision=mixed_precision,
    )


def _question_recipe(num_epochs: int, *, dropout: float, **others: Any) -> PublishedRecipe:
    values = {"batch_size": 128, "stepping": "iteration", **others}
    return PublishedRecipe(
        num_epochs=num_epochs,
        warmup_epochs=num_epochs // 10,
        warmup_start=1e-4,
        gradient_norm=50.0,
        head_rate_factor=10.0,
        decays_position_bias=True,
        dropout=dropout,
        **values,
    )


def _figures(recall_at_1: float, recall_at_5: float, recall_at_10: float, median_rank: float) -> dict[str, float]:
    return {
        "recall_at_1": recall_at_1,
        "recall_at_5": recall_at_5,
        "recall_at_10": recall_at_10,
        "median_rank": median_rank,
    }


_TGIF_INPUTS = PublishedInputs(num_views=4, test_fit="square", training_text_length=100, test_text_length=100)

_ROWS = (
    Benchmark(
        name="msrvtt-retrieval",
        title="MSR-VTT 1k-A",
        family="retrieval",
        read=read_msrvtt_retrieval,
        files="MSRVTT_data.json, MSRVTT_train.9k.csv, MSRVTT_JSFUSION_test.csv",
        splits=Splits(train="train_9k", validation=None, test="test_1k"),
        counts={"train": 180_000, "test": 1_000},
        inputs=PublishedInputs(
            training_frames=12,
            test_frames=32,
            flip_probability=0.5,
            training_text_length=30,
            test_text_length=25,
            zero_shot_text_length=30,
        ),
        recipe=_retrieval_recipe(128, 100),
        published=_figures(40.5, 69.8, 79.4, 2.0),
        published_zero_shot=_figures(26.4, 49.5, 60.0, 6.0),
        caution="there is no validation split; published runs choose their checkpoint on the test split",
    ),
    Benchmark(
        name="didemo-retrieval",
        title="DiDeMo",
        family="retrieval",
        read=read_didemo_retrieval,
        files="train_data.json, val_data.json, test_data.json, and *_list.txt",
        counts={"train": 8_392, "validation": 1_065, "test": 1_004},
        inputs=PublishedInputs(test_frames=32, training_text_length=50, test_text_length=64),
        recipe=_retrieval_recipe(256, 50, mixed_precision=False),
        published=_figures(50.1, 76.7, 85.6, 1.0),
        published_zero_shot=_figures(29.5, 55.2, 66.3, 4.0),
        caution="papers test on 1,003 or 1,004 videos, some on 979 or 1,036; no ground-truth proposals are used",
    ),
    Benchmark(
        name="lsmdc-retrieval",
        title="LSMDC",
        family="retrieval",
        read=read_lsmdc_retrieval,
        files="LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv",
        counts={"train": 101_079, "validation": 7_408, "test": 1_000},
        inputs=PublishedInputs(test_frames=32, training_text_length=40, test_text_length=40),
        recipe=_retrieval_recipe(256, 50),
        published=_figures(24.8, 44.0, 54.5, 8.0),
        published_zero_shot=_figures(14.7, 29.2, 38.2, 24.0),
    ),
    Benchmark(
        name="tgif-action",
        title="TGIF-Action",
        family="choice",
        read=read_tgif_action,
        files="Train_action_question.csv, Test_action_question.csv",
        splits=Splits(validation=None),
        counts={"train": 20_471, "test": 2_274},
        inputs=_TGIF_INPUTS,
        recipe=_question_recipe(100, dropout=0.5, learning_rate=5e-6, stepping="epoch"),
        published={"accuracy": 95.0},
        caution="there is no validation split",
    ),
    Benchmark(
        name="tgif-transition",
        title="TGIF-Transition",
        family="choice",
        read=read_tgif_transition,
        files="Train_transition_question.csv, Test_transition_question.csv",
        splits=Splits(validation=None),
        counts={"train": 52_704, "test": 6_232},
        inputs=_TGIF_INPUTS,
        recipe=_question_recipe(50, dropout=0.5, learning_rate=5e-6, stepping="epoch"),
        published={"accuracy": 98.2},
        caution="there is no validation split",
    ),
    Benchmark(
        name="msrvtt-mc",
        title="MSRVTT-MC",
        family="choice",
        read=read_msrvtt_choices,
        read_training=read_msrvtt_retrieval,
        files="MSR_MC_test.csv; for training MSRVTT_data.json and MSRVTT_train.7k.csv",
        splits=Splits(train="train_7k", validation=None),
        counts={"train": 140_200, "test": 2_990},
        inputs=PublishedInputs(test_frames=32, training_text_length=30, test_text_length=30),
        recipe=_retrieval_recipe(16, 100),
        published={"accuracy": 95.2},
        caution="the 9k training list holds 1,990 of the 2,990 test videos; which list the paper used is unknown",
    ),
    Benchmark(
        name="lsmdc-mc",
        title="LSMDC-MC",
        family="choice",
        read=read_lsmdc_choices,
        files="LSMDC16_multiple_choice_train.csv, ..._valid.csv, ..._test_randomized.csv",
        counts={"train": 101_079, "validation": 7_408, "test": 10_053},
        inputs=PublishedInputs(test_fit="square", training_text_length=256, test_text_length=256),
        recipe=_question_recipe(20, dropout=0.5, mixed_precision=False),
        published={"accuracy": 83.7},
    ),
    Benchmark(
        name="tgif-frame",
        title="TGIF-Frame",
        family="answer",
        read=read_tgif_frame,
        files="Train_frameqa_question.csv, Test_frameqa_question.csv",
        splits=Splits(validation=None),
        counts={"train": 39_392, "test": 13_691},
        num_answers=1540,
        inputs=PublishedInputs(training_text_length=40, test_text_length=40),
        recipe=_question_recipe(20, dropout=0.1),
        published={"accuracy": 71.6},
        caution="there is no validation split",
    ),
    Benchmark(
        name="msrvtt-qa",
        title="MSRVTT-QA",
        family="answer",
        read=read_msrvtt_questions,
        files="train_qa.json, val_qa.json, test_qa.json",
        counts={"train": 158_581, "validation": 12_278, "test": 72_821},
        num_answers=1500,
        inputs=PublishedInputs(test_fit="square", training_text_length=40, test_text_length=40),
        recipe=_question_recipe(20, dropout=0.1, weight_decay=0.001, batch_size=256, stepping="epoch"),
        published={"accuracy": 44.1},
    ),
    Benchmark(
        name="msvd-qa",
        title="MSVD-QA",
        family="answer",
        read=read_msvd_questions,
        files="train_qa.json, val_qa.json, test_qa.json, youtube_mapping.txt",
        counts={"train": 30_933, "validation": 6_415, "test": 13_157},
        num_answers=1000,
        inputs=PublishedInputs(training_fit="square", test_fit="square", training_text_length=40, test_text_length=40),
        recipe=_question_recipe(40, dropout=0.5),
        published={"accuracy": 52.4},
    ),
    Benchmark(
        name="lsmdc-fib",
        title="LSMDC-FiB",
        family="answer",
        read=read_lsmdc_cloze,
        files="LSMDC16_annos_training_FIB.csv, ..._val_FIB.csv, ..._test_FIB.csv",
        counts={"train": 296_960, "validation": 21_689, "test": 30_349},
        num_answers=908,
        answers_at_mask=True,
        inputs=PublishedInputs(test_fit="square", training_text_length=200, test_text_length=200),
        recipe=_question_recipe(20, dropout=0.5),
        published={"accuracy": 54.1},
        caution="rows without a blank stay in the test and count as wrong",
    ),
)

BENCHMARKS: dict[str, Benchmark] = {row.name: row for row in _ROWS}
"""All eleven, in the order of the paper."""


def benchmark(name: str) -> Benchmark:
    """The row of a name.

    Raises:
        ConfigError: there is no such benchmark.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"unknown benchmark {name!r}; choose one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
