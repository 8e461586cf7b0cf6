"""The whole experiment, shrunk: the real command, killed on its way and begun again, and its report."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "clover"]
SMALL = """
    --systems comb clover --seeds 1 --jobs 1 --num-steps 3 --batch-size 4 --warm-video-steps 2 --warm-text-steps 2
    --corpus.num-videos 30 --corpus.size 64 --warm-corpus.num-videos 80 --warm-corpus.size 64
    --open-answers.num-steps 2 --open-answers.batch-size 4 --choices.num-steps 1 --choices.batch-size 4
"""


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1"}


def run(*arguments):
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_two_systems_a_seed_and_the_report(tmp_path):
    out = tmp_path / "ablation"
    killed = subprocess.Popen(
        [*COMMAND, "ablate", "--out", str(out), *SMALL.split()], stderr=subprocess.PIPE, env=environment()
    )
    first = out / "runs" / "comb" / "seed-0" / "zero_shot.json"
    while killed.poll() is None and not first.is_file():
        time.sleep(0.02)
    assert killed.poll() is None, killed.stderr.read()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stderr.close()
    before = first.stat().st_mtime_ns
    done = run("ablate", "--out", str(out), "--systems", "comb", "clover", "--seeds", "1", "--jobs", "1")
    assert "2/2 done: Clover (+RankL), seed 0" in done.stderr
    assert first.stat().st_mtime_ns == before  # what was whole was not done again
    again = run("ablate", "--out", str(out), "--systems", "comb", "clover", "--seeds", "1", "--jobs", "1")
    assert "2 runs, 2 of them done before" in again.stderr
    swept = run("ablate", "sweep", "--out", str(out), "--settings", "world-size", "--jobs", "2")
    assert "2/2 done: Clover (+RankL), seed 0, world-size " in swept.stderr
    run("ablate", "report", str(out))
    found = json.loads((out / "ablation.json").read_text())
    rows = {(row["system"], row["seed"], row["evaluation"], row["metric"]): row["value"] for row in found["rows"]}
    for system in ("comb", "clover"):
        for evaluation in ("captions", "paragraphs"):
            for metric in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank"):
                assert rows[system, 0, evaluation, metric] >= 0
        assert 0 <= rows[system, 0, "open", "accuracy"] <= 100
        assert 0 <= rows[system, 0, "choice", "accuracy"] <= 100
        assert 0 <= rows[system, 0, "probes", "color"] <= 100
        assert -1 <= rows[system, 0, "similarity", "positive"] <= 1
    assert {row["setting_value"] for row in found["sweeps"]} == {"4", "8"}
    assert {claim["verdict"] for claim in found["claims"]} == {"cannot be told", "not measured"}
    page = (out / "report.html").read_text()
    assert "Clover (+RankL) &gt; COMB (Baseline)" in page
    assert page.count("data:image/") >= 10
    assert "http" not in page.replace("http://www.w3.org", "")
    text = (out / "report.md").read_text()
    sweep = text.partition("## Sensitivity\n")[2].partition("\n## ")[0]
    assert "How much another seed alone changes is not known here" in sweep
    assert [line.split("|")[1].strip() for line in sweep.splitlines() if line.startswith("| ")][-3:] == [
        "1 (Clover)",
        *("4", "8"),
    ]
    assert text.startswith("# Clover: the ablations\n")
    table = text.partition("## Open questions, by what they ask\n")[2].partition("\n## ")[0]
    kinds = [[cell.strip() for cell in line.split("|")[2:5]] for line in table.splitlines() if line.startswith("| ")]
    counts, guessed = ([float(cells[place]) for cells in kinds if cells[0].isdigit()] for place in (0, 1))
    questions = (out / "corpus" / "test_questions.jsonl").read_text().splitlines()
    assert sum(counts) == len(questions)
    assert 0 < sum(map(math.prod, zip(counts, guessed, strict=True))) / len(questions) < 60
    program = Path(__file__).parents[2] / "benchmarks" / "row_lengths.py"
    counted = subprocess.run([sys.executable, program, "--out", out], capture_output=True, text=True, check=True)
    lengths = json.loads(counted.stdout)
    assert 3 < lengths["without_padding"] < lengths["with_padding"]["mean"] <= lengths["with_padding"]["most"] <= 32
    refused = subprocess.run(
        [*COMMAND, "ablate", "--out", str(out), "--num-steps", "5"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        f"clover: {out} holds an ablation with other settings (num_steps: 3 there, 5 here)"
    )


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["everybody, as a terminal does it", "the command alone"])
def test_ctrl_c_stops_the_runs_side_by_side_and_begins_no_other(tmp_path, whom):
    out = tmp_path / "ablation"
    small = SMALL.replace("--jobs 1", "--jobs 2").replace("--num-steps 3", "--num-steps 5000")
    command = [*COMMAND, "ablate", "--out", str(out), *small.split(), "--systems", "comb", "tma", "tma-sm", "clover"]
    run = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs tests in the background ignores it
    )
    while run.poll() is None and len(logs := list(out.glob("runs/*/seed-0/pretraining/pretraining/log.jsonl"))) < 2:
        time.sleep(0.05)
    assert all(log.read_text() for log in logs) or run.poll() is None
    (os.killpg if whom.startswith("everybody") else os.kill)(run.pid, signal.SIGINT)
    said = run.communicate(timeout=300)[1]
    assert run.returncode == 130, said
    assert "Traceback" not in said
    begun = {path.parts[-2] for path in out.glob("runs/*/seed-0")}
    assert begun == {"comb", "tma"}
    assert not list(out.glob("runs/*/seed-0/done.json"))


@pytest.mark.slow
def test_figures_that_are_broken_are_made_again_once_they_are_removed(tmp_path):
    out = tmp_path / "ablation"
    command = ["ablate", "--out", str(out), *SMALL.split(), "--systems", "ind-a"]
    run(*command)
    place = out / "runs" / "ind-a" / "seed-0"
    before = {path.name: path.read_bytes() for path in place.glob("*.json")}
    (place / "zero_shot.npz").write_bytes(b"cut")
    report = [*COMMAND, "ablate", "report", str(out)]
    broken = subprocess.run(report, capture_output=True, text=True, env=environment(), check=False)
    assert broken.returncode == 2
    assert f"remove {place / 'zero_shot.json'} and run the ablation again" in broken.stderr
    (place / "zero_shot.json").unlink()
    missing = subprocess.run(report, capture_output=True, text=True, env=environment(), check=False)
    assert f"{place / 'zero_shot.json'} is missing; run the ablation again" in missing.stderr
    assert "1 run, 0 of them done before" in run(*command).stderr
    assert all((place / name).read_bytes() == before[name] for name in ("zero_shot.json", "open.json", "choice.json"))
    run("ablate", "report", str(out))
