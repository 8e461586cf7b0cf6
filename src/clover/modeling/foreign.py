"""Well-known models that are given where another is wanted, known by the names of their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clover.errors import CheckpointError

Modality = Literal["video", "text"]
_WANTED: dict[Modality, str] = {"video": "Swin of version 1 or Video Swin", "text": "BERT"}
"""What each option of `clover import` takes over."""
_OF_A_TEXT_ENCODER = r"(.*\.)?embeddings\.word_embeddings\.weight"
_SWIN_2 = r".*\.(attn|self|attention)\.logit_scale|.*\.(cpb_mlp|continuous_position_bias_mlp)\..*"


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A kind of model."""

    name: str
    encodes: Modality
    names: str
    """Pattern of names of weights that this kind alone has, or those after it in the list have too."""
    num_axes: int = 0
    """Axes of such a weight; 0: any number."""


_KINDS = (
    _Kind(name="Swin of version 2", encodes="video", names=_SWIN_2),
    _Kind(name="TimeSformer", encodes="video", names=r"(.*\.)?(temporal_attention\..*|time_embed(dings)?)"),
    _Kind(name="V-JEPA", encodes="video", names=r"(encoder|predictor)\.(patch_)?embeddings\..*", num_axes=5),
    _Kind(name="ViViT", encodes="video", names=r"vivit\..*"),
    _Kind(name="VideoMAE", encodes="video", names=r"videomae\..*"),
    _Kind(
        name="CLIP or SigLIP",
        encodes="video",
        names=r"(vision_model|text_model|visual|visual_projection)\..*|(.*\.)?embeddings\.patch_embedding\.weight",
    ),
    _Kind(name="a ViT of videos (VideoMAE, ViViT)", encodes="video", names=r"embeddings\.patch_.*", num_axes=5),
    _Kind(name="a ViT of images (ViT, DeiT, DINO, BEiT)", encodes="video", names=r"(.*\.)?cls_token"),
    _Kind(name="DistilBERT", encodes="text", names=r"distilbert\..*|transformer\.layer\.\d+\.attention\.q_lin\.weight"),
    _Kind(name="MPNet", encodes="text", names=r"mpnet\..*|encoder\.layer\.\d+\.attention\.attn\.q\.weight"),
    _Kind(name="RoBERTa", encodes="text", names=r"(xlm-)?roberta\..*"),
    _Kind(name="ALBERT", encodes="text", names=r"(.*\.)?encoder\.albert_layer_groups\..*"),
    _Kind(name="ELECTRA", encodes="text", names=r"electra\..*|embeddings_project\..*"),
    _Kind(name="DeBERTa", encodes="text", names=r"deberta\..*|(.*\.)?attention\.self\.query_proj\.weight"),
)
"""The first that has a weight in a file is what it looks like."""


def is_swin_2(state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of Swin's version 2, which otherwise are named as those of version 1."""
    return any(re.fullmatch(_SWIN_2, name) for name in state)


def refuse_foreign(state: Mapping[str, Tensor], *, source: str, wanted: Modality) -> None:
    """Refuse weights of another kind by its name, and say what takes them; of no known kind: nothing.

    Args:
        state: Weights by their publisher's names.
        source: Name of the file, for messages.
        wanted: For what they were given.

    Raises:
        CheckpointError: they look like a well-known model that is not taken over.
    """
    found = _kind_of(state, wanted)
    if found is None:
        return
    kind, sign = found
    option = f"a pre-training takes it as it is: --{kind.encodes}-encoder hf:FOLDER, a folder of transformers"
    if kind.name in _WANTED["text"]:
        option = "give it with --text"
    raise CheckpointError(
        f"{source} looks like {kind.name} (by its weight {sign}), and --{wanted} takes over {_WANTED[wanted]}; {option}"
    )


def _kind_of(state: Mapping[str, Tensor], wanted: Modality) -> tuple[_Kind, str] | None:
    """The kind and the weight that shows it."""
    bert = _Kind(name="BERT", encodes="text", names=_OF_A_TEXT_ENCODER)
    both = _Kind(name="CLIP or SigLIP", encodes="text", names=r"text_model\..*")  # with the half that is wanted
    for kind in [*_KINDS, bert] if wanted == "video" else [both, *_KINDS]:
        for name, value in state.items():
            if re.fullmatch(kind.names, name) and kind.num_axes in (0, value.ndim):
                return kind, name
    return None
