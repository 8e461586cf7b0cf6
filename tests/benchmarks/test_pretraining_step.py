"""The step's benchmark runs on any machine: the same code, with the tiny network."""

import json
import sys

import pytest

import pretraining_step


@pytest.mark.slow
def test_every_row_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pretraining_step.py", "--quick", "--size", "tiny"])
    monkeypatch.setattr(pretraining_step, "choose_device", lambda _: pretraining_step.torch.device("cpu"))
    pretraining_step.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = {row["name"]: row for row in result["rows"]}
    names = ["plain, float32", "our encoders", "one call an encoder"]
    assert list(rows) == [*names, "activations recomputed", "micro-batches"]
    assert all(row["milliseconds"] > 0 and row["utilisation"] >= 0 for row in rows.values())
    assert rows["activations recomputed"]["mebibytes"] < 0.6 * rows["one call an encoder"]["mebibytes"]
    assert set(result["parts"]) == {"video", "text", "fusion"}
    assert result["ratio"] > 0
