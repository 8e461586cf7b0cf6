"""Configs survive a round trip through JSON; wrong ones are named."""

import json

import pytest

from clover.config import from_plain, to_plain
from clover.errors import ConfigError
from clover.modeling.model import ModelConfig
from clover.modeling.sizes import small
from clover.recipes.pretrain import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_round_trip(name):
    experiment = RECIPES[name]()
    assert from_plain(type(experiment), json.loads(json.dumps(to_plain(experiment)))) == experiment


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeding_width": 3}, "no field 'embeding_width'"),
        ({"embedding_width": "wide"}, r"embedding_width is 'wide'; it must be of type int"),
        ({"embedding_width": True}, "must be of type int"),
        ({"fused_pairing": "other"}, "it can be 'paper', 'first_release'"),
        ({"video": {"patch_size": [2, 4]}}, "patch_size has 2 values; it takes 3"),
        ({"video": 3}, "must be an object"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        from_plain(ModelConfig, to_plain(small(vocabulary_size=9)) | change)
