"""Batches beyond memory: the gradient cache against the plain step.

    python benchmarks/gradient_cache.py [--quick] [--save] [--size base] [--dtype bfloat16]

Memory is the peak of what autograd holds for the backward pass, without weights and batch; it is exact and the same on
every machine. `ratio` is the largest batch whose peak with micro-batches fits in that of the plain step at 64, over 64.
The peak is the larger of two: one micro-batch through the network, whatever the batch, and the objective on all
embeddings, which grows with the square of the batch; beyond the batches of the table only the latter is measured.
Times are of forward and backward, in turn with the plain step's where the memory of the machine holds it. On a GPU what
is allocated at the peak, weights and all, is told too. The base size is for a GPU.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from clover.allocator import keep_freed_memory
from clover.data.collators import PretrainingBatch
from clover.distributed import ALONE
from clover.experiment.losses import network_output, pretraining_loss
from clover.modeling.initialise import new_model
from clover.modeling.model import CloverModel, Embeddings, PretrainingOutput
from clover.modeling.sizes import base, small
from clover.objectives.pretraining import (
    PretrainingObjectiveConfig,
    embedding_terms,
    pretraining_losses,
    weighted_sum,
)
from clover.training.gradient_cache import exact_gradients
from clover.training.parallel import caller_for
from clover.types import IGNORED
from common import arguments, device_name, finish, interleaved, synchronise
from saved_memory import SavedMemory

BASELINE = "the plain step: the whole batch through the network with one graph"
PLAIN_BATCH = 64
LENGTH = 20
OBJECTIVE = PretrainingObjectiveConfig()


class Steps:
    """A network in training, made-up batches, and one step of either kind."""

    def __init__(self, size: str, dtype: torch.dtype, micro_batch_size: int) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.size, self.micro_batch_size = size, micro_batch_size
        config = {"small": small, "base": lambda vocabulary_size: base()}[size](vocabulary_size=2000)
        self.network: CloverModel = new_model(config).to(self.device).train()
        self.autocast = torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)

    def batch(self, size: int) -> PretrainingBatch:
        """Random pixels and words, three masked words a sample."""
        generator = torch.Generator().manual_seed(0)
        pixels, cells = {"small": (64, 8), "base": (224, 7)}[self.size]
        token_ids = torch.randint(1000, 2000, (size, LENGTH), generator=generator)
        is_masked = torch.rand(size, LENGTH, generator=generator).argsort(dim=1) < 3
        batch = PretrainingBatch(
            clip=torch.randint(0, 256, (size, 8, pixels, pixels, 3), generator=generator, dtype=torch.uint8),
            is_masked_cell=torch.rand(size, cells, cells, generator=generator) < 0.3,
            token_ids=token_ids,
            masked_token_ids=token_ids.masked_fill(is_masked, 103),
            is_token=torch.ones(size, LENGTH, dtype=torch.bool),
            targets=token_ids.masked_fill(~is_masked, IGNORED),
        )
        return replace(
            batch, **{name: value.to(self.device) for name, value in vars(batch).items() if isinstance(value, Tensor)}
        )

    def forward(self, batch: PretrainingBatch) -> PretrainingOutput:
        """As the project trains."""
        with self.autocast:
            return network_output(self.network, batch)

    def outputs(self, batch: PretrainingBatch) -> dict[str, Tensor]:
        """The same, by name."""
        output = self.forward(batch)
        return vars(output.embeddings) | {"word_scores": output.word_scores}

    def plain(self, batch: PretrainingBatch) -> None:
        """The baseline."""
        self.network.zero_grad(set_to_none=True)
        masked_words = batch.targets[batch.targets != IGNORED]
        pretraining_losses(self.forward(batch), masked_words, OBJECTIVE).total.backward()
        synchronise()

    def cached(self, batch: PretrainingBatch) -> None:
        """With micro-batches."""
        self.network.zero_grad(set_to_none=True)
        loss = replace(pretraining_loss(self.network, OBJECTIVE), outputs=self.outputs)
        caller = caller_for(self.network, self.outputs, ALONE)
        exact_gradients(batch, loss, caller, micro_batch_size=self.micro_batch_size)
        synchronise()

    def peak(self, step: Callable[[PretrainingBatch], None], batch: PretrainingBatch) -> int:
        """Bytes."""
        there = [
            *self.network.parameters(),
            *self.network.buffers(),
            *(value for value in vars(batch).values() if isinstance(value, Tensor)),
        ]
        return peak_of(lambda: step(batch), there)

    def objective_peak(self, size: int) -> int:
        """Bytes of the objective alone on the embeddings of a batch."""
        width = self.network.config.embedding_width

        def run() -> None:
            made = {field.name: torch.randn(size, width, device=self.device) for field in fields(Embeddings)}
            embeddings = {name: value.requires_grad_() for name, value in made.items()}
            weighted_sum(embedding_terms(embeddings, OBJECTIVE)).total.backward()

        return peak_of(run, [])


def tensors_of(batch: PretrainingBatch) -> dict[str, Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}


def peak_of(run: Callable[[], None], besides: list[Tensor]) -> int:
    with SavedMemory(besides) as memory:
        run()
    return memory.peak


def free_bytes(device: torch.device) -> int:
    """Memory that is free now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    with open("/proc/meminfo") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


def largest_fitting(peak: Callable[[int], int], limit: int, *, coarse: bool) -> int:
    """The largest multiple of 64 (if coarse, the largest doubling of it) whose peak is within the limit."""
    size = PLAIN_BATCH
    while peak(2 * size) <= limit:
        size *= 2
    step = 0 if coarse else size // 2
    while step >= PLAIN_BATCH:
        size += step if peak(size + step) <= limit else 0
        step //= 2
    return size


def row_of(steps: Steps, size: int, plain_at_64: int, rounds: int) -> dict[str, object]:
    """Memory and time of one batch; the plain step's where twice its activations are free."""
    batch = steps.batch(size)
    fits = 2 * plain_at_64 * size / PLAIN_BATCH < free_bytes(steps.device)
    functions: dict[str, Callable[[], object]] = {"cached": lambda: steps.cached(batch)}
    if fits:
        functions["plain"] = lambda: steps.plain(batch)
    peaks = {name: steps.peak(getattr(steps, name), batch) for name in functions}
    seconds = interleaved(rounds, **functions)
    row: dict[str, object] = {"batch": size}
    for name in functions:
        row[f"{name}_mebibytes"] = round(peaks[name] / 2**20, 1)
        if steps.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            functions[name]()
            row[f"{name}_allocated_mebibytes"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
        row[f"{name}_milliseconds_a_sample"] = round(statistics.median(seconds[name]) / size * 1e3, 3)
    if fits:
        pairs = zip(seconds["cached"], seconds["plain"], strict=True)
        row["time_over_plain"] = round(statistics.median(cached / plain for cached, plain in pairs), 3)
    return row


def main() -> None:
    """Measure, print a table, and one line of JSON."""
    options = arguments(__doc__, size=("small", "base"), dtype=("float32", "bfloat16"))
    keep_freed_memory()
    steps = Steps(options.size, getattr(torch, options.dtype), 16)
    sizes, rounds = ((64, 256), 1) if options.quick else ((64, 128, 256, 512, 1024), 3)
    plain_at_64 = steps.peak(steps.plain, steps.batch(PLAIN_BATCH))
    one_micro_batch = steps.peak(steps.cached, steps.batch(steps.micro_batch_size))

    def cached_peak(size: int) -> int:
        return max(one_micro_batch, steps.objective_peak(size))

    largest = largest_fitting(cached_peak, plain_at_64, coarse=options.quick)
    rows = [row_of(steps, size, plain_at_64, rounds) for size in sizes]
    print(f"{options.size} size, {options.dtype}, micro-batches of {steps.micro_batch_size}")
    for row in rows:
        print("  " + "   ".join(f"{name} {value}" for name, value in row.items()))
        expected = cached_peak(int(str(row["batch"]))) / 2**20
        measured = float(str(row["cached_mebibytes"]))
        if abs(measured - expected) > 0.02 * expected:
            raise SystemExit(f"the peak is {measured} MiB; by its parts it should be {expected:.1f}")
    print(f"  the plain step at 64 holds {plain_at_64 / 2**20:.0f} MiB; a batch of {largest} fits in it")
    finish(
        {
            "name": "gradient_cache",
            "device": device_name(),
            "ratio": largest / PLAIN_BATCH,
            "ratio_of": "largest batch in the memory of the plain step at 64, over 64",
            "baseline": BASELINE,
            "quick": options.quick,
            "size": options.size,
            "dtype": options.dtype,
            "micro_batch_size": steps.micro_batch_size,
            "plain_mebibytes_at_64": round(plain_at_64 / 2**20, 1),
            "micro_batch_mebibytes": round(one_micro_batch / 2**20, 1),
            "objective_mebibytes_at_1024": round(steps.objective_peak(1024) / 2**20, 1),
            "rows": rows,
        },
        options.save,
        variant=options.variant,
    )


if __name__ == "__main__":
    main()
