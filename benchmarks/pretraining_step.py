"""One step of pre-training with the full objective, each of our changes by itself, against a plain eager program.

    python benchmarks/pretraining_step.py [--quick] [--save] [--size base] [--dtype bfloat16] [--compile]
                                          [--batch-size N] [--profile]

On a GPU: `--size base --dtype bfloat16 --compile` (8 frames of 224 pixels). Every row is a whole step (forward,
backward, clipping, update) of the same weights on the same made-up batch, with the same loss. The first is the plain
program in float32: one call per encoder and sample, explicit softmax in the video encoder, the masked-word head on
every place; `ratio` is its time over that of our best row with one pass. Utilisation is by the operations that the
model needs (three times those of one forward pass, nothing that is computed twice), over the rate of matrix products
measured in this run in the row's number format. Memory is the peak that a GPU's allocator saw, weights and all; on a
processor, of what autograd holds.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from clover.allocator import keep_freed_memory
from clover.data.collators import PretrainingBatch
from clover.data.text_lengths import cut_to_longest, longest_first
from clover.distributed import ALONE
from clover.experiment.losses import network_output, pretraining_loss
from clover.modeling.initialise import new_model
from clover.modeling.model import CloverModel, PretrainingOutput
from clover.modeling.pixels import normalise
from clover.modeling.sizes import base, small, tiny
from clover.objectives.pretraining import PretrainingObjectiveConfig, pretraining_losses
from clover.training.compute import Compute, ComputeConfig
from clover.training.devices import choose_device, to_device
from clover.training.gradient_cache import exact_gradients
from clover.training.optimizer import Optimizer, OptimizerConfig
from clover.training.parallel import caller_for
from clover.types import IGNORED
from common import arguments, device_name, finish, interleaved, matmul_rate, synchronise
from plain_step import made_batch, plain_calls, separate_calls
from saved_memory import SavedMemory

Network = Callable[[CloverModel, PretrainingBatch], PretrainingOutput]

OBJECTIVE = PretrainingObjectiveConfig()
NUM_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is measured."""

    network: CloverModel
    pixels: int
    longest: int
    """Word pieces of the longest text."""
    batch_size: int


def size_of(options: argparse.Namespace, device: torch.device) -> Size:
    """The network, with fresh weights, and its inputs."""
    on_gpu = device.type == "cuda"
    config, pixels, longest, batch_size = {
        "tiny": (tiny(vocabulary_size=60), 32, 9, 4),
        "small": (small(vocabulary_size=2000), 64, 20, 64),
        "base": (base(), 224, 30, 16 if on_gpu else 1),
    }[options.size]
    network = new_model(config).to(device).train()
    return Size(network=network, pixels=pixels, longest=longest, batch_size=int(options.batch_size) or batch_size)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to do a step."""

    name: str
    forward: Network
    compute: Compute
    micro_batch_size: int = 0
    """With which the gradient cache does the step; 0 does without it."""


def rows_of(options: argparse.Namespace, device: torch.device, batch_size: int) -> list[Row]:
    """The plain program first, then one change after the other."""
    computes: dict[ComputeConfig, Compute] = {}

    def compute(**settings: Any) -> Compute:
        config = ComputeConfig(device=str(device), **settings)
        return computes.setdefault(config, Compute(config))

    dtype, recomputed = options.dtype, {"checkpoints_activations": True}
    best: dict[str, Any] = {"precision": dtype, "compiles": options.compile}
    rows = [Row(name="plain, float32", forward=plain_calls, compute=compute())]
    if device.type == "cuda":
        rows.append(Row(name="plain, tf32", forward=plain_calls, compute=compute(precision="tf32")))
    if dtype != "float32":
        rows.append(Row(name=f"plain, {dtype}", forward=plain_calls, compute=compute(precision=dtype)))
    rows.append(Row(name="our encoders", forward=separate_calls, compute=compute(precision=dtype)))
    rows.append(Row(name="one call an encoder", forward=network_output, compute=compute(precision=dtype)))
    if options.compile:
        rows.append(Row(name="compiled", forward=network_output, compute=compute(**best)))
    rows.append(Row(name="activations recomputed", forward=network_output, compute=compute(**best, **recomputed)))
    quarter = max(1, batch_size // 4)
    cached = Row(name="micro-batches", forward=network_output, compute=compute(**best), micro_batch_size=quarter)
    return [*rows, cached]


class Step:
    """A network, a batch, and one step of any kind."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self.network, self.device = size.network, device
        batch = made_batch(
            size.network, size.batch_size, num_frames=NUM_FRAMES, pixels=size.pixels, longest=size.longest
        )
        self.batch = to_device(batch, device)
        self.optimizer = Optimizer(self.network, OptimizerConfig(learning_rate=1e-9), num_steps=1_000_000)

    def loss(self, row: Row) -> Tensor:
        """The objective's sum."""
        targets = self.batch.targets
        with row.compute.autocast():
            output = row.forward(self.network, self.batch)
        return pretraining_losses(output, targets[targets != IGNORED], OBJECTIVE).total

    def run(self, row: Row) -> None:
        """Forward, backward, update."""
        row.compute.prepare(self.network)
        torch.backends.cuda.matmul.allow_tf32 = row.compute.config.precision == "tf32"
        self.optimizer.clear()
        if row.micro_batch_size:
            loss = pretraining_loss(self.network, OBJECTIVE)
            outputs = row.compute.in_its_format(lambda part: loss.outputs(cut_to_longest(part)))
            caller = caller_for(self.network, outputs, ALONE)
            exact_gradients(longest_first(self.batch), loss, caller, micro_batch_size=row.micro_batch_size)
        else:
            self.loss(row).backward()
        self.optimizer.clip()
        self.optimizer.update(0)
        synchronise()

    def peak(self, row: Row) -> int:
        """Bytes."""
        if self.device.type == "cuda":
            self.optimizer.clear()
            torch.cuda.reset_peak_memory_stats()
            self.run(row)
            return torch.cuda.max_memory_allocated()
        there = [*self.network.parameters(), *self.network.buffers(), *vars(self.batch).values()]
        with SavedMemory([each for each in there if isinstance(each, Tensor)]) as memory:
            self.run(row)
        return memory.peak

    def operations(self, run: Callable[[], object]) -> int:
        """Of a forward pass, attention written out as matrix products."""
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    def parts(self, row: Row) -> dict[str, Callable[[], Tensor]]:
        """Forward passes of the encoders by themselves, in training."""
        network, batch = self.network, self.batch
        row.compute.prepare(network)
        is_token = batch.is_token.repeat(2, 1)

        def video() -> Tensor:
            patches = network.video_encoder.patch_embedding(normalise(batch.clip, network.config.pixels))
            masked = network.video_encoder.replace_masked(patches, batch.is_masked_cell)
            return network.video_encoder.encode_patches(torch.cat([masked, patches]))

        def text() -> Tensor:
            tokens: Tensor = network.text_encoder(torch.cat([batch.token_ids, batch.masked_token_ids]), is_token)
            return tokens

        with torch.no_grad(), row.compute.autocast():
            leaves = [video(), text()]

        def fusion() -> Tensor:
            fused = network.fuse(
                *(leaf.requires_grad_(torch.is_grad_enabled()) for leaf in leaves), is_token, gives_video=False
            )
            return fused.text

        return {"video": video, "text": text, "fusion": fusion}

    def trained(self, row: Row, forward: Callable[[], Tensor]) -> None:
        """Forward and backward of a part."""
        self.network.zero_grad(set_to_none=True)
        with row.compute.autocast():
            value = forward()
        value.float().square().mean().backward()
        synchronise()


def measured(step: Step, rows: list[Row], rates: dict[str, float], rounds: int) -> list[dict[str, object]]:
    """Seconds, speed, utilisation and memory of every row; those that do not fit say so."""
    size = len(step.batch.clip)
    needed = 3 * step.operations(lambda: network_output(step.network, step.batch))
    fitting, peaks = [], {}
    for row in rows:
        try:
            step.run(row)  # compiled here, so that it is not in the peak
            peaks[row.name] = step.peak(row)
            fitting.append(row)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
    seconds = interleaved(rounds, **{row.name: partial(step.run, row) for row in fitting})
    table: list[dict[str, object]] = []
    for row in rows:
        if row not in fitting:
            table.append({"name": row.name, "milliseconds": None, "remark": "does not fit"})
            continue
        median = statistics.median(seconds[row.name])
        table.append(
            {
                "name": row.name,
                "milliseconds": round(median * 1e3, 2),
                "samples_per_second": round(size / median, 2),
                "utilisation": round(needed / median / rates[row.compute.config.precision], 3),
                "mebibytes": round(peaks[row.name] / 2**20, 1),
            }
        )
    return table


def measured_parts(step: Step, row: Row, rates: dict[str, float], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds and utilisation of the encoders, each forward and backward by itself."""
    parts = step.parts(row)
    seconds = interleaved(rounds, **{name: partial(step.trained, row, part) for name, part in parts.items()})
    rate = rates[row.compute.config.precision]
    found = {}
    for name, part in parts.items():
        median = statistics.median(seconds[name])
        needed = 3 * step.operations(part)
        found[name] = {"milliseconds": round(median * 1e3, 2), "utilisation": round(needed / median / rate, 3)}
    return found


def show_profile(step: Step, row: Row) -> None:
    """The operations that take most time."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if step.device.type == "cuda" else [])]
    step.run(row)
    with profile(activities=kinds) as seen:
        for _ in range(3):
            step.run(row)
    order = "self_cuda_time_total" if step.device.type == "cuda" else "self_cpu_time_total"
    print(seen.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=60))


def check_losses(step: Step, rows: list[Row]) -> None:
    """Every row has the same loss, up to its number format."""
    step.network.eval()
    with torch.no_grad():
        values = {row.name: step.loss(row).item() for row in rows}
    step.network.train()
    for row in rows:
        gap = abs(values[row.name] / values[rows[0].name] - 1)
        if gap > (1e-5 if row.compute.config.precision == "float32" else 0.02):
            raise SystemExit(f"{row.name}: the loss differs from the plain one by {gap:.2g}")


def main() -> None:
    """Measure, print a table, and one line of JSON."""
    options = arguments(
        __doc__,
        size=("small", "base", "tiny"),
        dtype=("float32", "bfloat16"),
        compile=True,
        profile=True,
        numbers={"batch-size": (0, "samples a step; 0 takes what suits the size")},
    )
    device = choose_device("auto")
    keep_freed_memory()
    size = size_of(options, device)
    rows = rows_of(options, device, size.batch_size)
    step = Step(size, device)
    rounds = 3 if options.quick else 9
    check_losses(step, rows)
    formats = {row.compute.config.precision for row in rows}
    rates = {name: rate_of(device, name) for name in sorted(formats)}
    table = measured(step, rows, rates, rounds)
    one_pass = [row for row in rows if row.name in ("one call an encoder", "compiled")]
    times = {str(row["name"]): row["milliseconds"] for row in table}
    best = min(one_pass, key=lambda row: float(str(times[row.name] or "inf")))
    parts = measured_parts(step, best, rates, rounds)
    print(f"{options.size} size, batch {size.batch_size}; rates: " + rates_in_words(rates))
    for row in table:
        print("  " + "   ".join(f"{value:24}" if key == "name" else f"{key} {value}" for key, value in row.items()))
    for name, part in parts.items():
        print(f"  {name:24}   " + "   ".join(f"{key} {value}" for key, value in part.items()))
    if options.profile:
        show_profile(step, best)
    plain, ours = times[rows[0].name], times[best.name]
    finish(
        {
            "name": "pretraining_step",
            "device": device_name(),
            "ratio": round(float(str(plain)) / float(str(ours)), 3) if plain and ours else None,
            "baseline": "plain eager program in float32: separate calls, explicit softmax, every place's word scores",
            "best": best.name,
            "quick": options.quick,
            "size": options.size,
            "batch_size": size.batch_size,
            "dtype": options.dtype,
            "teraflop_per_second": {name: round(rate / 1e12, 3) for name, rate in rates.items()},
            "rows": table,
            "parts": parts,
        },
        options.save,
        variant=options.variant,
    )


def rate_of(device: torch.device, precision: str) -> float:
    """Of matrix products, in operations a second."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    return matmul_rate(device, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def rates_in_words(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate / 1e12:.2f} TFLOP/s" for name, rate in rates.items())


if __name__ == "__main__":
    main()
