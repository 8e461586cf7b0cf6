"""The benchmark of 8-bit graphs runs on any machine, with a tiny network."""

import json
import sys

import pytest

import quantised_export


@pytest.mark.slow
def test_every_figure_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["quantised_export.py", "--quick"])
    quantised_export.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["model"] == "fresh, tiny"
    assert max(result["largest_differences"].values()) < 1e-5
    for name in ("unsigned", "signed"):
        assert 0.9 < min(result[name]["lowest_video_cosine"], result[name]["lowest_text_cosine"]) <= 1
        assert result[name]["text_to_video"] == "not measured", "nobody has paired made clips with made texts"
    assert result["unsigned"] != result["signed"]
    assert result["ratio"] > 1
