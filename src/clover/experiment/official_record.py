"""The record that a file exported for the authors' code keeps of the checkpoint it was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clover.checkpoints import CloverConfig
from clover.config import check_finite, from_plain, to_plain
from clover.errors import CheckpointError, ConfigError
from clover.files import WriteError
from clover.modeling.pixels import PixelConfig
from clover.modeling.video_swin import VideoEncoderConfig
from clover.modeling.weight_files import read_whole

_META_KEY = "clover_config"
"""Under what a file that we exported keeps our config.json, so that it comes back as it went."""


def to_meta(config: CloverConfig) -> dict[str, str]:
    """The record, for the ``meta`` of a file."""
    return {_META_KEY: json.dumps(to_plain(config))}


def kept_config(meta: Mapping[str, Any], path: Path) -> CloverConfig | None:
    """Our own config.json, in a file that `clover export` wrote; of another file None.

    Raises:
        CheckpointError: it is damaged.
    """
    if _META_KEY not in meta:
        return None
    try:
        plain = json.loads(meta[_META_KEY])
        check_finite(plain, path)
        return from_plain(CloverConfig, plain, where=_META_KEY)
    except (TypeError, ValueError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{path}: its record of the exported checkpoint is damaged ({error})") from error


def check_agree(recorded: Mapping[str, object], there: Mapping[str, object]) -> None:
    """Whether a record is of the very weights that it lies with.

    Args:
        recorded: Extents by the record.
        there: Extents by the weights' shapes, of the same names.

    Raises:
        CheckpointError: one differs.
    """
    wrong = next((name for name in there if recorded[name] != there[name]), None)
    if wrong is not None:
        raise CheckpointError(
            f"the file's record of what was exported says {wrong} {recorded[wrong]}, its weights have "
            f"{there[wrong]}; export it again"
        )


def video_extents(video: VideoEncoderConfig) -> dict[str, object]:
    """What the weights of a video encoder tell of it, whatever else is said of it."""
    return {
        "video patches": video.patch_size,
        "video width": video.width,
        "video depths": video.depths,
        "video heads": video.num_heads,
        "video window": video.window,
        "video feed-forward width": int(video.width * video.feed_forward_ratio),
    }


def video_as_recorded(
    meta: Mapping[str, Any], path: Path, found: VideoEncoderConfig, *, is_resized: bool
) -> tuple[VideoEncoderConfig, PixelConfig] | None:
    """The video encoder and its pixels as our record in a file says; None where the file has none.

    Args:
        meta: What the file says of itself.
        path: The file, for messages.
        found: The encoder by the shapes of its weights.
        is_resized: Whether another window was asked for than the file's.

    Raises:
        CheckpointError: the record is damaged, or of other weights.
        ConfigError: it is of an encoder of transformers.
    """
    kept = kept_config(meta, path)
    if kept is None:
        return None
    video = kept.model.own_video
    if is_resized:
        video = replace(video, window=found.window)
    check_agree(video_extents(video), video_extents(found))
    return video, kept.model.pixels


def check_replaceable_file(place: Path) -> None:
    """Find out whether a file may be written anew: nothing but an earlier export for the authors' code is lost.

    Args:
        place: The file; it need not exist.

    Raises:
        WriteError: it is a folder, or something else than what an earlier export wrote.
    """
    if place.is_dir():
        raise WriteError(f"{place} is a folder, and a file is written; name the file, as {place / 'official.pth'}")
    if not place.exists():
        return
    refused = f"{place} is no earlier export for the authors' code, and replacing it would lose it; name another file"
    if not place.is_file():
        raise WriteError(refused)
    try:
        whole = read_whole(place)
    except CheckpointError as error:
        raise WriteError(refused) from error
    meta = whole.get("meta")
    has_record = isinstance(meta, Mapping) and isinstance(meta.get(_META_KEY), str)
    if whole.keys() != {"meta", "state_dict"} or not has_record:
        raise WriteError(refused)
