"""The table of the eleven is the published one, and recipes follow it."""

import json

import pytest
from helpers import run

from clover.evaluation.benchmarks import BENCHMARKS
from clover.pipeline import Clover
from clover.recipes.benchmarks import published, recipe_for


def test_the_table_says_what_is_needed():
    status, output, _ = run("benchmarks")
    assert status == 0
    assert all(name in output for name in BENCHMARKS)
    one = json.loads(run("benchmarks", "tgif-action")[1])
    assert one["inputs"]["num_views"] == 4
    assert run("benchmarks", "tgif")[0] == 2


# rate, decay, batch, epochs, warm-up epochs, start, stepping, norm, head rate, training frames, test frames, views,
# training fit, test fit, flip, training length, test length, answers: the authors' configs, row by row
_TABLE = """
    msrvtt-retrieval 1.2e-05 0.01 128 100 10 0.001 epoch 5 1 12 32 1 random_crop center_crop 0.5 30 25 0
    didemo-retrieval 1.2e-05 0.01 256 50 5 0.001 epoch 5 1 8 32 1 random_crop center_crop 0 50 64 0
    lsmdc-retrieval  1.2e-05 0.01 256 50 5 0.001 epoch 5 1 8 32 1 random_crop center_crop 0 40 40 0
    tgif-action      5e-06 0.01 128 100 10 0.0001 epoch 50 10 8 8 4 random_crop square 0 100 100 0
    tgif-transition  5e-06 0.01 128 50 5 0.0001 epoch 50 10 8 8 4 random_crop square 0 100 100 0
    msrvtt-mc        1.2e-05 0.01 16 100 10 0.001 epoch 5 1 8 32 1 random_crop center_crop 0 30 30 0
    lsmdc-mc         1.2e-05 0.01 128 20 2 0.0001 iteration 50 10 8 8 1 random_crop square 0 256 256 0
    tgif-frame       1.2e-05 0.01 128 20 2 0.0001 iteration 50 10 8 8 1 random_crop center_crop 0 40 40 1540
    msrvtt-qa        1.2e-05 0.001 256 20 2 0.0001 epoch 50 10 8 8 1 random_crop square 0 40 40 1500
    msvd-qa          1.2e-05 0.01 128 40 4 0.0001 iteration 50 10 8 8 1 square square 0 40 40 1000
    lsmdc-fib        1.2e-05 0.01 128 20 2 0.0001 iteration 50 10 8 8 1 random_crop square 0 200 200 908
"""


def _value(word):
    try:
        return float(word)
    except ValueError:
        return word


PUBLISHED = {name: tuple(map(_value, words)) for name, *words in map(str.split, _TABLE.strip().splitlines())}
DROPOUT = {"tgif-frame": 0.1, "msrvtt-qa": 0.1}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_recipes_are_the_published_rows(name):
    made = published(BENCHMARKS[name])
    optimizer, inputs = made.optimizer, made.inputs
    assert (
        optimizer.learning_rate,
        optimizer.weight_decay,
        made.batch_size,
        made.num_epochs,
        round(optimizer.warmup_share * made.num_epochs),
        optimizer.warmup_start,
        optimizer.stepping,
        optimizer.gradient_norm,
        optimizer.head_rate_factor,
        made.training_frames,
        inputs.num_frames,
        inputs.num_views,
        inputs.frames.training_fit,
        inputs.frames.test_fit,
        inputs.frames.flip_probability,
        made.training_text_length,
        inputs.max_text_length,
        BENCHMARKS[name].num_answers,
    ) == PUBLISHED[name]
    assert optimizer.decays_position_bias == (optimizer.head_rate_factor == 10)  # the question answering configs
    assert made.batch_size == made.reference_batch_size
    assert inputs.lists_options
    if BENCHMARKS[name].family != "retrieval" and name != "msrvtt-mc":
        assert made.dropout == DROPOUT.get(name, 0.5)


def test_a_recipe_follows_the_networks_size(checkpoint):
    clover = Clover.from_pretrained(checkpoint)
    made = recipe_for(BENCHMARKS["tgif-action"], clover)
    assert made.inputs.num_frames == clover.config.inputs.num_frames
    assert not made.inputs.lists_options
