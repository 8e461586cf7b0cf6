"""What 8 bits do to an exported checkpoint: bytes, cosines and retrieval; and how exact the graphs are before.

    python benchmarks/quantised_export.py [--demo demo] [--size small|base] [--quick] [--save]

With `--demo` the demo's pre-trained model is exported, and searched for the test videos of its corpus; without, a fresh
model of a size, whose retrieval means nothing and is not measured. `signed`: the same with signed weights, which
overflow on processors without VNNI. `ratio`: bytes of the three graphs before and after.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.shapes.corpus import read_pairs
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.evaluation.retrieval import one_text_per_video
from clover.export.checking import check, made_clips
from clover.export.graphs import Graph, graphs_of
from clover.export.onnx_files import OnnxModel, require_onnx, write_onnx
from clover.export.quantised import SUFFIX, measure, measure_retrieval, quantise
from clover.modeling.initialise import new_model
from clover.modeling.sizes import base, small, tiny
from clover.pipeline import Clover
from clover.types import Pair
from common import arguments, device_name, finish

TEXTS = ("a red ball moves left", "two people talk", "a dog runs over the grass", "someone cuts an onion")
NUM_CLIPS = 12
MOST_VIDEOS = 500


def fresh(size: str) -> Clover:
    """A model of new weights, with words of the texts above; Base has its published vocabulary, mostly unused."""
    tokenizer = Tokenizer.train(TEXTS, 100)
    num_words = tokenizer.vocabulary_size
    model = base() if size == "base" else {"small": small, "tiny": tiny}[size](vocabulary_size=num_words)
    pixels = {"base": 224, "small": 64, "tiny": 32}[size]
    frames = TransformConfig(size=pixels, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=16)
    return Clover(new_model(model, seed=0), tokenizer, CloverConfig(model=model, inputs=inputs))


def in_8_bits(
    clover: Clover, graphs: Sequence[Graph], folder: Path, pairs: Sequence[Pair], *, is_signed: bool
) -> dict[str, Any]:
    """What becomes of the files and of what they compute, as `clover export --int8` writes it to config.json."""
    sources = [folder / f"{graph.name}.onnx" for graph in graphs]
    targets = [folder / f"{graph.name}{SUFFIX}.onnx" for graph in graphs]
    for source, target in zip(sources, targets, strict=True):
        quantise(source, target, is_signed=is_signed)
    sizes = sum(path.stat().st_size for path in sources), sum(path.stat().st_size for path in targets)
    before, after = OnnxModel(folder), OnnxModel(folder, suffix=SUFFIX)
    if pairs:
        cost = measure_retrieval(clover, before.run, after.run, pairs, sizes=sizes)
    else:
        clips = made_clips(clover, NUM_CLIPS)
        cost = measure(clover, before.run, after.run, sizes=sizes, clips=clips, texts=TEXTS)
    print(f"{'signed' if is_signed else 'unsigned'} weights", *cost.lines, sep="\n  ")
    return cost.plain


def main() -> None:
    options = arguments(__doc__, size=("small", "base"), demo=True)
    require_onnx()
    pairs: list[Pair] = []
    if options.demo:
        clover = Clover.from_pretrained(Path(options.demo) / "pretraining" / "checkpoint")
        pairs = one_text_per_video(read_pairs(Path(options.demo) / "corpus", "test"))
        pairs = pairs[: 20 if options.quick else MOST_VIDEOS]
    else:
        clover = fresh("tiny" if options.quick else options.size)
    graphs, start = graphs_of(clover), time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        for graph in graphs:
            write_onnx(graph, Path(place) / f"{graph.name}.onnx")
        seconds = time.perf_counter() - start
        worst = check(clover, graphs, OnnxModel(Path(place)).run, made_clips(clover, 6))
        print(f"written in {seconds:.0f} s; largest difference from the checkpoint: {max(worst.values()):.1e}")
        found = {
            name: in_8_bits(clover, graphs, Path(place), pairs, is_signed=name == "signed")
            for name in ("unsigned", "signed")
        }
    finish(
        {
            "name": "quantised_export",
            "device": device_name(accelerator=False),
            "ratio": round(found["unsigned"]["bytes_before"] / found["unsigned"]["bytes_after"], 2),
            "ratio_of": "bytes of the three graphs",
            "baseline": "the same graphs with weights of 32 bits",
            "model": "the demo's" if options.demo else f"fresh, {'tiny' if options.quick else options.size}",
            "num_weights": sum(weight.numel() for weight in clover.network.parameters()),
            "seconds_to_write": round(seconds, 1),
            "largest_differences": {name: float(f"{value:.2g}") for name, value in worst.items()},
            **found,
        },
        options.save,
        variant=options.variant,
    )


if __name__ == "__main__":
    main()
