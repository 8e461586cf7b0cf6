"""How other programs name the weights of a Swin encoder, 3-D and 2-D; all are translated to Video Swin's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from clover.errors import CheckpointError

PATCHES = "patch_embed.proj.weight"
TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"
INDEX = "attn.relative_position_index"
CONSTANTS = r".*\.relative_position_index|.*\.attn_mask"
"""Names, and a pattern of names, by which Video Swin's weights are looked into."""
_BLOCK_PARTS = {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
_HUB_PARTS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.self.relative_position_bias_table": "attn.relative_position_bias_table",
    "attention.self.relative_position_index": INDEX,
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a program names the weights of a Swin encoder."""

    name: str
    """What users call it."""
    signs: tuple[str, ...]
    """Names that such a file has, the patch convolution first."""
    absent: tuple[str, ...] = ()
    """Names that it has not, by which two dialects are told apart."""
    num_axes: int
    """Axes of the patch convolution's weight: 5 of a video encoder, 4 of an image encoder."""
    prefix: str = ""
    """Put before every name of the encoder; what is outside belongs to others."""
    unused: str = ""
    """Pattern of names that have no place here: the classifier that the encoder was trained with."""
    rename: Callable[[str], str] = str
    """Name without prefix to Video Swin's."""


def _torchvision_video(name: str) -> str:
    """``features`` holds stage, merging, stage, merging ...; the feed-forward part is counted through."""
    found = re.fullmatch(r"features\.(\d+)\.(.*)", name)
    if found is None:
        return name
    stage, rest = int(found[1]) // 2, found[2]
    if int(found[1]) % 2:
        return f"layers.{stage}.downsample.{rest}"
    block, _, part = rest.partition(".")
    for theirs, ours in _BLOCK_PARTS.items():
        if part.startswith(f"{theirs}."):
            part = ours + part.removeprefix(theirs)
    return f"layers.{stage}.blocks.{block}.{part}"


def _torchvision_image(name: str) -> str:
    """As of videos, but ``features.0`` holds the patch convolution and its norm."""
    for theirs, ours in (("features.0.0.", "patch_embed.proj."), ("features.0.2.", "patch_embed.norm.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    found = re.fullmatch(r"features\.(\d+)\.(.*)", name)
    return name if found is None else _torchvision_video(f"features.{int(found[1]) - 1}.{found[2]}")


def _hub_image(name: str) -> str:
    if name.startswith("embeddings.patch_embeddings.projection."):
        return name.replace("embeddings.patch_embeddings.projection.", "patch_embed.proj.")
    if name.startswith("embeddings.norm."):
        return name.replace("embeddings.norm.", "patch_embed.norm.")
    if name.startswith("layernorm."):
        return name.replace("layernorm.", "norm.")
    found = re.fullmatch(r"encoder\.layers\.(\d+)\.blocks\.(\d+)\.(.*)", name)
    if found is None:
        return name.removeprefix("encoder.")
    part = found[3]
    for theirs, ours in _HUB_PARTS.items():
        if part == theirs or part.startswith(f"{theirs}."):
            part = ours + part.removeprefix(theirs)
            break
    return f"layers.{found[1]}.blocks.{found[2]}.{part}"


def _merged_before(name: str) -> str:
    """The later releases of timm merge at the beginning of a stage, not at the end of the one before."""
    found = re.fullmatch(r"layers\.(\d+)\.downsample\.(.*)", name)
    return name if found is None else f"layers.{int(found[1]) - 1}.downsample.{found[2]}"


_QKV = "layers.0.blocks.0.attn.qkv.weight"
_HUB_QUERY = "encoder.layers.0.blocks.0.attention.self.query.weight"
_HUB_PATCHES = "embeddings.patch_embeddings.projection.weight"
DIALECTS = (
    Dialect(
        name="Video Swin",
        signs=(f"backbone.{PATCHES}", f"backbone.{_QKV}"),
        num_axes=5,
        prefix="backbone.",
        unused=r"cls_head\..*",
    ),
    Dialect(name="Video Swin, the encoder alone", signs=(PATCHES, _QKV), num_axes=5),
    Dialect(
        name="torchvision swin3d",
        signs=(PATCHES, "features.0.0.attn.qkv.weight"),
        num_axes=5,
        unused=r"head\..*",
        rename=_torchvision_video,
    ),
    Dialect(
        name="torchvision Swin of images",
        signs=("features.0.0.weight", "features.1.0.attn.qkv.weight"),
        num_axes=4,
        unused=r"head\..*",
        rename=_torchvision_image,
    ),
    Dialect(
        name="timm Swin of images",
        signs=(PATCHES, _QKV, "layers.1.downsample.reduction.weight"),
        absent=("layers.0.downsample.reduction.weight",),
        num_axes=4,
        unused=r"head\..*",
        rename=_merged_before,
    ),
    Dialect(name="Microsoft Swin of images", signs=(PATCHES, _QKV), num_axes=4, unused=r"head\..*"),
    Dialect(
        name="Hugging Face Swin of images",
        signs=(f"swin.{_HUB_PATCHES}", f"swin.{_HUB_QUERY}"),
        num_axes=4,
        prefix="swin.",
        unused=r"classifier\..*",
        rename=_hub_image,
    ),
    Dialect(
        name="Hugging Face Swin of images, the encoder alone",
        signs=(_HUB_PATCHES, _HUB_QUERY),
        num_axes=4,
        rename=_hub_image,
    ),
)
"""Every dialect that is known; the first whose signs are there is taken."""


def recognise(state: Mapping[str, Tensor], source: str) -> Dialect:
    """The dialect of a file.

    Raises:
        CheckpointError: there is none for it; the message says how the file begins and what is known.
    """
    for dialect in DIALECTS:
        has_names = all(sign in state for sign in dialect.signs) and not any(name in state for name in dialect.absent)
        if has_names and state[dialect.signs[0]].ndim == dialect.num_axes:
            return dialect
    shown = ", ".join(f"{name} {list(value.shape)}" for name, value in list(state.items())[:3])
    known = ", ".join(dialect.name for dialect in DIALECTS if "alone" not in dialect.name)
    raise CheckpointError(f"{source} holds no Swin encoder that is known: it begins with {shown}; known are {known}")
