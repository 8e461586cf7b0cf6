"""The authors' checkpoints: which of their classes one is of, its sizes, and the way back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isqrt
from typing import Literal

import torch
from torch import Tensor, nn

from clover.errors import CheckpointError, ConfigError
from clover.modeling.borrowed_text import BorrowedTextConfig
from clover.modeling.borrowed_video import BorrowedVideoConfig
from clover.modeling.fusion import FusionConfig
from clover.modeling.layers import TransformerConfig
from clover.modeling.model import CloverModel, HeadConfig, ModelConfig
from clover.modeling.pixels import PixelConfig
from clover.modeling.swin_import import import_video
from clover.modeling.text_encoder import TextEncoderConfig
from clover.modeling.video_swin import VideoEncoderConfig
from clover.modeling.weights import from_official, official_names, to_official
from clover.modeling.windows import Size, clipped_position_index, relative_position_index

Task = Literal["pre-training", "retrieval", "multiple-choice", "open-answers", "fill-in-the-blank"]
"""What a class of the authors' is for."""

_BODY = ("backbone.", "text_backbone.", "multimodal_backbone.")
_TASKS: dict[Task, tuple[str, ...]] = {
    "pre-training": (*_BODY, "ssl_head.", "mlm_ssl_V_head.", "mlm_ssl_T_head.", "mlm_head."),
    "retrieval": (*_BODY, "ssl_head."),
    "multiple-choice": (*_BODY, "qa_head."),
    "open-answers": (*_BODY, "qa_head."),
    "fill-in-the-blank": (*_BODY, "qa_head.", "itm_head."),
}
"""The modules of each class."""
_FRESH: dict[Task, str] = {
    "pre-training": "",
    "retrieval": r"fused_.*|masked_word_head\..*|video_encoder\.mask_token",
    "multiple-choice": r".*_projection\..*|masked_word_head\..*|video_encoder\.mask_token",
    "open-answers": r".*_projection\..*|masked_word_head\..*|video_encoder\.mask_token",
    "fill-in-the-blank": r".*_projection\..*|masked_word_head\..*|video_encoder\.mask_token",
}
"""Names of ours that a checkpoint of each class has no weights for."""
_WORDS = "text_backbone.bert.embeddings."
_OWN_WORDS = "multimodal_backbone.bert_embedding."


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of the authors' Clover, by their names."""
    return all(any(name.startswith(prefix) for name in state) for prefix in _BODY)


@dataclass(frozen=True, kw_only=True)
class OfficialImport:
    """A whole Clover that the authors' code trained."""

    task: Task
    state: dict[str, Tensor]
    """Weights under our names."""
    config: ModelConfig
    """Geometry, read off the shapes."""
    may_lack: str
    """Pattern of our names that a checkpoint of this task has no weights for."""
    unused: dict[str, str]
    """Published names that have no place here, and why."""


def import_official(
    state: Mapping[str, Tensor], *, source: str, num_heads: int = 0, window: Size | None = None, prefix: str = ""
) -> OfficialImport:
    """Take over a checkpoint of the authors' pre-training or of one of their fine-tunings.

    Args:
        state: Weights by the authors' names.
        source: Name of the file, for messages.
        num_heads: Attention heads of text and fusion encoder, which no shape tells; 0 takes BERT's one per 64 of width.
        window: Of the video encoder, where shapes fit several; nothing is resized to it.
        prefix: What stands before every name in the file, for messages.

    Raises:
        CheckpointError: it is no official Clover, or a weight is missing, too many or of another shape.
    """
    if not is_official(state):
        shown = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{source} is no official Clover: it begins with {shown}; {', '.join(_BODY)} and heads are expected"
        )
    task = _task(state)
    encoder = _below(state, "backbone.", keep=True)
    video = import_video(encoder, source=source, trained_window=window, prefix=prefix)
    try:
        translation = from_official(state, named=lambda name: prefix + name)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None
    ours = translation.state
    try:
        config = _geometry(ours, video.config, task, num_heads)
        config.check()
    except KeyError as error:
        missing = prefix + official_names(error.args[0])[0]
        raise CheckpointError(f"{source} is incomplete: {missing} is missing") from None
    except ValueError as error:
        odd = error.args[0]
        raise CheckpointError(
            f"{source}: {prefix + official_names(odd)[0]} is {list(ours[odd].shape)}, of other axes than official "
            "Clover's"
        ) from None
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error}; give the right --num-heads, or download it again") from None
    return OfficialImport(task=task, state=ours, config=config, may_lack=_FRESH[task], unused=translation.unused)


def _geometry(ours: Mapping[str, Tensor], video: VideoEncoderConfig, task: Task, num_heads: int) -> ModelConfig:
    text = _text(ours, num_heads)
    width = text.transformer.width
    # a checkpoint without projections gets fresh ones, as wide as the authors'
    fresh = {
        "video_projection.expand.weight": torch.empty(2 * width, 0),
        "text_projection.contract.weight": torch.empty(width, 0),
    }
    projection, embedding = (_matrix({**fresh, **ours}, name) for name in fresh)
    return ModelConfig(
        video=video,
        text=text,
        fusion=_fusion(ours, num_heads),
        embedding_width=len(embedding),
        projection_width=len(projection),
        pixels=PixelConfig(channel_order="bgr"),
        heads=_heads(ours, task),
    )


def _matrix(ours: Mapping[str, Tensor], name: str) -> Tensor:
    """One of the weights that sizes are read off.

    Raises:
        KeyError: it is missing.
        ValueError: it has other than two axes.
    """
    if ours[name].ndim != 2:
        raise ValueError(name)
    return ours[name]


def _below(state: Mapping[str, Tensor], prefix: str, *, keep: bool = False) -> dict[str, Tensor]:
    cut = "" if keep else prefix
    return {name.removeprefix(cut): value for name, value in state.items() if name.startswith(prefix)}


def video_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The video encoder of an official checkpoint, by its own names and less its mask token."""
    part = _below(state, "backbone.", keep=True)
    part.pop("backbone.mask_token", None)
    return part


def _task(state: Mapping[str, Tensor]) -> Task:
    if any(name.startswith("qa_head.mc_vqa_classifier.") for name in state):
        return "multiple-choice"
    if any(name.startswith("qa_head.") for name in state):
        reads_blank = any(name.startswith(("itm_head.", "multimodal_backbone.all_cls_token")) for name in state)
        return "fill-in-the-blank" if reads_blank else "open-answers"
    return "pre-training" if any(name.startswith("mlm_head.") for name in state) else "retrieval"


def _transformer(state: Mapping[str, Tensor], prefix: str, num_heads: int) -> TransformerConfig:
    found = {int(match[1]) for name in state if (match := re.match(rf"{re.escape(prefix)}layers\.(\d+)\.", name))}
    hidden, width = _matrix(state, f"{prefix}layers.0.expand.weight").shape
    missing = set(range(len(found))) - found
    if missing:
        raise KeyError(f"{prefix}layers.{min(missing)}.expand.weight")
    return TransformerConfig(
        width=width,
        num_layers=len(found),
        num_heads=num_heads or max(1, width // 64),
        feed_forward_width=hidden,
    )


def _text(ours: Mapping[str, Tensor], num_heads: int) -> TextEncoderConfig:
    return TextEncoderConfig(
        vocabulary_size=len(_matrix(ours, "text_encoder.word_embedding.weight")),
        max_length=len(_matrix(ours, "text_encoder.position_embedding.weight")),
        transformer=_transformer(ours, "text_encoder.transformer.", num_heads),
    )


def _fusion(ours: Mapping[str, Tensor], num_heads: int) -> FusionConfig:
    return FusionConfig(
        video_width=_matrix(ours, "fusion_encoder.video_input.weight").shape[1],
        num_spatial_positions=len(_matrix(ours, "fusion_encoder.spatial_position")),
        num_temporal_positions=len(_matrix(ours, "fusion_encoder.temporal_position")),
        has_own_cls="fusion_encoder.own_cls" in ours,
        transformer=_transformer(ours, "fusion_encoder.transformer.", num_heads),
    )


def _heads(ours: Mapping[str, Tensor], task: Task) -> HeadConfig:
    has_answers = task in ("open-answers", "fill-in-the-blank")
    return HeadConfig(
        num_answers=len(_matrix(ours, "answer_head.scores.weight")) if has_answers else 0,
        answers_at_mask=task == "fill-in-the-blank",
        has_choices=task == "multiple-choice",
    )


def input_size(config: ModelConfig) -> tuple[int, int] | None:
    """Frames and side in pixels of the square clip that the fusion's positions are for; None if they are no square."""
    side = isqrt(config.fusion.num_spatial_positions)
    if side * side != config.fusion.num_spatial_positions:
        return None
    patch_size = config.own_video.patch_size
    stride = patch_size[1] << (len(config.own_video.depths) - 1)
    return config.fusion.num_temporal_positions * patch_size[0], side * stride


def task_of(config: ModelConfig) -> Task:
    """The authors' class that a network of ours goes back to; of one with no task's head, that of pre-training."""
    if config.heads.has_choices:
        return "multiple-choice"
    if config.heads.num_answers:
        return "fill-in-the-blank" if config.heads.answers_at_mask else "open-answers"
    return "pre-training"


@dataclass(frozen=True, kw_only=True)
class OfficialExport:
    """Weights as a class of the authors' expects them, every key of it."""

    state: dict[str, Tensor]
    filled: dict[str, str]
    """Published names that have no counterpart here, and what they were filled with."""
    left_out: tuple[str, ...]
    """Parts of ours that the class has no place for, in words."""


def export_official(network: CloverModel, task: Task) -> OfficialExport:
    """Give a network back to the authors' code.

    Raises:
        ConfigError: the network has not the head of the task, or parts that the authors' code has no place for.
    """
    _check_has_place(network.config)
    has = task_of(network.config)
    if task not in ("pre-training", "retrieval") and task != has:
        raise ConfigError(f"this checkpoint has no head for {task}; it can be exported as {has}")
    published = to_official(network.state_dict())
    wanted = _TASKS[task]
    kept = {name: value for name, value in published.items() if name.startswith(wanted)}
    if task != "pre-training":
        kept.pop("backbone.mask_token", None)
    filled = _filling(network, kept, task)
    state = kept | {name: value for name, (value, _) in filled.items()}
    own = network.state_dict()
    left_out = parts_of([name for name in own if not to_official({name: own[name]}).keys() <= kept.keys()])
    why = {name: how for name, (_, how) in filled.items()}
    return OfficialExport(state=state, filled=why, left_out=left_out)


def _check_has_place(config: ModelConfig) -> None:
    """Whether the network is built as the authors' is.

    Raises:
        ConfigError: an encoder is one of transformers, or the fusion is of another kind.
    """
    odd = [
        f"an encoder of transformers ({part}: {encoder.architecture['model_type']})"
        for part, encoder in (("video", config.video), ("text", config.text))
        if isinstance(encoder, BorrowedVideoConfig | BorrowedTextConfig)
    ]
    if config.fusion.kind != "concatenated":
        odd.append(f"a fusion of kind {config.fusion.kind}")
    if odd:
        raise ConfigError(f"{' and '.join(odd)} has no place in the authors' code; use --to hub")


def otherwise_biased(video: VideoEncoderConfig, num_frames: int, side: int) -> tuple[Size, ...]:
    """Windows, as the tokens of a stage clip them, whose bias the published code and the exact rule read differently.

    Args:
        video: The encoder.
        num_frames: Of a clip.
        side: Of a frame, in pixels.

    Returns:
        Frames, rows and columns of the clipped window, of the stages in which that is so.
    """
    found = []
    for stage in range(len(video.depths)):
        until = replace(video, depths=video.depths[: stage + 1], num_heads=video.num_heads[: stage + 1])
        t, h, w = until.output_grid(num_frames, side, side)
        used = (min(t, video.window[0]), min(h, video.window[1]), min(w, video.window[2]))
        published, exact = (
            clipped_position_index(video.window, used, rule, torch.device("cpu")) for rule in ("published", "exact")
        )
        found += [] if torch.equal(published, exact) else [used]
    return tuple(found)


def parts_of(names: Iterable[str]) -> tuple[str, ...]:
    """The parts of a network that weights of these names (ours) belong to, in words and in their order.

    An encoder's mask token is a part of its own: it can be missing where the encoder is whole.
    """
    modules = ("mask_token" if name.endswith(".mask_token") else name.partition(".")[0] for name in names)
    return tuple(dict.fromkeys(module.replace("masked_word_", "masked-word ").replace("_", " ") for module in modules))


def _filling(network: CloverModel, kept: Mapping[str, Tensor], task: Task) -> dict[str, tuple[Tensor, str]]:
    """What the authors' class expects beyond what is here: it gets no gradient there, or is a constant."""
    width = network.config.own_text.width
    filled: dict[str, tuple[Tensor, str]] = {}
    for name, value in kept.items():
        if name.startswith(_WORDS):
            copied = name.replace(_WORDS, _OWN_WORDS)
            filled[copied] = (value.clone(), "a copy of the text encoder's, as the authors start it; no task reads it")
        elif name.endswith("relative_position_bias_table"):
            index = relative_position_index(network.config.own_video.window)
            constant = name.replace("relative_position_bias_table", "relative_position_index")
            filled[constant] = (index.clone(), "a constant")
    places = torch.arange(network.config.text.max_length)[None]
    for prefix in (_WORDS, _OWN_WORDS):
        filled[f"{prefix}position_ids"] = (places.clone(), "a constant")
    pooler, unread = "text_backbone.bert.pooler.dense", "fresh; no objective reads it"
    generator = torch.Generator().manual_seed(0)
    fresh = torch.empty(width, width).normal_(std=0.02, generator=generator)
    filled[f"{pooler}.weight"], filled[f"{pooler}.bias"] = (fresh, unread), (torch.zeros(width), unread)
    if task == "fill-in-the-blank":
        for layer, rows in (("1", width), ("3", 2)):
            fresh = nn.init.xavier_uniform_(torch.empty(rows, width), generator=generator)
            filled[f"itm_head.itm_projector.{layer}.weight"] = (fresh, "fresh; no released task uses it")
            filled[f"itm_head.itm_projector.{layer}.bias"] = (torch.zeros(rows), "fresh; no released task uses it")
    return filled
