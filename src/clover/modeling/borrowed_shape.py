"""What comes out of an image or video model of the library: found out without weights, on the meta device."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clover.errors import CheckpointError, ConfigError
from clover.modeling.borrowed_video import BorrowedVideoConfig, call, patch_layer
from clover.modeling.huggingface import architecture, build, config_of
from clover.modeling.windows import Size

_MOST_EXTRA = 16
"""More tokens in front of the grid's are none of [CLS] and registers."""


@dataclass(frozen=True, kw_only=True)
class _VideoType:
    """What is known of a kind of video model, beside what its config says."""

    has_fixed_frames: bool = False
    has_fixed_size: bool = False
    is_time_last: bool = False
    size_field: str = "image_size"
    frames_field: str = "num_frames"


_VIDEO_TYPES = {
    "videomae": _VideoType(has_fixed_frames=True, has_fixed_size=True),
    "vivit": _VideoType(has_fixed_frames=True, has_fixed_size=True),
    "timesformer": _VideoType(is_time_last=True),
    "vjepa2": _VideoType(size_field="crop_size", frames_field="frames_per_clip"),
}
"""Models that take whole clips, by model_type; all others are asked whether they take images."""


_EXTRA_OF_MERGED = {"dinov3_convnext": 1}
"""Tokens in front of a grid of merged patches, by model_type: of any other model they might as well be the grid's."""


def vision_part(plain: dict[str, Any], *, source: str = "config.json") -> dict[str, Any]:
    """The architecture of the image half of a model of images and texts (CLIP, SigLIP); others as they are."""
    # asked of the library: a config that was written without its defaults does not say of what type the half is
    inner = getattr(config_of(plain, source=source), "vision_config", None)
    vision = architecture(inner) if hasattr(inner, "to_dict") else plain
    return {**vision, "vision_use_head": False} if vision["model_type"] == "siglip_vision_model" else vision


def describe_video(plain: dict[str, Any], *, num_frames: int, frame_size: int, source: str) -> BorrowedVideoConfig:
    """What Clover must know of an image or video model; its weights are neither needed nor made.

    Args:
        plain: The architecture.
        num_frames: Frames of a clip, where the model leaves the choice.
        frame_size: Rows and columns of pixels, where the model can take others than its own.
        source: Name of the folder, for messages.

    Raises:
        CheckpointError: it is no encoder of images or videos, or one whose tokens lie on no grid.
    """
    kind = plain["model_type"]
    own_type = _VIDEO_TYPES.get(kind)
    own_size = _own_size(plain, own_type)
    sizes = [own_size] if own_type and own_type.has_fixed_size else [frame_size, own_size]
    reasons: list[str] = []
    for size in dict.fromkeys(size for size in sizes if size):
        shaped = {**plain, "crop_size": size} if kind == "vjepa2" else plain  # its positions are angles, not weights
        with torch.device("meta"):
            model = build(shaped)
        if model.main_input_name not in ("pixel_values", "pixel_values_videos"):
            raise CheckpointError(
                f"{source}: {kind} takes {model.main_input_name}; it is no encoder of images or videos"
            )
        try:
            frames = int(plain[own_type.frames_field]) if own_type and own_type.has_fixed_frames else num_frames
            return _probed(model, shaped, own_type, frames, size, stretches=size != own_size)
        except (CheckpointError, ConfigError) as error:
            raise CheckpointError(f"{source}: {error}") from error
        except Exception as error:  # whatever an unknown architecture may do with an input that it does not take
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reasons.append(f"at {size} pixels: {lines[0][:150]}")
    raise CheckpointError(f"{source}: {kind} does not take frames ({'; '.join(reasons) or 'of no known size'})")


def unseen_pixels(config: BorrowedVideoConfig) -> str:
    """A line about the rim of a frame that no patch covers; empty where there is none, or a model pads frames."""
    patch, size = config.architecture.get("patch_size"), config.frame_size
    if isinstance(patch, list):
        patch = patch[-1]
    if not isinstance(patch, int) or not size % patch or config.grid[1] != size // patch:
        return ""
    rim, smaller = size % patch, size - size % patch
    return (
        f"patches of {patch} pixels do not divide frames of {size}: the {rim} at the right and the {rim} at the bottom "
        f"are not seen; --inputs.frames.size {smaller} or {smaller + patch} fits"
    )


def _own_size(plain: dict[str, Any], own_type: _VideoType | None) -> int:
    """Rows and columns that a model was trained on; 0 where its config does not say, or says they differ."""
    value = plain.get(own_type.size_field if own_type else "image_size") or 0
    if isinstance(value, list):
        value = value[0] if len(set(value)) == 1 else 0
    return int(value)


def _probed(
    model: nn.Module, plain: dict[str, Any], own_type: _VideoType | None, num_frames: int, size: int, *, stretches: bool
) -> BorrowedVideoConfig:
    """Run a model without weights, and see what comes out."""
    layer = patch_layer(model)
    per_cell = layer.kernel_size[0] if isinstance(layer, nn.Conv3d) else 1
    shapes: list[Size] = []

    def note(_layer: nn.Module, _inputs: Any, patches: Tensor) -> None:
        time = patches.shape[2] if patches.ndim == 5 else num_frames
        shapes.append((time, patches.shape[-2], patches.shape[-1]))

    interpolates = stretches and "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    frames = num_frames if own_type and own_type.has_fixed_frames else -(-num_frames // per_cell) * per_cell
    shape = (1, frames, 3, size, size) if own_type else (1, 3, size, size)
    handle = layer.register_forward_hook(note)
    try:
        output = call(
            model.eval(),
            torch.empty(shape, device="meta"),
            **({"interpolate_pos_encoding": True} if interpolates else {}),
        )
    finally:
        handle.remove()
    time, rows, columns = shapes[0]
    if output.ndim == 4:
        (width, rows, columns), num_extra = output.shape[1:], 0
    else:
        width = output.shape[2]
        num_before = _EXTRA_OF_MERGED.get(plain["model_type"], 0)
        grid = _grid(output.shape[1] - num_before, time if own_type else 1, rows, columns)
        num_extra, rows, columns = num_before + grid[0], *grid[1:]
    return BorrowedVideoConfig(
        architecture=plain,
        kind="video" if own_type else "image",
        output_width=width,
        grid=(time, rows, columns),
        num_frames=frames if own_type else num_frames,
        frame_size=size,
        frames_per_cell=per_cell if own_type else 1,
        has_fixed_frames=own_type.has_fixed_frames if own_type else False,
        num_extra_tokens=num_extra,
        is_time_last=own_type.is_time_last if own_type else False,
        interpolates=interpolates,
    )


def _grid(num_tokens: int, time: int, rows: int, columns: int) -> tuple[int, int, int]:
    """Extra tokens in front, rows and columns of the tokens that became of a grid of patches.

    Raises:
        CheckpointError: they lie on no grid.
    """
    num_extra = num_tokens - time * rows * columns
    if 0 <= num_extra <= _MOST_EXTRA:
        return num_extra, rows, columns
    stride = 2
    while stride <= max(rows, columns):  # stages that merge neighbours: Swin's fill up what is odd, others leave it out
        for merged in ((-(-rows // stride), -(-columns // stride)), (rows // stride, columns // stride)):
            if time * merged[0] * merged[1] == num_tokens:
                return 0, *merged
        stride *= 2
    raise CheckpointError(f"{num_tokens} tokens come out of {rows} x {columns} patches; they lie on no grid")
