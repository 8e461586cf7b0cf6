"""A 3-D Swin written out slowly, by torchvision's names: full attention with a mask in place of windows.

It shares no code with the package, so that a wrong order of anything shows.
"""

import torch
import torch.nn.functional as F


def made_state(*, width=6, depths=(2, 1), heads=(1, 2), window=(2, 3, 3), patch=(2, 2, 2), seed=0):
    """Random weights by torchvision's names, its index buffers and classifier included."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator) * 0.5

    state = {"patch_embed.proj.weight": draw(width, 3, *patch), "patch_embed.proj.bias": draw(width)}
    state |= {"patch_embed.norm.weight": draw(width) + 1, "patch_embed.norm.bias": draw(width)}
    rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        d = width << stage
        for block in range(depth):
            key = f"features.{2 * stage}.{block}"
            for name, shape in {
                "attn.qkv": (3 * d, d),
                "attn.proj": (d, d),
                "mlp.0": (4 * d, d),
                "mlp.3": (d, 4 * d),
            }.items():
                state |= {f"{key}.{name}.weight": draw(*shape) * 0.5, f"{key}.{name}.bias": draw(shape[0])}
            for name in ("norm1", "norm2"):
                state |= {f"{key}.{name}.weight": draw(d) + 1, f"{key}.{name}.bias": draw(d)}
            state[f"{key}.attn.relative_position_bias_table"] = draw(rows, count)
            state[f"{key}.attn.relative_position_index"] = index_table(window)
        if stage < len(depths) - 1:
            state[f"features.{2 * stage + 1}.reduction.weight"] = draw(2 * d, 4 * d) * 0.5
            state |= {f"features.{2 * stage + 1}.norm.weight": draw(4 * d) + 1}
            state |= {f"features.{2 * stage + 1}.norm.bias": draw(4 * d)}
    last = width << (len(depths) - 1)
    state |= {"norm.weight": draw(last) + 1, "norm.bias": draw(last)}
    return state | {"head.weight": draw(5, last), "head.bias": draw(5)}


def index_table(window):
    """Row of the bias table for every pair of places, counted out one by one."""
    places = [(t, y, x) for t in range(window[0]) for y in range(window[1]) for x in range(window[2])]
    rows, columns = 2 * window[1] - 1, 2 * window[2] - 1
    return torch.tensor(
        [
            [
                ((t - t2 + window[0] - 1) * rows + y - y2 + window[1] - 1) * columns + x - x2 + window[2] - 1
                for t2, y2, x2 in places
            ]
            for t, y, x in places
        ]
    )


def _norm(state, key, tokens):
    return F.layer_norm(tokens, tokens.shape[-1:], state[f"{key}.weight"], state[f"{key}.bias"], 1e-5)


def _linear(state, key, tokens):
    return F.linear(tokens, state[f"{key}.weight"], state.get(f"{key}.bias"))


def _attention(state, key, tokens, full, is_shifted):
    """``[t h w d]``; every token looks at those of its window that were its neighbours before the shift."""
    size = tokens.shape[:3]
    window = [min(extent, reach) for extent, reach in zip(size, full, strict=True)]
    shift = [reach // 2 if is_shifted and extent > reach else 0 for extent, reach in zip(size, full, strict=True)]
    padded = [-(-extent // reach) * reach for extent, reach in zip(size, window, strict=True)]
    tokens = F.pad(tokens, (0, 0, 0, padded[2] - size[2], 0, padded[1] - size[1], 0, padded[0] - size[0]))
    places = [(t, y, x) for t in range(padded[0]) for y in range(padded[1]) for x in range(padded[2])]
    flat = tokens.reshape(len(places), -1)
    shifted = [
        [(place[axis] - shift[axis]) % padded[axis] for axis in range(3)] for place in places
    ]  # where each token lies once the map has been rolled
    windows = [tuple(where[axis] // window[axis] for axis in range(3)) for where in shifted]
    wrapped = [
        tuple(shift[axis] > 0 and place[axis] < shift[axis] for axis in range(3)) for place in places
    ]  # came around the edge
    inside = [
        ((where[0] % window[0]) * window[1] + where[1] % window[1]) * window[2] + where[2] % window[2]
        for where in shifted
    ]
    allowed = torch.tensor(
        [
            [a == b and u == v for b, v in zip(windows, wrapped, strict=True)]
            for a, u in zip(windows, wrapped, strict=True)
        ]
    )
    same_window = torch.tensor([[a == b for b in windows] for a in windows])
    table = state[f"{key}.relative_position_bias_table"]
    count = window[0] * window[1] * window[2]
    bias = table[index_table(full)[:count, :count]]
    numbers = torch.tensor(inside)
    heads = table.shape[1]
    query, key_vectors, value = _linear(state, f"{key}.qkv", flat).view(len(places), 3, heads, -1).permute(1, 2, 0, 3)
    scores = query @ key_vectors.transpose(1, 2) * query.shape[-1] ** -0.5
    scores = scores + bias[numbers][:, numbers].permute(2, 0, 1) - 100.0 * (~allowed).float()
    scores = scores.masked_fill(~same_window, float("-inf"))
    mixed = (scores.softmax(dim=-1) @ value).transpose(0, 1).reshape(len(places), -1)
    return _linear(state, f"{key}.proj", mixed).view(*padded, -1)[: size[0], : size[1], : size[2]]


def features(state, clip, window):
    """Tokens ``[t h w d]`` of one normalised clip ``[t h w 3]``."""
    weight = state["patch_embed.proj.weight"]
    tokens = F.conv3d(clip.permute(3, 0, 1, 2)[None], weight, state["patch_embed.proj.bias"], stride=weight.shape[2:])
    tokens = _norm(state, "patch_embed.norm", tokens[0].permute(1, 2, 3, 0))
    stage = 0
    while f"features.{2 * stage}.0.norm1.weight" in state:
        if stage:
            h, w = tokens.shape[1:3]
            even = F.pad(tokens, (0, 0, 0, w % 2, 0, h % 2))
            corners = [even[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
            merged = _norm(state, f"features.{2 * stage - 1}.norm", torch.cat(corners, dim=-1))
            tokens = _linear(state, f"features.{2 * stage - 1}.reduction", merged)
        block = 0
        while f"features.{2 * stage}.{block}.norm1.weight" in state:
            key = f"features.{2 * stage}.{block}"
            mixed = _attention(state, f"{key}.attn", _norm(state, f"{key}.norm1", tokens), window, block % 2 == 1)
            tokens = tokens + mixed
            hidden = F.gelu(_linear(state, f"{key}.mlp.0", _norm(state, f"{key}.norm2", tokens)))
            tokens = tokens + _linear(state, f"{key}.mlp.3", hidden)
            block += 1
        stage += 1
    return _norm(state, "norm", tokens)
