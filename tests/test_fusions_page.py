"""Every command and every block of docs/fusions.md, with fewer videos and steps."""

import re
import shlex
from pathlib import Path

import pytest

from clover.cli import main
from clover.modeling.fusion import FusionEncoder

PAGE = Path(__file__).parent.parent / "docs" / "fusions.md"
TRAINING = ("--training.num-steps", "1", "--training.batch-size", "4", "--data.num-kept-frames", "8")
FEWER = {
    "corpus": (),
    "plan": (),
    "evaluate": (),
    "pretrain": (*TRAINING, "--video-warm-start.num-steps", "1", "--text-warm-start.num-steps", "1"),
    "distill": TRAINING,
}


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    commands = [line for language, block in blocks if not language for line in block.splitlines()]
    assert {shlex.split(line)[1] for line in commands} == set(FEWER)
    for line in commands:
        words = re.sub(r"--num-videos \d+", "--num-videos 80", line).split()
        assert words[0] == "clover"
        assert main([*words[1:], *FEWER[words[1]]]) == 0, (line, capsys.readouterr().err)
    codes = [block for language, block in blocks if language == "python"]
    assert len(codes) == 1
    names = {}
    exec(codes[0], names)
    assert FusionEncoder(names["recipe"].model.fusion).type_embedding is None
