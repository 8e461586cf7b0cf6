"""Many processes: measured on this machine, and simulated on 64 to 512 GPUs.

    python benchmarks/scaling.py measure [--quick] [--save] [--parallel fsdp]
    python benchmarks/scaling.py simulate [--save] [--device H100] [--utilisation 40] [--batch-size 1024 4096 32768]

`measure` trains the small model by `clover pretrain shapes`, alone and under torchrun with 2 and 4 gloo processes, the
same global batch for all. The processes share this machine's cores, so ideally a step takes as long with many as with
one; `ratio` is the one's time over that of two. Bytes are those that the loopback device carried, against those that
ring algorithms must send (`clover.planning.traffic`). `simulate` is arithmetic with random speeds, on paper: its
assumptions are printed, its code is `simulated_scaling.py`; nothing in it was run on a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open

from clover.commands.plan import PlanOptions, setting_of
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.planning.network import blocks_of
from clover.planning.plan import Setting, operations_of
from clover.planning.traffic import traffic_of
from clover.recipes.pretrain import shapes
from common import device_name, finish
from simulated_scaling import Simulated, Surroundings, simulate, with_devices

BATCH_SIZE = 64
NUM_VIDEOS = 400
RATIO_AT = 64
"""Devices of the simulation whose efficiency is its ratio."""
FIRST_COUNTED_STEP = 5
"""Steps before it are left out of time and bytes: threads start, buffers are made."""


def run(corpus: Path, out: Path, num_processes: int, num_steps: int, parallel: str) -> tuple[float, float]:
    """Train, and give the median seconds of a step and the bytes that all processes sent in one."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    words = [sys.executable, *(launcher if num_processes > 1 else []), "-m", "clover", "pretrain", "shapes"]
    options = {
        "data.corpus": corpus,
        "out": out,
        "video-warm-start.num-steps": 0,
        "text-warm-start.num-steps": 0,
        "training.num-steps": num_steps,
        "training.batch-size": BATCH_SIZE,
        "parallel": parallel,
    }
    words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = {"OMP_NUM_THREADS": str(max(1, num_cores // num_processes))}
    log, errors = out / "pretraining" / "log.jsonl", out.with_suffix(".stderr")
    moments: list[tuple[float, int]] = []
    with errors.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, env=os.environ | threads)
        while process.poll() is None:
            time.sleep(0.002)
            done = log.read_bytes().count(b"\n") if log.is_file() else 0
            moments += [(time.perf_counter(), loopback_bytes())] * max(0, done - len(moments))
    if process.returncode or len(moments) < num_steps:
        raise SystemExit(f"{' '.join(words)} failed:\n{errors.read_text()}")
    counted = moments[FIRST_COUNTED_STEP:num_steps]
    seconds = [after[0] - before[0] for before, after in itertools.pairwise(counted)]
    sent = (counted[-1][1] - counted[0][1]) / (len(counted) - 1)
    return statistics.median(seconds), sent


def loopback_bytes() -> int:
    """What the loopback device has sent so far; other programs' traffic is in it too."""
    table = Path("/proc/net/dev")
    lines = table.read_text().splitlines() if table.exists() else []
    return next((int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:")), 0)


def ideal_bytes(run_folder: Path, num_processes: int, parallel: str) -> float:
    """What ring algorithms send in a step, all processes together; the weights are those that a run has saved."""
    with safe_open(run_folder / "checkpoint" / "model.safetensors", "np") as weights:
        num_weights = sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    traffic = traffic_of(
        num_weights=num_weights,
        embedding_width=shapes().model.embedding_width,
        batch_size=BATCH_SIZE,
        num_devices=num_processes,
        parallel="fsdp" if parallel == "fsdp" else "ddp",
        num_micro_batches=1,
        uses_gradient_cache=False,
    )
    return num_processes * traffic.total


def measure(options: argparse.Namespace) -> None:
    """1, 2 and 4 processes in turn."""
    num_steps, rounds = (15, 1) if options.quick else (40, 3)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        write_corpus(corpus, ShapesConfig(num_videos=NUM_VIDEOS))
        figures: dict[int, list[tuple[float, float]]] = {1: [], 2: [], 4: []}
        for turn in range(rounds):
            for count, measured in figures.items():
                measured.append(run(corpus, Path(folder, f"run-{turn}-{count}"), count, num_steps, options.parallel))
        ideal = {count: ideal_bytes(Path(folder, f"run-0-{count}"), count, options.parallel) for count in figures}
    alone = statistics.median(seconds for seconds, _ in figures[1])
    print(f"small model, batch {BATCH_SIZE}, {options.parallel}")
    for count, measured in figures.items():
        seconds = statistics.median(each for each, _ in measured)
        sent = statistics.median(each for _, each in measured)
        rows.append(
            {
                "processes": count,
                "milliseconds_a_step": round(1e3 * seconds, 1),
                "time_over_ideal": round(seconds / alone, 3),
                "megabytes_a_step": round(sent / 1e6, 2),
                "ideal_megabytes_a_step": round(ideal[count] / 1e6, 2),
            }
        )
        print("  " + "   ".join(f"{name} {value}" for name, value in rows[-1].items()))
    finish(
        {
            "name": "scaling",
            "device": device_name(accelerator=False),
            "ratio": round(1 / float(str(rows[1]["time_over_ideal"])), 3),
            "ratio_of": "time of a step of one process over that of two on the same cores, same batch",
            "baseline": "one process, the same batch on the same cores",
            "quick": options.quick,
            "parallel": options.parallel,
            "rows": rows,
        },
        options.save,
        variant="" if options.parallel == "ddp" else options.parallel,
    )


def simulated_setting(options: argparse.Namespace) -> Setting:
    """The published run on one device; its utilisation from a measured speed where one is given."""
    plain = PlanOptions(
        recipe="webvid_cc3m",
        devices=f"1x{options.device}",
        utilisation=options.utilisation,
        machine_bandwidth=options.machine_bandwidth,
        parallel=options.parallel,
    )
    setting = setting_of(plain)
    if not options.samples_per_second:
        return setting
    operations = operations_of(
        blocks_of(setting.model, setting.video), uses_gradient_cache=False, recomputes_blocks=False
    )
    share = options.samples_per_second * operations.training / setting.device.flops
    return setting_of(PlanOptions(**(asdict(plain) | {"utilisation": 100 * share})))


def simulate_all(options: argparse.Namespace) -> None:
    """All numbers of devices and batches."""
    setting, around = simulated_setting(options), Surroundings()
    print(
        f"SIMULATED: {setting.device.name}, {100 * setting.utilisation:.0f} % of {setting.device.flops:.3g} FLOP/s, "
        f"{options.parallel};\n{setting.device.link_bandwidth / 1e9:g} GB/s within a machine of eight, "
        f"{setting.machine_bandwidth / 1e9:g} out of it, {around.latency * 1e6:.0f} us a hop; device times spread by "
        f"{100 * around.spread:.0f} %;\n{around.hours_between_failures:,.0f} hours between two failures of a device, "
        f"{around.restart_minutes:.0f} minutes to restart, {around.saving_seconds:.0f} s to save\n"
    )
    print(
        f"{'GPUs':>5} {'batch':>6} {'micro':>5} {'step ms':>9} {'slowest':>8} {'gather':>7} {'objective':>9} "
        f"{'reduce':>7} {'efficient':>9} {'days':>6} {'failing':>7} {'cores':>6} {'GiB':>5}"
    )
    rows = []
    for batch_size in options.batch_size:
        for count in (1, 8, 64, 128, 256, 512):
            each = simulate(with_devices(setting, count, batch_size), around)
            rows.append(asdict(each))
            print(row_of(each))
    print(
        "\nslowest, gather, objective, reduce: milliseconds of a step beyond the computation of a mean device;\n"
        "failing: days with savings and failures; cores: that decode, for each GPU; GiB: of the objective."
    )
    shown = next(row for row in rows if row["num_devices"] == RATIO_AT)
    finish(
        {
            "name": "scaling_simulation",
            "device": f"none: simulated {setting.device.name}",
            "ratio": round(float(str(shown["efficiency"])), 3),
            "ratio_of": f"efficiency of {RATIO_AT} devices at the batch of {options.batch_size[0]}",
            "baseline": "as many devices on which nothing is waited for",
            "utilisation": setting.utilisation,
            "surroundings": asdict(around),
            "machine_bandwidth": setting.machine_bandwidth,
            "rows": [{name: _rounded(value) for name, value in row.items()} for row in rows],
        },
        options.save,
    )


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def row_of(each: Simulated) -> str:
    """One line of the table."""
    return (
        f"{each.num_devices:>5} {each.batch_size:>6} {each.micro_batch_size:>5} {each.step * 1e3:>9,.1f} "
        f"{each.slowest * 1e3:>8.1f} {each.gather * 1e3:>7.1f} {each.objective * 1e3:>9.1f} {each.reduce * 1e3:>7.1f} "
        f"{each.efficiency:>9.1%} {each.days:>6.2f} {each.days_with_failures:>7.2f} "
        f"{each.decode_cores_per_device:>6.0f} {each.objective_gibibytes:>5.1f} {'' if each.fits else 'DOES NOT FIT'}"
    ).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("measure", "simulate"))
    parser.add_argument("--quick", action="store_true", help="measure: fewer steps and rounds; a rough figure")
    parser.add_argument("--save", action="store_true", help="write the result to benchmarks/results")
    parser.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp")
    parser.add_argument("--device", default="H100", help="simulate: a device of clover plan")
    parser.add_argument("--utilisation", type=float, default=40.0, help="simulate: per cent of the device's peak")
    parser.add_argument("--samples-per-second", type=float, help="simulate: measured with one device, 8-frame videos")
    parser.add_argument("--machine-bandwidth", type=float, default=50.0, help="simulate: GB/s out of a machine")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1024, 4096, 32768])
    options = parser.parse_args()
    (measure if options.part == "measure" else simulate_all)(options)


if __name__ == "__main__":
    main()
