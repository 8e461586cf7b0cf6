"""What the answers to questions rest on, kind by kind: told right of a model of which it is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.evaluation.figures import baselines_table, question_figures
from clover.evaluation.open_answer import ORDER, evaluate_questions
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.types import OpenEnded

ANSWERS = ("moves left", "moves right", "red", "nothing")


class Watcher(Clover):
    """Answers the question, which holds the answer, where frames brighten; of colours always."""

    def clip(self, source, **options):
        return np.arange(8, dtype=np.uint8)[:, None, None, None] * np.full((1, 32, 32, 3), 30, dtype=np.uint8)

    def video_tokens(self, clips):
        shades = torch.from_numpy(np.stack(clips)).float().mean(dim=(2, 3, 4))
        return shades[..., None, None, None].expand(-1, -1, 1, 1, 1)

    def answer_probabilities(self, video_tokens, questions):
        said = []
        for tokens, question in zip(video_tokens, questions, strict=True):
            is_in_order = bool((tokens.flatten().diff() > 0).all())
            said.append(ANSWERS.index(question if is_in_order or question == "red" else "nothing"))
        return torch.nn.functional.one_hot(torch.tensor(said), len(ANSWERS)).float()


@pytest.fixture(scope="module")
def result():
    tokenizer = Tokenizer.train(["a red ball moves left"], 100)
    model = tiny(vocabulary_size=tokenizer.vocabulary_size)
    watcher = Watcher(
        new_model(model, seed=0), tokenizer, CloverConfig(model=model, inputs=InputConfig(), answers=ANSWERS)
    )
    kinds = [("first", "moves left"), ("last", "moves right"), ("color", "red"), ("last", "moves left")]
    rows = [
        OpenEnded(
            video=Path(f"{video}.mp4"), question=answer, answer=answer, index=4 * video + place, question_type=kind
        )
        for video in range(10)
        for place, (kind, answer) in enumerate(kinds)
    ]
    training = [rows[0], rows[1], rows[2]]
    return evaluate_questions(watcher, rows, training), evaluate_questions(watcher, rows, training, with_baselines=True)


def test_baselines_are_measured_when_asked_for(result):
    plain, with_baselines = result
    assert plain.baselines == {}
    assert set(question_figures(plain)) == {"num_questions", "accuracy", "most_frequent_answer", "question_only"}
    assert plain.accuracy == with_baselines.accuracy == 100.0
    assert plain.by_type == with_baselines.by_type


def test_order_questions_lose_and_others_do_not(result):
    kinds = result[1].baselines
    assert {name: kind.num_questions for name, kind in kinds.items()} == {
        "color": 10,
        "first": 10,
        "last": 20,
        ORDER: 30,
    }
    assert kinds["color"].shuffled_frames == kinds["color"].single_frame == kinds["color"].accuracy == 100.0
    assert kinds["color"].shuffled_loss == (0.0, 0.0)
    for name in ("first", "last", ORDER):
        assert (kinds[name].accuracy, kinds[name].shuffled_frames, kinds[name].single_frame) == (100.0, 0.0, 0.0)
        assert kinds[name].shuffled_loss == (100.0, 100.0)


def test_the_most_frequent_answer_is_that_of_the_type(result):
    kinds = result[1].baselines
    assert kinds["first"].most_frequent_answer == 100.0
    assert kinds["last"].most_frequent_answer == 50.0
    assert kinds[ORDER].most_frequent_answer == pytest.approx(100 * 2 / 3)


def test_baselines_are_printed_and_plain(result):
    figures = json.loads(json.dumps(question_figures(result[1])))
    assert figures["baselines"][ORDER]["shuffled_loss"] == [100.0, 100.0]
    assert baselines_table(result[1]).row_count == 4
