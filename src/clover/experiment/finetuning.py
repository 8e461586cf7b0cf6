"""Fine-tuning on open-ended questions: a checkpoint in, one with an answer head out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clover.data.annotations.vocabulary import OUTSIDE, answer_vocabulary, label_answers
from clover.data.loader import QuestionBatch, QuestionCollator
from clover.data.shapes.corpus import read_questions
from clover.experiment.configs import QuestionExperiment
from clover.experiment.pieces import clip_reader, corpus_folder, run_stage
from clover.modeling.model import HeadConfig
from clover.objectives.answering import answer_loss
from clover.objectives.pretraining import Losses
from clover.pipeline import Clover


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """What fine-tuning left."""

    clover: Clover
    """The model, also saved as ``folder/checkpoint``."""
    skipped: dict[str, str]
    """Videos that cannot be read, and why."""
    num_left_out: int
    """Training questions whose answer is outside the vocabulary."""


def finetune_questions(
    clover: Clover, experiment: QuestionExperiment, folder: Path, *, resume: bool = False, quiet: bool = False
) -> Finetuned:
    """Train the network and a fresh answer head; questions whose answer is outside the vocabulary are left out.

    Raises:
        DataError: there is no question, or no video can be read.
        MediaError: in a strict run, a video that cannot be read.
    """
    questions = read_questions(corpus_folder(experiment.data), "train")
    answers = answer_vocabulary(questions, experiment.num_answers)
    known = [row for row in label_answers(questions, answers) if row.label != OUTSIDE]
    videos = list(dict.fromkeys(row.video for row in known))
    reader, skipped = clip_reader(experiment.data, clover.config.inputs, videos, quiet=quiet)
    items = [row for row in known if str(row.video) not in skipped]
    heads = HeadConfig(num_answers=len(answers), answer_dropout=experiment.answer_dropout)
    tuned = clover.with_heads(heads, answers=answers, seed=experiment.seed)

    if not experiment.trains_encoders:
        for encoder in (tuned.network.video_encoder, tuned.network.text_encoder):
            encoder.requires_grad_(False)

    def losses(batch: QuestionBatch, _: int) -> Losses:
        video = tuned.network.video_tokens(batch.clip)
        loss = answer_loss(tuned.network.answer_scores(video, batch.token_ids, batch.is_token), batch.labels)
        return Losses(terms={"answers": loss}, total=loss)

    run_stage(
        folder=folder,
        title="fine-tuning on questions",
        settings=experiment,
        stage=experiment.training,
        module=tuned.network,
        items=items,
        make_batch=QuestionCollator(
            read_clip=reader, tokenizer=tuned.tokenizer, max_text_length=tuned.config.inputs.max_text_length
        ),
        losses=losses,
        seed=experiment.seed,
        save_every=experiment.save_every,
        resume=resume,
        quiet=quiet,
    )
    tuned.save_pretrained(folder / "checkpoint")
    return Finetuned(clover=tuned, skipped=skipped, num_left_out=len(questions) - len(known))
