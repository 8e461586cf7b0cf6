"""One step of pre-training with the full objective: `CloverModel.pretraining_output` against separate calls.

    python benchmarks/pretraining_step.py [--quick] [--save] [--size base] [--dtype bfloat16] [--compile]

Videos are files of the generated corpus, made here. The baseline is the same mathematics on the same weights with one
call per encoder and sample (complete video, masked video, complete text, masked text, each fusion) and the masked-word
head on every place of the text. Both give the same losses. Shares are of the parts' sum, each part timed forward and
backward by itself; `data` is what one batch costs when nothing hides it.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from clover.allocator import keep_freed_memory
from clover.data.collators import PretrainingBatch
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.experiment.configs import PretrainingExperiment
from clover.experiment.pretraining import Pretraining, network_output
from clover.modeling.model import CloverModel, Embeddings, PretrainingOutput
from clover.modeling.pixels import normalise
from clover.objectives.pretraining import PretrainingObjectiveConfig, pretraining_losses
from clover.recipes.pretrain import base_size, shapes
from clover.training.optimizer import Optimizer
from clover.types import IGNORED
from common import arguments, device_name, finish, interleaved, matmul_rate, synchronise

Network = Callable[[CloverModel, PretrainingBatch], PretrainingOutput]


def separate_calls(network: CloverModel, batch: PretrainingBatch) -> PretrainingOutput:
    """The baseline."""
    video, masked_video = network.video_tokens(batch.clip), network.video_tokens(batch.clip, batch.is_masked_cell)
    text = network.text_encoder(batch.token_ids, batch.is_token)
    masked_text = network.text_encoder(batch.masked_token_ids, batch.is_token)
    for_video = network.fuse(masked_video, text, batch.is_token)
    for_text = network.fuse(video, masked_text, batch.is_token)
    embeddings = Embeddings(
        video=network.embed_video(video),
        text=network.embed_text(text),
        masked_video=network.embed_video(masked_video),
        masked_text=network.embed_text(masked_text),
        fused_for_video=network.fused_video_projection(for_video.cls),
        fused_for_text=network.fused_text_projection(for_text.cls),
    )
    scores = network.masked_word_head(for_text.text)
    return PretrainingOutput(embeddings=embeddings, word_scores=scores[batch.targets != IGNORED])


class Step:
    """A network, a batch, and one step of either kind."""

    def __init__(self, run: Pretraining, batch: PretrainingBatch, device: torch.device, dtype: torch.dtype) -> None:
        self.network = run.network.to(device).train()
        fields = {name: value.to(device) for name, value in vars(batch).items() if isinstance(value, Tensor)}
        self.batch = replace(batch, **fields)
        self.objective: PretrainingObjectiveConfig = run.experiment.objective
        self.optimizer = Optimizer(self.network, run.experiment.training.optimizer, num_steps=1_000_000)
        self.autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)

    def loss(self, forward: Network) -> Tensor:
        """The objective's sum."""
        targets = self.batch.targets
        with self.autocast:
            output = forward(self.network, self.batch)
        return pretraining_losses(output, targets[targets != IGNORED], self.objective).total

    def run(self, forward: Network) -> None:
        """Forward, backward, update."""
        self.optimizer.update(self.loss(forward), 0)
        synchronise()

    def parts(self) -> dict[str, Callable[[], object]]:
        """Forward and backward of every part by itself, and the update of the weights."""
        network, batch = self.network, self.batch
        is_token, is_masked_word = batch.is_token.repeat(2, 1), batch.targets != IGNORED

        def video() -> Tensor:
            patches = network.video_encoder.patch_embedding(normalise(batch.clip, network.config.pixels))
            masked = network.video_encoder.replace_masked(patches, batch.is_masked_cell)
            return network.video_encoder.encode_patches(torch.cat([masked, patches]))

        def text() -> Tensor:
            return network.text_encoder(torch.cat([batch.token_ids, batch.masked_token_ids]), is_token)

        with torch.no_grad(), self.autocast:
            video_tokens, text_tokens = video(), text()
        leaves = [video_tokens.requires_grad_(), text_tokens.requires_grad_()]

        def fusion() -> Tensor:
            fused = network.fuse(*leaves, is_token)
            return fused.cls.square().mean() + fused.text.square().mean()

        def objective() -> Tensor:
            masked_video, whole_video = network.embed_video(leaves[0]).chunk(2)
            whole_text, masked_text = network.embed_text(leaves[1]).chunk(2)
            first, second = text_tokens[:, 0].chunk(2)
            embeddings = Embeddings(
                video=whole_video,
                text=whole_text,
                masked_video=masked_video,
                masked_text=masked_text,
                fused_for_video=network.fused_video_projection(first),
                fused_for_text=network.fused_text_projection(second),
            )
            scores = network.masked_word_head(leaves[1].chunk(2)[1][is_masked_word])
            output = PretrainingOutput(embeddings=embeddings, word_scores=scores)
            return pretraining_losses(output, batch.targets[is_masked_word], self.objective).total

        def trained(forward: Callable[[], Tensor]) -> Callable[[], None]:
            def run() -> None:
                network.zero_grad(set_to_none=True)
                with self.autocast:
                    value = forward()
                (value if value.ndim == 0 else value.float().square().mean()).backward()
                synchronise()

            return run

        def update() -> None:
            for weight in self.optimizer.parameters:  # the other parts leave gradients of their own weights only
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            torch.nn.utils.clip_grad_norm_(self.optimizer.parameters, 15.0)
            self.optimizer.adam.step()
            synchronise()

        parts = {"video": video, "text": text, "fusion": fusion, "objective": objective}
        return {name: trained(forward) for name, forward in parts.items()} | {"update": update}


def experiment_of(size: str, corpus: Path) -> PretrainingExperiment:
    """The shipped recipe of a size, on a corpus."""
    recipe = {"small": shapes, "base": base_size}[size]()
    return replace(recipe, data=replace(recipe.data, corpus=str(corpus)))


def main() -> None:
    """Measure, print a table, and one line of JSON."""
    options = arguments(__doc__, size=("small", "base"), dtype=("float32", "bfloat16"), compile=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    keep_freed_memory()
    batch_size = {"small": 64, "base": 32 if device.type == "cuda" else 2}[options.size]
    rounds = 3 if options.quick else 9
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder, "corpus"), ShapesConfig(num_videos=batch_size + 40))
        run = Pretraining(experiment_of(options.size, Path(folder, "corpus")), Path(folder, "run"), quiet=True)
        collate, generator = run.collator(), np.random.default_rng(0)
        batch = collate(run.data.samples.sources[0][:batch_size], generator)
        data = interleaved(rounds, data=lambda: collate(run.data.samples.sources[0][:batch_size], generator))["data"]
    step = Step(run, batch, device, getattr(torch, options.dtype))
    if options.compile:
        step.network.video_encoder.compile(dynamic=False)
        step.network.text_encoder.compile(dynamic=False)
        step.network.fusion_encoder.compile(dynamic=False)
    step.network.eval()
    with torch.no_grad():
        difference = abs(step.loss(network_output) - step.loss(separate_calls)) / step.loss(network_output)
    assert difference < (1e-5 if options.dtype == "float32" else 0.02), f"the losses differ by {difference:.2g}"
    step.network.train()
    with FlopCounterMode(display=False) as counter:
        step.loss(network_output).backward()
    flops, rate = counter.get_total_flops(), matmul_rate(device, getattr(torch, options.dtype))
    seconds = interleaved(rounds, ours=lambda: step.run(network_output), separate=lambda: step.run(separate_calls))
    parts = interleaved(rounds, **step.parts()) | {"data": data}
    ratio = statistics.median(theirs / mine for theirs, mine in zip(seconds["separate"], seconds["ours"], strict=True))
    medians = {name: statistics.median(values) for name, values in parts.items()}
    shares = {name: value / sum(medians.values()) for name, value in medians.items()}
    median = statistics.median(seconds["ours"])
    print(f"{options.size} size, batch {batch_size}, {options.dtype}{', compiled' if options.compile else ''}")
    print(f"  one step           {median * 1e3:8.1f} ms   {batch_size / median:.1f} samples/s")
    print(f"  separate calls     {statistics.median(seconds['separate']) * 1e3:8.1f} ms   ratio {ratio:.2f}")
    for name, value in medians.items():
        print(f"  {name:18} {value * 1e3:8.1f} ms   {100 * shares[name]:.0f} %")
    print(
        f"  {flops / 1e9:.1f} GFLOP a step, {flops / median / rate:.2f} of the matrix-product rate measured in the run"
    )
    finish(
        {
            "name": "pretraining_step",
            "device": device_name(),
            "ratio": round(ratio, 3),
            "baseline": "one call per encoder and sample, masked-word head on every place; same weights and losses",
            "size": options.size,
            "batch_size": batch_size,
            "dtype": options.dtype,
            "compiled": options.compile,
            "samples_per_second": round(batch_size / median, 2),
            "gigaflop_per_step": round(flops / 1e9, 2),
            "share_of_matmul_rate": round(flops / median / rate, 3),
            "shares": {name: round(share, 3) for name, share in shares.items()},
        },
        options.save,
        variant=options.variant,
    )


if __name__ == "__main__":
    main()
