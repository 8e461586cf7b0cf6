"""Swin encoders that others trained, of videos and (inflated) of images: every key used, every shape checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from clover.errors import CheckpointError, ConfigError
from clover.modeling.dialects import CONSTANTS, INDEX, PATCHES, TABLE, Dialect, recognise
from clover.modeling.positions import resized_bias
from clover.modeling.video_swin import VideoEncoder, VideoEncoderConfig
from clover.modeling.weights import check_fit, from_official, joined, official_names
from clover.modeling.windows import Size, relative_position_index

_OURS, _OFFICIAL = "video_encoder.", "backbone."
"""Before our names of the encoder's weights, and before official Clover's, which are Video Swin's."""

_ABSOLUTE = ("absolute_pos_embed", "embeddings.position_embeddings")
"""Ends of the names of positions that an encoder adds to its patches; published Swins have none."""


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
    resized: tuple[str, ...] = ()
    """Tables that are not as they were in the file."""


def import_video(
    state: Mapping[str, Tensor],
    *,
    source: str,
    window: Size | None = None,
    trained_window: Size | None = None,
    patch_frames: int | None = None,
    prefix: str = "",
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
        trained_window: The file's, where its shapes fit several windows and it has no index; None takes `window` if it
            is one of them.
        patch_frames: Frames of a patch, of an inflated encoder; None: 2.
        prefix: What stands before every name in the file, for messages.

    Raises:
        CheckpointError: it is of no known dialect, has a weight too many or too few, or one of another shape; or it may
            be of several windows.
        ConfigError: frames of a patch are given for an encoder of videos.
    """
    dialect = recognise(state, source)
    if patch_frames is not None and dialect.num_axes == 5:
        frames = state[dialect.published(PATCHES)[0]].shape[2]
        raise ConfigError(
            f"--patch-frames is for a Swin of images, which is inflated; {source} is {dialect.name}, whose patches "
            f"have {frames} frames: leave it out"
        )
    names = _FileNames(dialect=dialect, prefix=prefix)
    renamed, unused = _renamed(state, names, source)
    told = [_told_of_unused(unused)] if unused else []
    is_image = dialect.num_axes == 4
    own_window = _window(renamed, is_image, names, source, trained_window or window)
    _check_index(renamed, own_window, names, source)
    renamed = {name: value for name, value in renamed.items() if not re.fullmatch(CONSTANTS, name)}
    if is_image:
        renamed[PATCHES] = renamed[PATCHES].unsqueeze(2)
    config = _geometry(renamed, own_window, is_image, names, source)
    ours = _under_our_names(renamed, names, source)
    with torch.device("meta"):
        encoder = VideoEncoder(config)
    bare = {name.removeprefix(_OURS): value for name, value in ours.items()}
    check_fit(encoder, bare, source=f"{source} ({dialect.name})", may_lack="mask_token", named=names.of_ours)
    if is_image:
        ours, config = _inflated(ours, config, (window or (8,))[0], patch_frames or 2)
        told.append(
            f"inflated from images: patches of {config.patch_size[0]} frames, windows of {config.window[0]} temporal "
            "cells"
        )
    found = VideoImport(dialect=dialect.name, state=ours, config=config, told=tuple(told))
    return found if window is None or window == config.window else _with_window(found, window)


def _with_window(found: VideoImport, window: Size) -> VideoImport:
    own = found.config.window
    state = {
        name: resized_bias(value, own, window) if name.endswith("position_bias") else value
        for name, value in found.state.items()
    }
    told = f"position biases from a window of {_by(own)} to {_by(window)}"
    return replace(found, state=state, config=replace(found.config, window=window), resized=(told,))


@dataclass(frozen=True, kw_only=True)
class _FileNames:
    """What the user's file calls a weight."""

    dialect: Dialect
    prefix: str

    def of(self, name: str) -> tuple[str, ...]:
        """By Video Swin's name; one name, or those of query, key and value."""
        return tuple(self.prefix + theirs for theirs in self.dialect.published(name))

    def of_ours(self, name: str) -> tuple[str, ...]:
        """By our name."""
        return self.of(official_names(_OURS + name)[0].removeprefix(_OFFICIAL))


def _renamed(
    state: Mapping[str, Tensor], names: _FileNames, source: str
) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Weights under Video Swin's names, and what has no place here."""
    dialect = names.dialect
    known = dialect.names_in(state)
    renamed: dict[str, Tensor] = {}
    unused: dict[str, list[str]] = {}
    for name, value in state.items():
        new = known.get(name)
        if dialect.unused and re.fullmatch(dialect.unused, name):
            unused.setdefault("classifier of its own training", []).append(name)
        elif new is None and name.endswith(_ABSOLUTE):
            raise CheckpointError(
                f"{source} has absolute positions ({names.prefix + name}), which Clover's video encoder has no place "
                "for; give a Swin without them"
            )
        elif new is None:
            raise CheckpointError(
                f"{source}: unknown weight {names.prefix + name!r}; {dialect.name} has none of this name"
            )
        elif len(dialect.published(new)) == 1:
            renamed[new] = value
            if re.fullmatch(CONSTANTS, new):
                unused.setdefault("constants that are computed here", []).append(name)
        elif new not in renamed:
            parts = {names.prefix + part: state.get(part) for part in dialect.published(new)}
            try:
                renamed[new] = joined(parts)
            except CheckpointError as error:
                raise CheckpointError(f"{source}: {error}") from None
    return renamed, unused


def _told_of_unused(unused: Mapping[str, list[str]]) -> str:
    return "not used: " + "; ".join(f"{len(names)} of {why}" for why, names in unused.items())


def _window(state: Mapping[str, Tensor], is_image: bool, names: _FileNames, source: str, trained: Size | None) -> Size:
    """Read off the bias table, and off the index beside it where one table fits several windows.

    A window of one cell a frame, which fits wherever another does, sees no neighbour: it is meant where it is said.
    """
    table = _matrix(state, TABLE, names, source)
    index = state.get(f"layers.0.blocks.0.{INDEX}")
    fitting = _fitting_windows(len(table), is_image, None if index is None else round(index.numel() ** 0.5))
    (called,) = names.of(TABLE)
    if not fitting:
        raise CheckpointError(f"{source}: {called} has {len(table)} rows, and no square window has as many distances")
    if trained in fitting:
        return trained
    likely = [window for window in fitting if window[1] > 1] or fitting
    if len(likely) > 1 and index is None:
        raise CheckpointError(
            f"{source}: {called} has {len(table)} rows, which fit windows of {' and '.join(map(_by, likely))}, and no "
            "relative_position_index beside it tells them apart; say which it was trained with: --window FRAMES ROWS "
            "COLUMNS"
        )
    return likely[-1]


def _fitting_windows(num_rows: int, is_image: bool, num_tokens: int | None) -> list[Size]:
    """Square windows, of one frame or of several, with as many distances and (if that is known) tokens."""
    fitting = []
    for side in range(1, 65):
        frames, rest = divmod(num_rows, (2 * side - 1) ** 2)
        window = (frames // 2 + 1, side, side)
        if rest or frames % 2 == 0 or (is_image and frames != 1):
            continue
        if num_tokens is None or window[0] * side * side == num_tokens:
            fitting.append(window)
    return fitting


def _check_index(state: Mapping[str, Tensor], window: Size, names: _FileNames, source: str) -> None:
    """A publisher that numbers distances otherwise would be read wrongly, and nobody would see it."""
    for name, value in state.items():
        if not name.endswith(INDEX):
            continue
        has_as_many = value.numel() == prod(window) ** 2  # before the table is made, which is as large as the window
        ours = relative_position_index(window) if has_as_many else None
        if ours is None or not torch.equal(value.reshape(ours.shape).long(), ours):
            (called,) = names.of(name)
            raise CheckpointError(f"{source}: {called} numbers positions otherwise than a window of {_by(window)} does")


def _inflated(
    ours: Mapping[str, Tensor], config: VideoEncoderConfig, num_cells: int, patch_frames: int
) -> tuple[dict[str, Tensor], VideoEncoderConfig]:
    """From patches and windows of one frame to those of several."""
    inflated = dict(ours)
    for name, value in ours.items():
        if name == f"{_OURS}patch_embedding.weight":
            inflated[name] = value.repeat(1, 1, patch_frames, 1, 1) / patch_frames
        elif name.endswith(".position_bias"):
            inflated[name] = value.repeat(2 * num_cells - 1, 1)
    patch_size, window = (patch_frames, *config.patch_size[1:]), (num_cells, *config.window[1:])
    return inflated, replace(config, patch_size=patch_size, window=window)


def _geometry(
    state: Mapping[str, Tensor], window: Size, is_image: bool, names: _FileNames, source: str
) -> VideoEncoderConfig:
    patches = state[PATCHES]
    if patches.shape[1] != 3:
        raise CheckpointError(f"{source} takes {patches.shape[1]} channels; Clover gives red, green and blue")
    stages: dict[int, set[int]] = {}
    for name in state:
        found = re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", name)
        if found:
            stages.setdefault(int(found[1]), set()).add(int(found[2]))
    first = [f"layers.{stage}.blocks.0.attn.relative_position_bias_table" for stage in range(max(stages) + 1)]
    tables = [_matrix(state, name, names, source) for name in first]
    hidden = _matrix(state, "layers.0.blocks.0.mlp.fc1.weight", names, source)
    for stage, blocks in stages.items():
        for block in set(range(max(blocks))) - blocks:
            _matrix(state, f"layers.{stage}.blocks.{block}.attn.relative_position_bias_table", names, source)
    frames, height, width = patches.shape[2:]
    try:
        config = VideoEncoderConfig(
            patch_size=(frames, height, width),
            width=len(patches),
            depths=tuple(len(stages[stage]) for stage in range(len(stages))),
            num_heads=tuple(table.shape[1] for table in tables),
            window=window,
            feed_forward_ratio=len(hidden) / len(patches),
            clipped_window_bias="exact" if is_image else "published",
        )
        config.check()
    except ConfigError as error:
        raise CheckpointError(f"{source} is of no Swin: {error}") from None
    return config


def _matrix(state: Mapping[str, Tensor], name: str, names: _FileNames, source: str) -> Tensor:
    """One of the weights that the geometry is read off."""
    value, (called, *_) = state.get(name), names.of(name)
    if value is None:
        raise CheckpointError(f"{source} is incomplete: {called} is missing")
    if value.ndim != 2:
        raise CheckpointError(f"{source}: {called} is {list(value.shape)}; it must have rows and columns")
    return value


def _under_our_names(state: Mapping[str, Tensor], names: _FileNames, source: str) -> dict[str, Tensor]:
    official = {_OFFICIAL + name: value for name, value in state.items()}
    try:
        return from_official(official, named=lambda name: names.of(name.removeprefix(_OFFICIAL))[0]).state
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None


def _by(window: Size) -> str:
    return "x".join(map(str, window))
