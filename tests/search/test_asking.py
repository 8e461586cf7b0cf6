"""Answers from a library: what is looked for, how answers are weighed, and when there is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer, choice_texts
from clover.data.transforms import TransformConfig
from clover.data.video_writer import write_video
from clover.errors import ConfigError
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.search.asking import (
    AskConfig,
    answer_distribution,
    answering_method,
    ask_library,
    asked_about,
    unseen_note,
)
from clover.search.engine import open_library
from clover.search.indexing import index_videos
from clover.search.windows import WindowConfig

ANSWERS = ("red", "blue", "yes")
QUESTION = "what color is the ball?"


def model(*, has_answers=True, has_choices=False):
    tokenizer = Tokenizer.train(["a red ball moves left", QUESTION], 100)
    heads = HeadConfig(num_answers=3 if has_answers else 0, has_choices=has_choices)
    config = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), heads=heads)
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=40)
    answers = ANSWERS if has_answers else ()
    return Clover(new_model(config, seed=0), tokenizer, CloverConfig(model=config, inputs=inputs, answers=answers))


@pytest.fixture(scope="module")
def clover():
    return model()


def library(clover, folder, count=3):
    generator = np.random.default_rng(0)
    for number in range(count):
        write_video(folder / f"{number}.mp4", generator.integers(0, 255, (16, 32, 32, 3), dtype=np.uint8))
    index = open_library(folder / "library", clover, WindowConfig())
    index_videos(index, clover, sorted(folder.glob("*.mp4")), WindowConfig())
    return index


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("what color is the ball?", "the ball"),
        ("What colour is the car that overtakes?", "the car that overtakes"),
        ("is there a blue heart?", "a blue heart"),
        ("how many people shake hands?", "people shake hands"),
        ("which object circles another?", "circles another"),
        ("why?", "why?"),
        ("what is it?", "what is it?"),
        ("wie viele Menschen sind zu sehen?", "wie viele Menschen sind zu sehen?"),
        ("какого цвета мяч?", "какого цвета мяч?"),
    ],
)
def test_what_is_looked_for(question, asked):
    assert asked_about(question) == asked


def test_when_time_is_up_the_best_moments_answer_and_the_others_are_counted(clover, tmp_path):
    index = library(clover, tmp_path, count=7)
    in_time = ask_library(index, clover, QUESTION, config=AskConfig(moments=7))
    assert (len(in_time.evidence), in_time.num_unseen, unseen_note(in_time)) == (7, 0, "")
    late = ask_library(index, clover, QUESTION, config=AskConfig(moments=7, ask_seconds=1e-9))
    assert [one.span for one in late.evidence] == [one.span for one in in_time.evidence[:5]]
    assert late.num_unseen == 2
    assert "the last 2 were not looked at" in unseen_note(late)
    for one in in_time.evidence[:5]:  # gone: time or not, somebody must answer
        (tmp_path / one.span.video).unlink()
    rest = ask_library(index, clover, QUESTION, config=AskConfig(moments=7, ask_seconds=1e-9))
    assert [one.span for one in rest.evidence] == [one.span for one in in_time.evidence[5:]]
    with pytest.raises(ConfigError, match=r"ask_seconds is 0\.0; use more than 0"):
        AskConfig(ask_seconds=0.0)


def test_answers_are_those_of_the_moments_weighed(clover, tmp_path):
    reply = ask_library(library(clover, tmp_path), clover, QUESTION, config=AskConfig(moments=2))
    assert reply.method == "open-ended head"
    assert len(reply.evidence) == 2
    assert sum(one.weight for one in reply.evidence) == pytest.approx(1.0)
    assert reply.evidence[0].weight >= reply.evidence[1].weight
    for one in reply.evidence:
        alone = clover.answer(one.span.video, QUESTION, num_answers=3)
        assert {each.text: each.probability for each in one.answers} == pytest.approx(
            {each.text: each.probability for each in alone}, abs=1e-5
        )
    for answer in reply.answers:
        parts = [one.weight * {a.text: a.probability for a in one.answers}[answer.text] for one in reply.evidence]
        assert answer.probability == pytest.approx(sum(parts), abs=1e-5)
    assert reply.unknown is None


def test_i_do_not_know(clover, tmp_path):
    index = library(clover, tmp_path)
    unsure = ask_library(index, clover, QUESTION, config=AskConfig(min_probability=0.99))
    assert unsure.unknown == (
        f"the best answer, {unsure.answers[0].text}, has a probability of "
        f"{100 * unsure.answers[0].probability:.1f} % only"
    )
    absent = ask_library(index, clover, QUESTION, config=AskConfig(min_confidence=0.99))
    if absent.evidence:
        assert all(one.span.confidence >= 0.99 for one in absent.evidence)
    else:
        assert (absent.answers, absent.unknown) == ([], "no moment of the library fits")
    for path in tmp_path.glob("*.mp4"):
        path.unlink()
    gone = ask_library(index, clover, QUESTION)
    assert (gone.answers, gone.unknown) == ([], "the files of all moments found are gone or have changed")


def test_choices_go_through_the_multiple_choice_head(monkeypatch):
    clover = model(has_choices=True)
    clips = np.random.default_rng(0).integers(0, 255, (2, 8, 32, 32, 3), dtype=np.uint8)
    tokens = clover.video_tokens(list(clips))
    choices = ("red", "it goes left", "blue")
    names, probabilities = answer_distribution(clover, tokens, QUESTION, choices)
    assert answering_method(clover, choices) == "multiple-choice head"
    scores = clover.choice_scores(tokens, [choice_texts(QUESTION, choices)] * 2)
    assert names == choices
    assert torch.allclose(probabilities, scores.softmax(dim=1))
    sizes, original = [], clover.choice_scores
    monkeypatch.setattr(clover, "choice_scores", lambda some, texts: sizes.append(len(some)) or original(some, texts))
    monkeypatch.setattr("clover.search.asking._PAIRS", 4)
    _, one_by_one = answer_distribution(clover, tokens, QUESTION, choices)
    assert sizes == [1, 1]
    assert torch.allclose(one_by_one, probabilities, atol=1e-6)


def test_choices_that_are_answers_are_chosen_among_them(clover):
    tokens = clover.video_tokens(list(np.zeros((1, 8, 32, 32, 3), dtype=np.uint8)))
    _, every = answer_distribution(clover, tokens, QUESTION)
    names, chosen = answer_distribution(clover, tokens, QUESTION, ("Yes", "red"))
    assert names == ("Yes", "red")
    assert chosen[0] == pytest.approx(every[0, [2, 0]] / every[0, [2, 0]].sum())
    assert answering_method(clover, ("Yes", "red")) == "open-ended head, among the choices"


def test_other_choices_are_compared_by_their_embeddings():
    clover = model(has_answers=False)
    tokens = clover.video_tokens(list(np.zeros((2, 8, 32, 32, 3), dtype=np.uint8)))
    _, probabilities = answer_distribution(clover, tokens, QUESTION, ("green", "grey"))
    assert answering_method(clover, ("green", "grey")).startswith("similarity")
    texts = clover.encode_text(["the ball green", "the ball grey"])
    videos = clover.embed_clips(list(np.zeros((2, 8, 32, 32, 3), dtype=np.uint8)))
    assert probabilities.sum(dim=1) == pytest.approx(torch.ones(2))
    assert torch.equal(probabilities.argmax(dim=1), (videos @ texts.T).argmax(dim=1))


def test_choices_and_settings_without_sense(clover):
    for choices in (("red",), ("red", "red"), ("red", " ")):
        with pytest.raises(ConfigError, match="at least 2 different ones"):
            answering_method(clover, choices)
    with pytest.raises(ConfigError, match="give possible answers with --choices"):
        answering_method(model(has_answers=False), ())
    with pytest.raises(ConfigError, match="at least 1"):
        AskConfig(moments=0)
    with pytest.raises(ConfigError, match="min_probability"):
        AskConfig(min_probability=1.0)
