"""Fewer passes for systems that look at less: the same values."""

import pytest
import torch

from clover.modeling.initialise import new_model
from clover.modeling.model import needed_inputs
from clover.modeling.sizes import tiny
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.planning.network import SampleShape, training_flops

OBJECTIVES = {
    "comb": PretrainingObjectiveConfig(alignment="pair-wise", ranking_weight=0.0),
    "ind-a": PretrainingObjectiveConfig(alignment="pair-wise", ranking_weight=0.0, masked_word_weight=0.0),
    "ind-f": PretrainingObjectiveConfig(alignment="none", ranking_weight=0.0),
    "ranked": PretrainingObjectiveConfig(alignment="pair-wise", ranking_weight=1.0, masked_word_weight=0.0),
    "clover": PretrainingObjectiveConfig(),
}


def inputs():
    generator = torch.Generator().manual_seed(0)
    clip = torch.randint(256, (3, 8, 32, 32, 3), dtype=torch.uint8, generator=generator)
    cells = torch.rand(3, 2, 2, generator=generator) < 0.3
    ids = torch.randint(5, 50, (3, 6), generator=generator)
    is_masked = torch.zeros(3, 6, dtype=torch.bool)
    is_masked[:, 2] = True
    return clip, cells, ids, ids.masked_fill(is_masked, 4), torch.ones(3, 6, dtype=torch.bool), is_masked


@pytest.mark.parametrize("name", OBJECTIVES)
def test_values_are_those_of_all_passes(name):
    wanted = OBJECTIVES[name].wanted
    network = new_model(tiny(vocabulary_size=50)).eval()
    whole = network.pretraining_output(*inputs())
    expected = vars(whole.embeddings) | {"word_scores": whole.word_scores}
    found = network.wanted_outputs(*inputs(), wanted=wanted)
    assert tuple(found) == wanted
    for output, value in found.items():
        torch.testing.assert_close(value, expected[output], rtol=1e-4, atol=1e-5)


def test_passes_and_operations():
    both = ("masked", "complete")
    assert needed_inputs(OBJECTIVES["clover"].wanted) == {"video": both, "text": both, "fusion": both}
    expected = {"video": ("complete",), "text": both, "fusion": ("complete",)}
    assert needed_inputs(OBJECTIVES["comb"].wanted) == expected
    assert needed_inputs(OBJECTIVES["ind-a"].wanted) == {"video": ("complete",), "text": ("complete",), "fusion": ()}
    sample = SampleShape(num_frames=8, frame_size=32, text_length=16)
    flops = {name: training_flops(tiny(vocabulary_size=50), sample, each.wanted) for name, each in OBJECTIVES.items()}
    assert flops["ind-a"] < flops["ind-f"] < flops["comb"] < 0.7 * flops["clover"]
