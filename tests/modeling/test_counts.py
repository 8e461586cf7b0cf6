"""Clover-Base has the published number of weights in every part, less those that never get a gradient."""

import json
from pathlib import Path

import pytest
import torch

from clover.modeling.model import CloverModel, ModelConfig
from clover.modeling.sizes import base, tiny
from clover.modeling.weights import to_official

GOLDEN = Path(__file__).parents[1] / "golden"
POOLER = 768 * 768 + 768
FUSION_EMBEDDINGS = 23_837_184


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        return CloverModel(base())


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def test_tiny_is_as_large_as_it_says():
    with torch.device("meta"):
        few, more = (count(CloverModel(tiny(vocabulary_size=words))) for words in (100, 1100))
    assert more - few == 65 * 1000
    assert round(few - 65 * 100, -3) == 64_000


def test_counts_per_component(network):
    published = json.loads((GOLDEN / "key_maps.json").read_text())["CloverPretrain"]["totals"]
    heads = (
        network.video_projection,
        network.text_projection,
        network.fused_video_projection,
        network.fused_text_projection,
        network.masked_word_head,
    )
    assert count(network.video_encoder) == published["video_encoder"]
    assert count(network.text_encoder) == published["text_encoder"] - POOLER
    assert count(network.fusion_encoder) == published["fusion_encoder"] - FUSION_EMBEDDINGS
    assert sum(count(head) for head in heads) == published["heads"]
    assert count(network) == published["all"] - POOLER - FUSION_EMBEDDINGS


def test_every_published_weight_is_there_or_never_gets_a_gradient(network):
    parameters = json.loads((GOLDEN / "key_maps.json").read_text())["CloverPretrain"]["parameters"]
    names = set(parameters) if isinstance(parameters, dict) else {row["name"] for row in parameters}
    ours = set(to_official(network.state_dict()))
    assert ours <= names
    lacking = names - ours
    assert all(
        name.startswith(("text_backbone.bert.pooler.", "multimodal_backbone.bert_embedding.")) for name in lacking
    )


def test_widths_that_do_not_fit_are_refused():
    with pytest.raises(Exception, match="fusion takes video tokens of width 1024, but the video encoder gives 512"):
        ModelConfig(video=base().video.__class__(width=64, num_heads=(2, 4, 8, 16))).check()
