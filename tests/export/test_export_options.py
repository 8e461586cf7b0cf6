"""Options of `clover export` that mean nothing for a target are refused before anything is read."""

import pytest

from clover.cli import main


@pytest.mark.parametrize("target", ["onnx", "torch", "hub", "official"])
@pytest.mark.parametrize(
    ("option", "targets"),
    [
        (["--int8"], ["onnx"]),
        (["--corpus", "corpus"], ["onnx", "torch", "hub"]),
        (["--license", "apache-2.0"], ["hub"]),
        (["--task", "retrieval"], ["official"]),
    ],
    ids=lambda value: value[0],
)
def test_an_option_of_another_target_is_refused(target, option, targets, tmp_path, capsys):
    missing, out = str(tmp_path / "missing"), tmp_path / "out"
    assert main(["export", missing, str(out), "--to", target, *option]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    if target in targets:
        assert "is not a checkpoint folder" in errors
    else:
        assert f"{option[0]} is for --to {' and '.join(targets)}, not for {target}; leave it out" in errors
    assert not out.exists()
