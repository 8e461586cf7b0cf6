"""Swin encoders that others trained, of videos and (inflated) of images: every key used, every shape checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clover.errors import CheckpointError, ConfigError
from clover.modeling.dialects import CONSTANTS, INDEX, PATCHES, TABLE, Dialect, recognise
from clover.modeling.positions import resized_bias
from clover.modeling.video_swin import VideoEncoder, VideoEncoderConfig
from clover.modeling.weights import check_fit, from_official
from clover.modeling.windows import Size, relative_position_index


@dataclass(frozen=True, kw_only=True)
class VideoImport:
    """A video encoder that somebody else trained."""

    dialect: str
    """What the file was recognised as."""
    state: dict[str, Tensor]
    """Weights under our names, with ``video_encoder.`` before each; the mask token is not among them."""
    config: VideoEncoderConfig
    """Geometry, read off the shapes."""
    told: tuple[str, ...]
    """What was done with it, and which weights have no place here: a line each."""


def import_video(
    state: Mapping[str, Tensor], *, source: str, window: Size | None = None, patch_frames: int = 2
) -> VideoImport:
    """Take over a Swin encoder of videos, or one of images, which is inflated as Video Swin does.

    Inflated: the patch convolution is repeated over the frames of a patch and divided by their number, the position
    bias is repeated over all distances in time. A film that stands still then gives, at each of its times, exactly the
    tokens of the image (as long as it is no longer than a window, or fills its windows).

    Args:
        state: Weights by their publisher's names.
        source: Name of the file, for messages.
        window: Frames, rows and columns of a window; another than the file's has its bias tables resized. None keeps
            the file's, and inflates to 8 temporal cells.
        patch_frames: Frames of a patch, of an inflated encoder.

    Raises:
        CheckpointError: it is of no known dialect, has a weight too many or too few, or one of another shape.
    """
    dialect = recognise(state, source)
    renamed, unused = _renamed(state, dialect, source)
    told = [_told_of_unused(unused)] if unused else []
    is_image = dialect.num_axes == 4
    own_window = _window(renamed, is_image, source)
    _check_index(renamed, own_window, source)
    renamed = {name: value for name, value in renamed.items() if not re.fullmatch(CONSTANTS, name)}
    if is_image:
        wanted = window or (8, *own_window[1:])
        renamed = _inflated(renamed, wanted[0], patch_frames)
        told.append(f"inflated from images: patches of {patch_frames} frames, windows of {wanted[0]} temporal cells")
        own_window = (wanted[0], *own_window[1:])
    config = _geometry(renamed, own_window, is_image, source)
    ours = _under_our_names(renamed, dialect, source)
    with torch.device("meta"):
        encoder = VideoEncoder(config)
    bare = {name.removeprefix("video_encoder."): value for name, value in ours.items()}
    check_fit(encoder, bare, source=f"{source} ({dialect.name})", may_lack="mask_token")
    if window is not None and window != own_window:
        ours = {
            name: resized_bias(value, own_window, window) if name.endswith("position_bias") else value
            for name, value in ours.items()
        }
        config = replace(config, window=window)
        told.append(f"position biases resized from a window of {_by(own_window)} to {_by(window)}")
    return VideoImport(dialect=dialect.name, state=ours, config=config, told=tuple(told))


def _renamed(
    state: Mapping[str, Tensor], dialect: Dialect, source: str
) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Weights under Video Swin's names without prefix, and what has no place here."""
    renamed: dict[str, Tensor] = {}
    unused: dict[str, list[str]] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if dialect.unused and re.fullmatch(dialect.unused, name):
            unused.setdefault("classifier of its own training", []).append(name)
            continue
        if not name.startswith(dialect.prefix):
            raise CheckpointError(f"{source}: unknown weight {name!r}; {dialect.name} has none of this name")
        new = dialect.rename(name.removeprefix(dialect.prefix))
        third = re.fullmatch(r"(.*)\.attention\.self\.(query|key|value)\.(weight|bias)", new)
        if third:
            thirds.setdefault(f"{third[1]}.attn.qkv.{third[3]}", {})[third[2]] = value
        else:
            renamed[new] = value
            if re.fullmatch(CONSTANTS, new):
                unused.setdefault("constants that are computed here", []).append(name)
    for new, parts in thirds.items():
        if len(parts) < 3 or len({part.shape for part in parts.values()}) > 1:
            raise CheckpointError(f"{source}: query, key and value of {new} are not all there, or differ in shape")
        renamed[new] = torch.cat([parts[part] for part in ("query", "key", "value")])
    return renamed, unused


def _told_of_unused(unused: Mapping[str, list[str]]) -> str:
    return "not used: " + "; ".join(f"{len(names)} of {why}" for why, names in unused.items())


def _window(state: Mapping[str, Tensor], is_image: bool, source: str) -> Size:
    """Read off the bias table, and off the index beside it where one table fits several windows."""
    table = state.get(TABLE)
    if table is None or table.ndim != 2:
        raise CheckpointError(f"{source} has no position bias {TABLE}: Swin of version 2 is not read here")
    index = state.get(f"layers.0.blocks.0.{INDEX}")
    num_tokens = None if index is None else round(index.numel() ** 0.5)
    fitting = []
    for side in range(1, 65):
        frames, rest = divmod(len(table), (2 * side - 1) ** 2)
        window = (frames // 2 + 1, side, side)
        if rest or frames % 2 == 0 or (is_image and frames != 1):
            continue
        if num_tokens is None or window[0] * side * side == num_tokens:
            fitting.append(window)
    if not fitting:
        raise CheckpointError(f"{source}: a position bias of {len(table)} rows belongs to no square window")
    return fitting[-1]


def _check_index(state: Mapping[str, Tensor], window: Size, source: str) -> None:
    """A publisher that numbers distances otherwise would be read wrongly, and nobody would see it."""
    for name, value in state.items():
        if not name.endswith(INDEX):
            continue
        ours = relative_position_index(window)
        if value.numel() != ours.numel() or not torch.equal(value.reshape(ours.shape).long(), ours):
            raise CheckpointError(f"{source}: {name} numbers positions otherwise than a window of {_by(window)} does")


def _inflated(state: Mapping[str, Tensor], num_cells: int, patch_frames: int) -> dict[str, Tensor]:
    inflated = dict(state)
    patches = state[PATCHES]
    inflated[PATCHES] = patches.unsqueeze(2).repeat(1, 1, patch_frames, 1, 1) / patch_frames
    for name, value in state.items():
        if name.endswith("relative_position_bias_table"):
            inflated[name] = value.repeat(2 * num_cells - 1, 1)
    return inflated


def _geometry(state: Mapping[str, Tensor], window: Size, is_image: bool, source: str) -> VideoEncoderConfig:
    patches = state[PATCHES]
    if patches.shape[1] != 3:
        raise CheckpointError(f"{source} takes {patches.shape[1]} channels; Clover gives red, green and blue")
    stages: dict[int, set[int]] = {}
    for name in state:
        found = re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", name)
        if found:
            stages.setdefault(int(found[1]), set()).add(int(found[2]))
    tables = [state.get(f"layers.{stage}.blocks.0.attn.relative_position_bias_table") for stage in range(len(stages))]
    hidden = state.get("layers.0.blocks.0.mlp.fc1.weight")
    is_whole = all(len(blocks) == max(blocks) + 1 for blocks in stages.values())
    if not is_whole or hidden is None or hidden.ndim != 2 or any(table is None or table.ndim != 2 for table in tables):
        raise CheckpointError(
            f"{source} is incomplete: a stage lacks a block, or a block its position bias or matrices"
        )
    frames, height, width = patches.shape[2:]
    try:
        return VideoEncoderConfig(
            patch_size=(frames, height, width),
            width=len(patches),
            depths=tuple(len(stages[stage]) for stage in range(len(stages))),
            num_heads=tuple(table.shape[1] for table in tables if table is not None),
            window=window,
            feed_forward_ratio=len(hidden) / len(patches),
            clipped_window_bias="exact" if is_image else "published",
        )
    except ConfigError as error:
        raise CheckpointError(f"{source} is of no Swin: {error}") from None


def _under_our_names(state: Mapping[str, Tensor], dialect: Dialect, source: str) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    try:
        for name, value in state.items():
            ours |= from_official({f"backbone.{name}": value}).state
    except CheckpointError:
        raise CheckpointError(f"{source}: unknown weight {name!r}; {dialect.name} has none of this name") from None
    return ours


def _by(window: Size) -> str:
    return "x".join(map(str, window))
