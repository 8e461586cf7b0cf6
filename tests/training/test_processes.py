"""One, two and four processes, started by torchrun: the same losses, gradients and weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from joined_step import OBJECTIVES, SIZE, cases
from safetensors.torch import load_file
from test_gradient_cache import distances, made_batch, made_network, plain_step

from golden import Golden, compare

HERE = Path(__file__).parent
GOLDEN = sorted((HERE.parent / "golden").glob("loss_gather_*.safetensors"))


def torchrun(num_processes, *arguments):
    paths = [str(HERE), str(HERE.parent / "parity"), str(HERE.parent.parent / "benchmarks"), *sys.path]
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    for num_processes in (2, 1, 4):  # two begin the runs that the others resume
        torchrun(num_processes, HERE / "joined_step.py", folder, *GOLDEN)
    return folder


@pytest.fixture(scope="module")
def expected():
    """The plain step on the joined batch."""
    found = {}
    for name, objective in OBJECTIVES.items():
        network = made_network(dtype=torch.float64)
        losses, gradients = plain_step(network, made_batch(SIZE), objective)
        found[name] = losses, {weight: value for weight, value in gradients.items() if value is not None}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_uneven_shares_give_the_gradient_of_the_joined_batch(out, expected, num_processes):
    tensors = load_file(out / f"gradients-{num_processes}.safetensors")
    totals = json.loads((out / f"losses-{num_processes}.json").read_text())
    for key, name, _ in (case for parallel in ("ddp", "fsdp") for case in cases(parallel)):
        losses, gradients = expected[name]
        ours = {each.removeprefix(f"{key}:"): value for each, value in tensors.items() if each.startswith(f"{key}:")}
        assert ours.keys() == gradients.keys(), key
        assert distances(ours, gradients)[0] < 1e-12, key
        values = {term: value.item() for term, value in losses.terms.items()} | {"total": losses.total.item()}
        assert totals[key] == pytest.approx(values, rel=1e-10)
    assert totals["without words"]["masked_words"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("num_processes", [1, 4])
def test_another_number_of_processes_resumes(out, parallel, num_processes):
    begun = load_file(out / f"{parallel}-weights-2.safetensors")
    resumed = load_file(out / f"{parallel}-weights-{num_processes}.safetensors")
    assert begun.keys() == resumed.keys()
    assert distances(resumed, begun)[0] < 1e-10
    fresh = made_network(dtype=torch.float64).state_dict()
    assert distances(begun, fresh)[0] > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_authors_processes(out, path):
    golden = Golden.load(path)
    ours = {}
    for rank in range(len(golden.config["rows_per_rank"])):
        ours |= load_file(out / f"{golden.name}-{rank}.safetensors")
    assert "rank1.total.V_e" in golden.group("grad.")
    for group in ("out.", "grad."):
        compare(golden, group, {name: ours[group + name] for name in golden.group(group)})
