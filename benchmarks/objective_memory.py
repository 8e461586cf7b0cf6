"""What the objective of a large batch needs: in one piece, by blocks of rows, and a quarter of its rows.

    python benchmarks/objective_memory.py [--quick] [--save] [--batch-size 8192] [--width 256]

`pieces` is what one process does with a batch of more than 4,096: blocks of rows are compared with the whole batch one
after the other. `share` is what each of four processes does. Each is measured in a process of its own, by the peak of
its resident memory over that before; seconds are those of one forward and backward pass, one thread.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch

from clover.objectives.contrastive import row_blocks
from clover.objectives.pretraining import PretrainingObjectiveConfig, embedding_terms, weighted_sum
from common import arguments, device_name, finish

NUM_PROCESSES = 4


def measure(connection: Connection, batch_size: int, width: int, blocks: Sequence[slice | None]) -> None:
    """In a process of its own: MB of memory and seconds of the terms of some rows, and their sum."""
    torch.set_num_threads(1)
    generator, config = torch.Generator().manual_seed(0), PretrainingObjectiveConfig()
    embeddings = {
        name: torch.randn(batch_size, width, generator=generator).requires_grad_() for name in config.compared
    }
    before, start, total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), 0.0
    for rows in blocks:
        losses = weighted_sum(embedding_terms(embeddings, config, rows=rows))
        losses.total.backward()
        total += losses.total.item()
        del losses
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    connection.send({"megabytes": grown * 1024 / 1e6, "seconds": time.perf_counter() - start, "total": total})


def main() -> None:
    numbers = {"batch-size": (8192, "samples"), "width": (256, "of an embedding")}
    options = arguments(__doc__, numbers=numbers)
    batch_size = 4096 if options.quick else int(options.batch_size)
    whole, share = slice(0, batch_size), slice(0, batch_size // NUM_PROCESSES)
    most_pairs = batch_size**2 // 4 if options.quick else None
    cut = (most_pairs,) if most_pairs else ()
    cases = {
        "one_piece": [None],
        "pieces": row_blocks(whole, batch_size, *cut),
        "share": row_blocks(share, batch_size, *cut),
    }
    context, rows = multiprocessing.get_context("spawn"), {}
    for name, blocks in cases.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=measure, args=(theirs, batch_size, int(options.width), blocks))
        process.start()
        rows[name] = {"blocks": len(blocks)} | {key: round(value, 3) for key, value in ours.recv().items()}
        process.join()
        print(name, rows[name])
    finish(
        {
            "name": "objective_memory",
            "device": device_name(accelerator=False),
            "ratio": round(rows["one_piece"]["megabytes"] / rows["share"]["megabytes"], 2),
            "ratio_of": f"memory of the objective on each of {NUM_PROCESSES} processes, batch {batch_size}",
            "baseline": "every process compares the whole batch in one piece",
            "quick": options.quick,
            "width": int(options.width),
            "rows": rows,
        },
        options.save,
    )


if __name__ == "__main__":
    main()
