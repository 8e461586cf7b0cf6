"""What every benchmark shares: naming the device, timing fairly, and reporting in one form."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

RESULTS = Path(__file__).parent / "results"

_REQUIRED = ("name", "device", "ratio", "baseline")


def device_name(*, accelerator: bool = True) -> str:
    """The GPU's name if the benchmark uses one, else the processor's and its number of cores."""
    if accelerator:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{models[0] if models else platform.processor() or platform.machine()}, {num_cores} cores"


def interleaved(rounds: int, **functions: Callable[[], object]) -> dict[str, list[float]]:
    """Times functions in turn, so that whatever else the machine does falls on all of them alike.

    Each is called once before, untimed. The order turns round from one round to the next.

    Returns:
        Seconds of every call, by name; the lists run in step, so that ratios can be taken within a round.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(rounds):
        order = list(functions.items())
        for name, function in order if round_number % 2 == 0 else reversed(order):
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def arguments(
    description: str | None,
    *,
    size: Sequence[str] = (),
    dtype: Sequence[str] = (),
    compile: bool = False,
    demo: bool = False,
    out: str = "",
    numbers: Mapping[str, tuple[float, str]] | None = None,
    profile: bool = False,
) -> argparse.Namespace:
    """The options of every benchmark, ``--quick`` and ``--save``, and those that some have.

    Args:
        description: Shown by ``--help``.
        size: Choices of ``--size``, the default first.
        dtype: Choices of ``--dtype``, the default first.
        compile: Whether there is ``--compile``.
        demo: Whether there is ``--demo``.
        out: Default of ``--out``, for those that leave runs behind and go on with them; empty has none.
        numbers: Options that take a number, by name: the default, and what it means.
        profile: Whether there is ``--profile``.

    Returns:
        The options, and as ``variant`` those that are not the default, in words.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller inputs and fewer rounds; a rough figure")
    parser.add_argument("--save", action="store_true", help="write the result to benchmarks/results")
    for name, choices in (("size", size), ("dtype", dtype)):
        if choices:
            parser.add_argument(f"--{name}", choices=choices, default=choices[0])
    if compile:
        parser.add_argument("--compile", action="store_true", help="with torch.compile")
    if demo:
        parser.add_argument("--demo", help="folder of a finished demo, for what needs trained weights")
    if out:
        parser.add_argument("--out", default=out, help="folder of the runs; what is done there is not done again")
    for name, (default, meaning) in (numbers or {}).items():
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{meaning} (default: {default:g})")
    if profile:
        parser.add_argument("--profile", action="store_true", help="also list the operations that take most time")
    options = parser.parse_args()
    given = [getattr(options, name) for name, choices in (("size", size), ("dtype", dtype)) if choices]
    defaults = [choices[0] for choices in (size, dtype) if choices]
    differing = [value for value, default in zip(given, defaults, strict=True) if value != default]
    options.variant = "_".join([*differing, *(["compiled"] if compile and options.compile else [])])
    return options


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, measured now."""
    import torch

    size = 1024 if device.type == "cpu" else 8192
    left, right = torch.randn(2, size, size, device=device).to(dtype)

    def product() -> None:
        left @ right
        synchronise()

    return 2 * size**3 / min(interleaved(5, product=product)["product"])


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def finish(result: dict[str, object], save: bool, *, variant: str = "") -> None:
    """Prints ``result`` as one line of JSON, the last of the run; with ``save`` also writes it, dated.

    Args:
        result: At least ``name``, ``device``, ``ratio`` (baseline over ours; above 1 is faster)
            and ``baseline`` (what it was compared with).
        save: Whether to write ``benchmarks/results/<name>_<YYYY-MM-DD>.json``.
        variant: Goes into the file's name after the benchmark's, so that one variant does not replace another.
    """
    missing = [key for key in _REQUIRED if key not in result]
    if missing:
        raise ValueError(f"the result lacks {', '.join(missing)}")
    dated = {**result, "date": datetime.date.today().isoformat()}
    if save:
        RESULTS.mkdir(exist_ok=True)
        words = [str(dated["name"]), variant, str(dated["date"])]
        path = RESULTS / f"{'_'.join(word for word in words if word)}.json"
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(dated, indent=2) + "\n")
        aside.replace(path)
        print(f"saved {path}")
    print(json.dumps(dated))
