"""How other programs name the weights of a Swin encoder, 3-D and 2-D; all are translated to Video Swin's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from clover.errors import CheckpointError
from clover.modeling.foreign import is_swin_2, refuse_foreign

PATCHES = "patch_embed.proj.weight"
TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"
INDEX = "attn.relative_position_index"
CONSTANTS = r".*\.relative_position_index|.*\.attn_mask"
"""Names, and a pattern of names, by which Video Swin's weights are looked into."""
_QKV = "layers.0.blocks.0.attn.qkv.weight"
_FILLED = ("patch_embed.proj", "patch_embed.norm", "norm")
_FILLED_OF_BLOCK = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
_OF_BLOCK = ("attn.relative_position_bias_table", INDEX, "attn_mask")
_OF_MERGING = ("norm.weight", "norm.bias", "reduction.weight")
"""Video Swin's names: of parts with weight and bias, and of single weights."""
_MOST_STAGES = 16
"""More than any Swin has: each is twice as wide as the one before."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a program names the weights of a Swin encoder, told from Video Swin's names."""

    name: str
    """What users call it."""
    num_axes: int
    """Axes of the patch convolution's weight: 5 of a video encoder, 4 of an image encoder."""
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    """Names that such a file has, and has not, by which two dialects are told apart."""
    prefix: str = ""
    """Put before every name of the encoder; what is outside belongs to others."""
    unused: str = ""
    """Pattern of names that have no place here: the classifier that the encoder was trained with."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Video Swin's name of a part to theirs, where they differ."""
    thirds: tuple[str, ...] = ()
    """Their names of query, key and value, where these are three matrices and not one."""
    block: Callable[[int, int], str] = "layers.{}.blocks.{}.".format
    """What their names of a block begin with, by numbers of stage and block."""
    merging: Callable[[int], str] = "layers.{}.downsample.".format
    """What their names of the merging after a stage begin with."""

    def published(self, name: str) -> tuple[str, ...]:
        """Their name of a weight that Video Swin calls so; names, of query, key and value that are three matrices."""
        found = re.fullmatch(r"layers\.(\d+)\.(?:blocks\.(\d+)|downsample)\.(.*)", name)
        if found and not found[2]:
            return (self.prefix + self.merging(int(found[1])) + found[3],)
        place, part = (self.block(int(found[1]), int(found[2])), found[3]) if found else ("", name)
        module, _, last = part.rpartition(".")
        if module == "attn.qkv" and self.thirds:
            return tuple(f"{self.prefix}{place}{third}.{last}" for third in self.thirds)
        own = self.parts.get(part) or (f"{self.parts[module]}.{last}" if module in self.parts else part)
        return (self.prefix + place + own,)

    def is_of(self, state: Mapping[str, Tensor]) -> bool:
        """Whether weights are named like this."""
        patches, attention = self.published(PATCHES)[0], self.published(_QKV)[0]
        has_names = all(name in state for name in (patches, attention, *self.present))
        return has_names and not any(name in state for name in self.absent) and state[patches].ndim == self.num_axes

    def names_in(self, state: Mapping[str, Tensor]) -> dict[str, str]:
        """Video Swin's name by theirs, of every weight that an encoder as deep as this one can have."""
        numbers = {int(digits) for name in state for digits in re.findall(r"\d+", name) if len(digits) < 4}
        wanted = [f"{part}.{last}" for part in _FILLED for last in ("weight", "bias")] + ["mask_token"]
        of_block = [*_OF_BLOCK, *(f"{part}.{last}" for part in _FILLED_OF_BLOCK for last in ("weight", "bias"))]
        for stage in range(_MOST_STAGES):
            wanted += [f"layers.{stage}.downsample.{part}" for part in _OF_MERGING]
            wanted += [f"layers.{stage}.blocks.{block}.{part}" for block in sorted(numbers) for part in of_block]
        return {theirs: name for name in wanted for theirs in self.published(name)}


_TORCHVISION_PARTS = {"mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"}
_TIMM_MERGING = "layers.1.downsample.reduction.weight"
_HUB = {
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "patch_embed.norm": "embeddings.norm",
    "norm": "layernorm",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
}
_HUB_PARTS = _HUB | {
    "attn.relative_position_bias_table": "attention.self.relative_position_bias_table",
    INDEX: "attention.self.relative_position_index",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_HUB_THIRDS = ("attention.self.query", "attention.self.key", "attention.self.value")
_MEMORY_PARTS = _HUB | {
    "attn.relative_position_bias_table": "attention.relative_position_bias.relative_position_bias_table",
    INDEX: "attention.relative_position_bias.relative_position_index",
    "attn.proj": "attention.o_proj",
}
_MEMORY_THIRDS = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_HUB_UNUSED = r"classifier\..*|decoder\..*|(swin\.)?embeddings\.mask_token"


def _hub(name: str, prefix: str, parts: Mapping[str, str], thirds: tuple[str, ...]) -> Dialect:
    return Dialect(
        name=name,
        num_axes=4,
        prefix=prefix,
        unused=_HUB_UNUSED,
        parts=parts,
        thirds=thirds,
        block="encoder.layers.{}.blocks.{}.".format,
        merging="encoder.layers.{}.downsample.".format,
    )


DIALECTS = (
    Dialect(name="Video Swin", num_axes=5, prefix="backbone.", unused=r"cls_head\..*"),
    Dialect(name="Video Swin, the encoder alone", num_axes=5),
    Dialect(
        name="torchvision swin3d",
        num_axes=5,
        unused=r"head\..*",
        parts=_TORCHVISION_PARTS,
        block=lambda stage, block: f"features.{2 * stage}.{block}.",
        merging=lambda stage: f"features.{2 * stage + 1}.",
    ),
    Dialect(
        name="torchvision Swin of images",
        num_axes=4,
        unused=r"head\..*",
        parts=_TORCHVISION_PARTS | {"patch_embed.proj": "features.0.0", "patch_embed.norm": "features.0.2"},
        block=lambda stage, block: f"features.{2 * stage + 1}.{block}.",
        merging=lambda stage: f"features.{2 * stage + 2}.",
    ),
    Dialect(
        name="timm Swin of images",
        num_axes=4,
        present=(_TIMM_MERGING,),
        absent=("layers.0.downsample.reduction.weight",),
        unused=r"head\..*",
        merging=lambda stage: f"layers.{stage + 1}.downsample.",
    ),
    Dialect(name="Microsoft Swin of images", num_axes=4, unused=r"head\..*"),
    _hub("Hugging Face Swin of images", "swin.", _HUB_PARTS, _HUB_THIRDS),
    _hub("Hugging Face Swin of images, the encoder alone", "", _HUB_PARTS, _HUB_THIRDS),
    # version 5 of the library names them so in memory (state_dict), and as before in the files that it writes itself
    _hub("Hugging Face Swin of images, named as in memory", "swin.", _MEMORY_PARTS, _MEMORY_THIRDS),
    _hub("Hugging Face Swin of images, named as in memory, the encoder alone", "", _MEMORY_PARTS, _MEMORY_THIRDS),
)
"""Every dialect that is known; the first that a file is of is taken."""


def recognise(state: Mapping[str, Tensor], source: str) -> Dialect:
    """The dialect of a file.

    Raises:
        CheckpointError: there is none for it; the message says what it looks like, or how it begins and what is known.
    """
    found = next((dialect for dialect in DIALECTS if dialect.is_of(state)), None)
    if found is not None and not is_swin_2(state):
        return found
    refuse_foreign(state, source=source, wanted="video")
    shown = ", ".join(f"{name} {list(value.shape)}" for name, value in list(state.items())[:3])
    known = ", ".join(dialect.name for dialect in DIALECTS if "," not in dialect.name)
    raise CheckpointError(f"{source} holds no Swin encoder that is known: it begins with {shown}; known are {known}")
