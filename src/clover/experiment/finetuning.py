"""Fine-tuning: a pre-trained model, a task and its rows in; a checkpoint with the task's head out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from clover.data.annotations.vocabulary import answer_vocabulary
from clover.data.collators import ClipReader
from clover.data.shapes.corpus import read_questions
from clover.distributed import current
from clover.errors import ConfigError, DataError
from clover.experiment.configs import (
    QuestionExperiment,
    RunConfig,
    StageConfig,
    deciding,
    wherever,
    with_kept_frames,
)
from clover.experiment.notices import tell_kept_frames
from clover.experiment.pieces import (
    Stage,
    cache_folder,
    clip_reader,
    corpus_fingerprint,
    corpus_folder,
    states_folder,
)
from clover.experiment.tasks import AnswerTask, Task
from clover.files import write_text
from clover.modeling.weights import load_strictly
from clover.pipeline import Clover
from clover.publishing.history import FINE_TUNING, Event
from clover.training.adapters import LoraConfig, Part, merge_adapters, prepare, without_adapters
from clover.training.checkpoint import forget_states
from clover.training.compute import Compute
from clover.training.loop import Occasional
from clover.training.records import RunRecord
from clover.training.skipped import SkippedSamples


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """What fine-tuning left."""

    clover: Clover
    """The model, also saved as ``folder/checkpoint``."""
    skipped: dict[str, str]
    """Videos that cannot be read, and why."""
    num_left_out: int
    """Training rows that cannot be trained on: their answer is outside the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Keeping the best of several moments of a run instead of the last."""

    every: int
    """Steps between two evaluations."""
    score: Callable[[Clover], float]
    """Evaluates the model; the highest score is kept, the first of several."""


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """A fine-tuning run, ready."""

    task: Task
    stage: StageConfig
    read_clip: ClipReader
    skipped: dict[str, str]
    """Videos that cannot be read; gets those that turn out so."""
    max_text_length: int
    folder: Path
    settings: Any
    """The config of the run; a state of another config, or of another checkpoint to start from, is not resumed."""
    trained_on: str
    """Name of the data."""
    run_config: RunConfig
    strict: bool = False
    """Stop at the first video that cannot be read."""
    record: RunRecord | None = None
    """Of the run; is told where the training begins or goes on."""
    freeze: tuple[Part, ...] = ()
    """Parts of the network that stay as they are."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters; the checkpoint has them merged."""
    selection: Selection | None = None
    quiet: bool = False

    def run(self, clover: Clover, rows: Sequence[Any], *, resume: bool = False) -> Clover:
        """Train on rows that the task finds usable, and save the checkpoint folder.

        Raises:
            ConfigError: weights are to be shared out over processes, which pre-training alone does.
            DataError: too few rows to fill a batch.
            CheckpointError: with ``resume``, the saved state is another run's.
        """
        if self.run_config.parallel == "fsdp":
            raise ConfigError("fine-tuning runs with --parallel ddp; fsdp is for pre-training")
        if not resume:
            with current().first_alone():
                forget_states(states_folder(self.folder))
                _Best(self.folder).forget()
        items = [row for row in rows if str(row.video) not in self.skipped]
        skipped = SkippedSamples(self.folder, self.skipped, current())
        skipped.begin(resume=resume)
        settings = {"settings": deciding(self.settings), "starting_checkpoint": clover.fingerprint}
        tuned = self.task.with_head(clover, self.run_config.seed)
        prepare(tuned.network, self.freeze, self.lora, seed=self.run_config.seed)

        stage: Stage[Any, Any] = Stage(
            folder=self.folder,
            title="fine-tuning",
            settings=settings,
            config=self.stage,
            run_config=self.run_config,
            module=tuned.network,
            items=items,
            make_batch=self.task.collator(
                tuned,
                read_clip=self.read_clip,
                tokenizer=tuned.tokenizer,
                max_text_length=self.max_text_length,
                strict=self.strict,
            ),
            loss=self.task.loss(tuned),
            occasional=self._selecting(tuned),
            skipped=skipped,
            record=self.record,
            quiet=self.quiet,
        )
        stage.run(resume=resume)
        if self.selection is not None:
            best = _Best(self.folder)
            if not best.has_seen(self.stage.num_steps):
                best.consider(tuned, self.selection.score(tuned), self.stage.num_steps)
        merge_adapters(tuned.network)
        if self.selection is not None:
            current().wait()  # the first may still be writing it
            _Best(self.folder).restore(tuned)
        event = Event(kind="run", title=FINE_TUNING, data=(self.trained_on,), num_steps=self.stage.num_steps)
        tuned.history = (*clover.history, Event(kind="start", digest=clover.fingerprint), event)
        with current().first_alone():
            if current().is_first:
                tuned.save_pretrained(self.folder / "checkpoint")
        return tuned

    def _selecting(self, tuned: Clover) -> list[Occasional]:
        if self.selection is None:
            return []
        score, best = self.selection.score, _Best(self.folder)

        def evaluate(num_steps: int) -> dict[str, float]:
            tuned.network.eval()
            value = current().from_first(score(tuned) if current().is_first else None)
            best.consider(tuned, value, num_steps)
            tuned.network.train()
            return {"score": value}

        return [Occasional(every=self.selection.every, run=evaluate)]


@dataclass(frozen=True)
class _Best:
    """The best moment so far, on disk, so that a resumed run still knows it."""

    folder: Path

    @property
    def _note(self) -> Path:
        return self.folder / "selection.json"

    def forget(self) -> None:
        self._note.unlink(missing_ok=True)
        forget_states(self.folder / "best")

    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self._note.read_text(encoding="utf-8")) if self._note.is_file() else []
        return rows

    def has_seen(self, num_steps: int) -> bool:
        return any(row["step"] == num_steps for row in self._rows())

    def consider(self, clover: Clover, score: float, num_steps: int) -> None:
        if not current().is_first:
            return
        rows = [row for row in self._rows() if row["step"] < num_steps]
        numbers = [row["score"] for row in rows if not math.isnan(row["score"])]
        if not rows or score > max(numbers, default=float("-inf")):
            plain = Clover(without_adapters(clover.network), clover.tokenizer, clover.config)
            plain.save_pretrained(self.folder / "best")
        write_text(self._note, json.dumps([*rows, {"step": num_steps, "score": score}], indent=2) + "\n")

    def restore(self, clover: Clover) -> None:
        """Put the best weights back."""
        weights = self.folder / "best" / "model.safetensors"
        load_strictly(clover.network, load_file(weights), source=str(weights))


def finetune_questions(
    clover: Clover, experiment: QuestionExperiment, folder: Path, *, resume: bool = False, quiet: bool = False
) -> Finetuned:
    """Fine-tune on the open-ended questions of the generated corpus.

    Raises:
        DataError: there is no question, or no video can be read.
        MediaError: in a strict run, a video that cannot be read.
        ConfigError: the device is not there.
    """
    Compute(experiment.compute)  # known before any work
    corpus = corpus_folder(experiment.data)
    questions = read_questions(corpus, "train")
    task = AnswerTask(answers=answer_vocabulary(questions, experiment.num_answers), dropout=experiment.answer_dropout)
    rows = task.usable(questions)
    videos = list(dict.fromkeys(row.video for row in rows))
    inputs = clover.config.inputs
    data = with_kept_frames(experiment.data, inputs.num_frames)
    if not quiet:
        tell_kept_frames(experiment.data, data, inputs.num_frames)
    experiment = replace(experiment, data=data)
    cache = cache_folder(corpus, folder)
    reader, skipped = clip_reader(experiment.data, inputs, videos, cache=cache, quiet=quiet)
    record = RunRecord(
        folder,
        title="fine-tuning on questions",
        settings=experiment,
        stages={".": experiment.training.num_steps},
        data=partial(corpus_fingerprint, corpus, videos),
        starting_checkpoint=clover.fingerprint,
    )
    record.begin(resume=resume)
    run = Finetuning(
        task=task,
        stage=experiment.training,
        read_clip=reader,
        skipped=skipped,
        strict=experiment.data.strict,
        max_text_length=inputs.max_text_length,
        folder=folder,
        settings={"experiment": wherever(deciding(experiment)), "data": dict(corpus_fingerprint(corpus, videos))},
        trained_on="clover-shapes",
        run_config=experiment,
        record=record,
        freeze=experiment.freeze,
        lora=experiment.lora,
        quiet=quiet,
    )
    tuned = run.run(clover, rows, resume=resume)
    record.finish(lambda: tuned.fingerprint)
    return Finetuned(clover=tuned, skipped=skipped, num_left_out=len(questions) - len(rows))


def stage_of_epochs(
    stage: StageConfig, num_epochs: float, num_rows: int, *, max_steps: int = 0, left_out: str = ""
) -> StageConfig:
    """A stage whose length is given in passes over its rows; ``left_out`` says for an error what is not among them.

    Raises:
        DataError: the rows do not fill one batch.
    """
    steps_per_epoch = num_rows // stage.batch_size
    if not steps_per_epoch:
        raise DataError(
            f"{num_rows} samples do not fill a batch of {stage.batch_size}{left_out}; choose a smaller batch"
        )
    num_steps = max(1, round(num_epochs * steps_per_epoch))
    return replace(stage, num_steps=min(num_steps, max_steps) if max_steps else num_steps)
