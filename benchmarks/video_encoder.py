"""Our Video Swin against a plain reference of the same mathematics: explicit softmax, channels first between stages.

Prints milliseconds, the ratio, and the share of the machine's matrix-product rate that is reached. `ratio` is the
reference's time over ours, forward plus backward (forward alone in `ratio_forward`), of the larger size that ran.
"""

from __future__ import annotations

import statistics

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from clover.modeling.initialise import initialise
from clover.modeling.sizes import base, small
from clover.modeling.video_swin import SwinBlock, VideoEncoder
from clover.modeling.windows import Size, blocked_pairs, clipped_position_index, split_windows
from common import arguments, device_name, finish, interleaved


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


def plain_forward(encoder: VideoEncoder, clip: Tensor) -> Tensor:
    """The whole encoder, with a convolution for patches and channels first between stages."""
    embedding = encoder.patch_embedding
    patches = F.conv3d(clip.permute(0, 4, 1, 2, 3), embedding.weight, embedding.bias, stride=embedding.patch_size)
    tokens = embedding.norm(patches.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(patches.shape)
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


def matmul_rate(device: torch.device) -> float:
    """Floating-point operations a second of a large float32 matrix product, measured now."""
    size = 1024 if device.type == "cpu" else 8192
    left, right = torch.randn(2, size, size, device=device)
    seconds = interleaved(5, product=lambda: _synchronised(left @ right))["product"]
    return 2 * size**3 / min(seconds)


def _synchronised(value: Tensor) -> Tensor:
    if value.is_cuda:
        torch.cuda.synchronize()
    return value


def compare(name: str, encoder: VideoEncoder, clip: Tensor, rounds: int) -> dict[str, float]:
    """Time both, forward without gradients and forward plus backward."""
    with torch.no_grad():
        ours, plain = encoder(clip), plain_forward(encoder, clip)
        drift = (ours - plain).abs().max().item() / plain.abs().max().item()
        assert drift < 1e-4, f"the two encoders differ by {drift:.2g}"
        forward = interleaved(
            rounds,
            ours=lambda: _synchronised(encoder(clip)),
            plain=lambda: _synchronised(plain_forward(encoder, clip)),
        )

    def train(run) -> None:
        encoder.zero_grad(set_to_none=True)
        _synchronised(run().square().mean()).backward()

    both = interleaved(
        rounds, ours=lambda: train(lambda: encoder(clip)), plain=lambda: train(lambda: plain_forward(encoder, clip))
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain_forward(encoder, clip)
    flops, rate = counter.get_total_flops(), matmul_rate(clip.device)
    result = {}
    for part, seconds, work in (("forward", forward, flops), ("forward_backward", both, 3 * flops)):
        ratio = statistics.median(p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True))
        median = {key: statistics.median(values) for key, values in seconds.items()}
        share = {key: work / value / rate for key, value in median.items()}
        print(
            f"{name:6} {part:17} plain {median['plain'] * 1e3:8.1f} ms ({share['plain']:.2f})"
            f"   ours {median['ours'] * 1e3:8.1f} ms ({share['ours']:.2f})   ratio {ratio:.2f}"
        )
        result |= {f"{name}_{part}_ratio": round(ratio, 3), f"{name}_{part}_share": round(share["ours"], 3)}
    return result


def main() -> None:
    """Both sizes; `--quick` leaves Base out."""
    options = arguments(__doc__)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    rounds = 3 if options.quick else 7
    print("in brackets: share of the matrix-product rate measured in the same run, by counted operations")
    result: dict[str, object] = {}
    sizes = {"small": (small(vocabulary_size=9).video, (64, 8, 64, 64, 3))}
    if not options.quick:
        sizes["base"] = (base().video, (8, 8, 224, 224, 3))
    for name, (config, shape) in sizes.items():
        encoder = VideoEncoder(config)
        initialise(encoder, 0)
        result |= compare(name, encoder.to(device).eval(), torch.randn(shape, device=device), rounds)
    largest = list(sizes)[-1]
    finish(
        {
            "name": "video_encoder",
            "device": device_name(),
            "ratio": result[f"{largest}_forward_backward_ratio"],
            "ratio_forward": result[f"{largest}_forward_ratio"],
            "baseline": "plain Video Swin of the same weights: explicit softmax, channels first between stages",
            "size": largest,
            **result,
        },
        options.save,
    )


if __name__ == "__main__":
    main()
