"""Word pieces of a row of captions in the ablation, the padding to the longest of a batch included.

By this number `clover ablate` reckons what a step takes, and so how many steps equal compute allows
(`clover.recipes.ablation`). `ratio`: word pieces with padding over those without.

    python benchmarks/row_lengths.py --out ablation [--save]

`ablation` is a folder that `clover ablate` or `clover ablate prepare` has made.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from clover.ablation.folders import AblationFolder
from clover.ablation.settings import stored
from clover.data.shapes.corpus import read_pairs
from clover.data.text import Tokenizer
from clover.recipes.ablation import combined
from common import arguments, device_name, finish

NUM_BATCHES = 60


def main() -> None:
    options = arguments(__doc__, out="ablation")
    folder = AblationFolder(Path(options.out))
    texts = [pair.text for pair in read_pairs(folder.corpus, "train")]
    tokenizer = Tokenizer.load(folder.warm_checkpoint / "tokenizer.json")
    batch_size = min(stored(folder.path).batch_size, len(texts))
    draw = random.Random(0)
    padded, filled = [], []
    for _ in range(NUM_BATCHES):
        encoded = tokenizer.encode(draw.sample(texts, batch_size), max_length=combined().inputs.max_text_length)
        padded.append(encoded.token_ids.shape[1])
        filled.append(float(np.asarray(encoded.is_token).sum(axis=1).mean()))
    finish(
        {
            "name": "row_lengths",
            "device": device_name(accelerator=False),
            "baseline": "word pieces without padding",
            "batches": NUM_BATCHES,
            "batch_size": batch_size,
            "with_padding": {"mean": float(np.mean(padded)), "least": min(padded), "most": max(padded)},
            "without_padding": float(np.mean(filled)),
            "ratio": float(np.mean(padded) / np.mean(filled)),
        },
        options.save,
    )


if __name__ == "__main__":
    main()
