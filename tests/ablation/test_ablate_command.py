"""What the command refuses, before any work."""

import pytest

from clover.ablation.settings import AblationConfig, keep
from clover.commands.ablate import ablate
from clover.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "unknown ablate command 'compare'; choose prepare, sweep or report"),
        (["--systems", "comb", "best"], "unknown system 'best'; there are ind-a, ind-f, comb"),
        (["sweep", "--settings", "luck"], "unknown setting to sweep 'luck'; there are temperature"),
        (["sweep", "--settings", "gamma", "gamma"], "setting to sweep 'gamma' is named twice"),
        (["--systems", "comb", "clover", "comb"], "system 'comb' is named twice"),
        (["--seeds", "0"], "0 seeds, 0 jobs: give 1 or more seeds"),
        (["--part", "3/2"], "--part is '3/2'"),
        (["--part", "2/3"], "has no warm encoders, which all parts of the work share: run clover ablate prepare"),
        (["--num-step", "2"], "see clover ablate --help"),
        (["--open-answers.num-steps", "0"], "0 steps of 32 samples"),
    ],
)
def test_wrong_options_are_one_line(arguments, message, tmp_path):
    with pytest.raises(ConfigError) as error:
        ablate([*arguments, *([] if arguments == ["compare"] else ["--out", str(tmp_path / "new")])])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new" / "corpus").exists()


def test_quick_does_not_go_on_with_a_full_one(tmp_path):
    keep(tmp_path, AblationConfig())
    with pytest.raises(ConfigError, match="is not the quick one"):
        ablate(["--quick", f"--out={tmp_path}"])


def test_a_report_needs_runs(tmp_path):
    with pytest.raises(DataError, match="holds no run that is whole"):
        ablate(["report", str(tmp_path)])


def test_help_names_all_commands(capsys):
    ablate(["--help"])
    shown = capsys.readouterr().out
    assert all(f"clover ablate {name}" in shown for name in ("prepare", "sweep", "report"))
