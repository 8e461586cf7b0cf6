"""Our Video Swin against a plain reference of the same mathematics: explicit softmax, channels first between stages.

    python benchmarks/video_encoder.py [--quick] [--save] [--dtype bfloat16] [--compile] [--demo FOLDER]

Prints milliseconds, the ratio, and the share of the machine's matrix-product rate that is reached. `ratio` is the
reference's time over ours, forward plus backward (forward alone in `ratio_forward`), of the larger size that ran.
With `--dtype bfloat16` ours alone runs in that format and only forward; `--demo` adds what it does to the embeddings
and ranks of the model that `clover demo` left.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from clover.data.shapes.corpus import read_pairs
from clover.evaluation.metrics import ranks
from clover.evaluation.retrieval import one_text_per_video
from clover.modeling.initialise import initialise
from clover.modeling.sizes import base, small
from clover.modeling.video_swin import SwinBlock, VideoEncoder
from clover.modeling.windows import Size, blocked_pairs, clipped_position_index, split_windows
from clover.pipeline import Clover
from common import arguments, device_name, finish, interleaved, matmul_rate, synchronise


def join_windows(windows: Tensor, window: Size, size: Size) -> Tensor:
    """The inverse of `split_windows`."""
    (t, h, w), (wt, wh, ww) = size, window
    blocks = windows.view(len(windows), t // wt, h // wh, w // ww, wt, wh, ww, -1)
    return blocks.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(len(windows), t, h, w, -1)


def plain_attention(block: SwinBlock, tokens: Tensor) -> Tensor:
    """Window attention as most public versions write it, on the same weights."""
    attention = block.attention
    extents, full = tuple(tokens.shape[1:4]), attention.config.window
    window = tuple(min(pair) for pair in zip(extents, full, strict=True))
    shift = tuple(w // 2 if attention.is_shifted and e > w else 0 for e, w in zip(extents, full, strict=True))
    pad = [-e % w for e, w in zip(extents, window, strict=True)]
    tokens = F.pad(tokens, (0, 0, 0, pad[2], 0, pad[1], 0, pad[0]))
    size = tuple(tokens.shape[1:4])
    if any(shift):
        tokens = tokens.roll([-s for s in shift], dims=(1, 2, 3))
    windows = split_windows(tokens, window).flatten(0, 1)
    heads = attention.num_heads
    qkv = attention.query_key_value(windows).reshape(len(windows), windows.shape[1], 3, heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    index = clipped_position_index(full, window, attention.config.clipped_window_bias, tokens.device)
    bias = attention.position_bias[index.reshape(-1)].view(*index.shape, -1).permute(2, 0, 1).contiguous()
    scores = scores + bias[None]
    if any(shift):
        blocked = blocked_pairs(size, window, shift).to(scores.device).to(scores.dtype) * -100.0
        scores = scores.view(-1, len(blocked), *scores.shape[1:]) + blocked[None, :, None]
        scores = scores.flatten(0, 1)
    mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(windows.shape)
    mixed = attention.output(mixed).view(tokens.shape[0], -1, *mixed.shape[1:])
    tokens = join_windows(mixed, window, size)
    if any(shift):
        tokens = tokens.roll(shift, dims=(1, 2, 3))
    return tokens[:, : extents[0], : extents[1], : extents[2]].contiguous()


def plain_forward(encoder: VideoEncoder, clip: Tensor, is_masked_cell: Tensor | None = None) -> Tensor:
    """The whole encoder, with a convolution for patches and channels first between stages; without stochastic depth."""
    embedding = encoder.patch_embedding
    patches = F.conv3d(clip.permute(0, 4, 1, 2, 3), embedding.weight, embedding.bias, stride=embedding.patch_size)
    tokens = embedding.norm(patches.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(patches.shape)
    if is_masked_cell is not None:
        rows, columns = (e // cell for e, cell in zip(tokens.shape[3:], is_masked_cell.shape[1:], strict=True))
        is_masked = is_masked_cell.repeat_interleave(rows, 1).repeat_interleave(columns, 2)[:, None, None]
        tokens = torch.where(is_masked, encoder.mask_token.to(tokens.dtype).view(-1, 1, 1, 1), tokens)
    for stage, blocks in enumerate(encoder.stages):
        channels_last = tokens.permute(0, 2, 3, 4, 1)
        if stage:
            channels_last = encoder.mergings[stage - 1](channels_last)
        for block in blocks:
            channels_last = channels_last + plain_attention(block, block.attention_norm(channels_last))
            hidden = F.gelu(block.expand(block.feed_forward_norm(channels_last)))
            channels_last = channels_last + block.contract(hidden)
        tokens = channels_last.permute(0, 4, 1, 2, 3).contiguous()
    return encoder.norm(tokens.permute(0, 2, 3, 4, 1))


@dataclass(frozen=True)
class Compared:
    """What is timed: our encoder in a number format, and the plain one, always in float32."""

    encoder: VideoEncoder
    clip: Tensor
    dtype: torch.dtype

    @property
    def autocast(self) -> torch.autocast:
        """Our number format, for a while."""
        return torch.autocast(self.clip.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def ours(self) -> Tensor:
        """Tokens by our encoder."""
        with self.autocast:
            return self.encoder(self.clip)

    def plain(self) -> Tensor:
        """Tokens by the reference."""
        return plain_forward(self.encoder, self.clip)

    def train(self, run: Callable[[], Tensor]) -> None:
        """Forward and backward, to the end."""
        self.encoder.zero_grad(set_to_none=True)
        run().float().square().mean().backward()
        synchronise()

    def infer(self, run: Callable[[], Tensor]) -> None:
        """Forward, to the end."""
        with torch.no_grad():
            run()
        synchronise()


def compare(name: str, compared: Compared, rounds: int) -> dict[str, float]:
    """Time both, forward without gradients and forward plus backward."""
    with torch.no_grad():
        ours, plain = compared.ours().float().flatten(1), compared.plain().flatten(1)
        cosine = F.cosine_similarity(ours, plain).min().item()
        drift = (ours - plain).abs().max().item() / plain.abs().max().item()
        is_same = drift < 1e-4 if compared.dtype == torch.float32 else cosine > 0.99
        assert is_same, f"the two encoders differ by {drift:.2g} (cosine {cosine:.4f})"
    passes: dict[str, Callable[[Callable[[], Tensor]], None]] = {"forward": compared.infer}
    if compared.dtype == torch.float32:
        passes["forward_backward"] = compared.train
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        compared.plain()
    rate = matmul_rate(compared.clip.device, compared.dtype)
    result = {f"{name}_cosine": round(cosine, 6)}
    for part, run in passes.items():
        work = counter.get_total_flops() * (3 if part == "forward_backward" else 1)
        seconds = interleaved(rounds, ours=partial(run, compared.ours), plain=partial(run, compared.plain))
        ratio = statistics.median(p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True))
        median = {key: statistics.median(values) for key, values in seconds.items()}
        share = {key: work / value / rate for key, value in median.items()}
        print(
            f"{name:6} {part:17} plain {median['plain'] * 1e3:8.1f} ms ({share['plain']:.2f})"
            f"   ours {median['ours'] * 1e3:8.1f} ms ({share['ours']:.2f})   ratio {ratio:.2f}",
            flush=True,
        )
        result |= {f"{name}_{part}_ratio": round(ratio, 3), f"{name}_{part}_share": round(share["ours"], 3)}
    return result


def drift_of_demo(folder: Path, dtype: torch.dtype) -> dict[str, float]:
    """How far a trained model's embeddings and ranks move when its video encoder runs in a narrower format."""
    clover = Clover.from_pretrained(folder / "checkpoint")
    pairs = one_text_per_video(read_pairs(folder / "corpus", "test"))
    clips = [clover.clip(pair.video) for pair in pairs]
    batches = [clips[first : first + 50] for first in range(0, len(clips), 50)]
    wide = torch.cat([clover.embed_clips(batch) for batch in batches])
    with torch.autocast("cpu", dtype=dtype):
        narrow = torch.cat([clover.embed_clips(batch).float() for batch in batches])
    texts = clover.encode_text([pair.text for pair in pairs])
    right = np.arange(len(pairs))
    places = [ranks((texts @ videos.T).numpy(), right) for videos in (wide, narrow)]
    recall = [100 * float((place <= 10).mean()) for place in places]
    found = {
        "demo_cosine": round(F.cosine_similarity(wide, narrow).min().item(), 6),
        "demo_ranks_unchanged": round(float((places[0] == places[1]).mean()), 4),
        "demo_recall_at_10_float32": round(recall[0], 2),
        "demo_recall_at_10": round(recall[1], 2),
    }
    print("the demo's model:", ", ".join(f"{key.removeprefix('demo_')} {value}" for key, value in found.items()))
    return found


def main() -> None:
    """Both sizes; `--quick` leaves Base out."""
    options = arguments(__doc__, dtype=("float32", "bfloat16"), compile=True, demo=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    rounds = 3 if options.quick else 7
    dtype = getattr(torch, options.dtype)
    print("in brackets: share of the matrix-product rate measured in the same run, by counted operations")
    sizes = {"small": (small(vocabulary_size=9).video, (64, 8, 64, 64, 3))}
    if not options.quick:
        sizes["base"] = (base().video, (8 if device.type == "cuda" else 2, 8, 224, 224, 3))
    result: dict[str, object] = {}
    for name, (config, shape) in sizes.items():
        encoder = VideoEncoder(config)
        initialise(encoder, 0)
        encoder = encoder.to(device).eval()
        if options.compile:
            encoder.compile(dynamic=False)
        result |= compare(name, Compared(encoder, torch.randn(shape, device=device), dtype), rounds)
    if options.demo:
        result |= drift_of_demo(Path(options.demo), dtype)
    largest = list(sizes)[-1]
    part = "forward_backward" if dtype == torch.float32 else "forward"
    finish(
        {
            "name": "video_encoder",
            "device": device_name(),
            "ratio": result[f"{largest}_{part}_ratio"],
            "ratio_forward": result[f"{largest}_forward_ratio"],
            "baseline": "plain float32 Video Swin of the same weights: explicit softmax, channels first between stages",
            "size": largest,
            "dtype": options.dtype,
            "compiled": options.compile,
            **result,
        },
        options.save,
        variant=options.variant,
    )


if __name__ == "__main__":
    main()
