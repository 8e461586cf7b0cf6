"""Fine-tuning in micro-batches gives the gradient of the whole batch, for every family of benchmarks."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from clover.checkpoints import CloverConfig
from clover.data.collators import ChoiceBatch, PairBatch, QuestionBatch
from clover.data.text import Tokenizer
from clover.distributed import ALONE
from clover.experiment.tasks import AnswerTask, ChoiceTask, RetrievalTask
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.objectives.contrastive import symmetric_info_nce
from clover.pipeline import Clover
from clover.training.gradient_cache import exact_gradients
from clover.training.parallel import caller_for

SIZE = 7
NUM_OPTIONS = 3


def made(task):
    """A model with the task's head, and a batch of unlike samples."""
    tokenizer = Tokenizer.train(["a red ball moves left", "what color is the star?"], 60)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), initial_weights="fan_in")
    clover = task.with_head(Clover(new_model(model, seed=0), tokenizer, CloverConfig(model=model)), 0)
    generator = torch.Generator().manual_seed(3)
    rows = (SIZE, NUM_OPTIONS) if isinstance(task, ChoiceTask) else (SIZE,)
    token_ids = torch.randint(5, 20, (*rows, 6), generator=generator)
    is_token = torch.arange(6) < torch.randint(3, 7, (*rows, 1), generator=generator)
    shared = {
        "clip": torch.randint(0, 256, (SIZE, 8, 32, 32, 3), dtype=torch.uint8, generator=generator),
        "token_ids": token_ids,
        "is_token": is_token,
    }
    if isinstance(task, RetrievalTask):
        return clover, PairBatch(**shared)
    if isinstance(task, ChoiceTask):
        return clover, ChoiceBatch(**shared, labels=torch.randint(0, NUM_OPTIONS, (SIZE,), generator=generator))
    is_blank = torch.zeros(SIZE, 6, dtype=torch.bool)
    is_blank[:, 2] = True
    labels = torch.randint(0, len(task.answers), (SIZE,), generator=generator)
    return clover, QuestionBatch(**shared, is_blank=is_blank, labels=labels)


def plain_loss(task, clover, batch):
    """The loss of the whole batch in one pass, written out."""
    network = clover.network
    video = network.video_tokens(batch.clip)
    if isinstance(task, RetrievalTask):
        text = network.embed_text(network.text_encoder(batch.token_ids, batch.is_token))
        return symmetric_info_nce(network.embed_video(video), text, task.temperature)
    if isinstance(task, ChoiceTask):
        return F.cross_entropy(network.choice_scores(video, batch.token_ids, batch.is_token), batch.labels)
    blank = batch.is_blank if task.at_mask else None
    scores = network.answer_scores(video, batch.token_ids, batch.is_token, is_blank=blank)
    return F.cross_entropy(scores, batch.labels)


def gradients(clover):
    found = {name: weight.grad for name, weight in clover.network.named_parameters() if weight.grad is not None}
    clover.network.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize(
    "task",
    [
        RetrievalTask(),
        ChoiceTask(),
        AnswerTask(answers=("red", "blue", "green", "star")),
        AnswerTask(answers=("red", "blue"), at_mask=True),
    ],
    ids=["retrieval", "choice", "answer", "blank"],
)
def test_the_gradient_is_that_of_the_whole_batch(task):
    clover, batch = made(task)
    expected_loss = plain_loss(task, clover, batch)
    expected_loss.backward()
    expected = gradients(clover)
    loss = task.loss(clover)
    caller = caller_for(clover.network, loss.outputs, ALONE)
    for micro_batch_size in (1, 2, 3, 6, 7, 0):
        losses = exact_gradients(batch, loss, caller, micro_batch_size=micro_batch_size)
        found = gradients(clover)
        assert losses.total.item() == pytest.approx(expected_loss.item(), rel=1e-6)
        assert found.keys() == expected.keys()
        scale = max(value.abs().max() for value in expected.values())
        for name, value in expected.items():
            assert (found[name] - value).abs().max() <= 1e-6 * scale, (micro_batch_size, name)
