"""The example of an exported folder prepares frames and words as the checkpoint does."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_checkpoint import TEXTS, made_checkpoint

from clover.errors import ConfigError
from clover.export.folder import exported_config
from clover.export.graphs import graphs_of
from clover.export.readme import onnx_readme


@pytest.mark.parametrize("fit", ["square", "center_crop"])
def test_frames_and_words_are_those_of_the_checkpoint(fit, video, tmp_path, monkeypatch):
    made = made_checkpoint()
    clover = made.with_inputs(
        replace(made.config.inputs, frames=replace(made.config.inputs.frames, test_fit=fit), max_text_length=6)
    )
    graphs = graphs_of(clover)
    config = exported_config(clover, graphs, kind="onnx", worst={}, checked_on="nothing")
    (tmp_path / "config.json").write_text(json.dumps(config))
    clover.tokenizer.save(tmp_path)
    code = re.search(r"```python\n(.*?)\ndef run", onnx_readme(clover, graphs, {}, "nothing", []), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    own, found = clover.clip(video), names["read_clip"](str(video))[0]
    assert found.shape == own.shape
    assert np.abs(found.astype(float) - own).mean() < 2, "resized by another library"
    token_ids, is_token = (value.numpy() for value in clover.encode_words(TEXTS))
    np.testing.assert_array_equal(names["read_texts"](TEXTS)[0], token_ids)
    np.testing.assert_array_equal(names["read_texts"](TEXTS)[1], is_token)


def test_encoders_of_others_are_refused_as_graphs():
    clover = made_checkpoint()
    clover.network.text_encoder = torch.nn.Identity()
    with pytest.raises(ConfigError, match="the text encoder is a Identity, and only Clover's own can be exported"):
        graphs_of(clover)
