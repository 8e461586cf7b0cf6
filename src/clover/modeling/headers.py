"""Whether weights fit a network, before either is made: by the shapes that the head of a safetensors file lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from clover.errors import CheckpointError, CloverError
from clover.modeling.heads import MaskedWordHead
from clover.modeling.model import CloverModel, ModelConfig
from clover.modeling.text_encoder import TextEncoder, TextEncoderConfig
from clover.modeling.video_swin import VideoEncoder, VideoEncoderConfig
from clover.modeling.weights import check_fit

_LAYERS = ".transformer.layers."
"""Between the name of a text or fusion encoder and the number of a layer."""
_COPY, _IMPORT = "copy the checkpoint again", "import again"
"""What to do about a folder that is damaged."""


def check_header(config: ModelConfig, weights: Path) -> None:
    """Find out whether a file has the weights of a network, without making it or reading them.

    A config can say anything; a network that is made by it takes as much memory as it says.

    Args:
        config: The network.
        weights: The safetensors file.

    Raises:
        CheckpointError: the file is not readable, a weight in it is missing, too many or of another shape, or the
            config is of no network that can be made.
    """
    layers = {f"fusion_encoder{_LAYERS}": config.fusion.transformer.num_layers}
    layers |= _layers(
        config.video if isinstance(config.video, VideoEncoderConfig) else None,
        config.text if isinstance(config.text, TextEncoderConfig) else None,
    )
    there = _listed(weights, remedy=_COPY)
    _check(lambda: CloverModel(config), layers, there, weights, remedy=_COPY)


def check_header_of_encoders(video: VideoEncoderConfig | None, text: TextEncoderConfig | None, weights: Path) -> None:
    """The same for a file of encoders alone, which begin without a mask token; BERT's may bring its masked-word head.

    Args:
        video: The video encoder, if there is one.
        text: The text encoder, if there is one.
        weights: The safetensors file.

    Raises:
        CheckpointError: as `check_header` does.
    """
    there = _listed(weights, remedy=_IMPORT)

    def make() -> nn.Module:
        parts: dict[str, nn.Module] = {}
        if video is not None:
            parts["video_encoder"] = VideoEncoder(video)
        if text is not None:
            parts["text_encoder"] = TextEncoder(text)
            if any(name.startswith("masked_word_head.") for name in there):
                width = text.transformer.width
                parts["masked_word_head"] = MaskedWordHead(width=width, vocabulary_size=text.vocabulary_size)
        return nn.ModuleDict(parts)

    no_mask = r"video_encoder\.mask_token"
    _check(make, _layers(video, text), there, weights, remedy=_IMPORT, may_lack=no_mask)


def _check(
    make: Callable[[], nn.Module],
    layers: Mapping[str, int],
    there: Mapping[str, Tensor],
    weights: Path,
    *,
    remedy: str,
    may_lack: str = "",
) -> None:
    _check_layers(layers, there, weights)
    try:
        with torch.device("meta"):
            network = make()
    except CloverError:
        raise
    except Exception as error:  # whatever a size that nobody meant does on its way
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"the config beside {weights} describes no network that can be made ({line}); {remedy}"
        ) from error
    check_fit(network, there, source=str(weights), may_lack=may_lack)


def _listed(weights: Path, *, remedy: str) -> dict[str, Tensor]:
    """Names and shapes, as tensors without numbers."""
    try:
        with safe_open(weights, framework="pt") as file:
            names = list(file.keys())
            shapes = {name: file.get_slice(name).get_shape() for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights} is not a readable weights file ({error}); {remedy}") from error
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _layers(video: VideoEncoderConfig | None, text: TextEncoderConfig | None) -> dict[str, int]:
    """How many layers lie where, by what stands before their numbers."""
    said: dict[str, int] = {}
    if video is not None:
        said |= {f"video_encoder.stages.{stage}.": depth for stage, depth in enumerate(video.depths)}
    if text is not None:
        said[f"text_encoder{_LAYERS}"] = text.transformer.num_layers
    return said


def _check_layers(said: Mapping[str, int], there: Mapping[str, Tensor], weights: Path) -> None:
    """Layers are objects, which take memory even where their weights take none."""
    for prefix, count in said.items():
        pattern = re.compile(rf"{re.escape(prefix)}(\d+)\.")
        found = len({match[1] for name in there if (match := pattern.match(name))})
        if count != found:
            raise CheckpointError(
                f"{weights} does not fit this model: the config beside it says {count} layers {prefix}*, it has {found}"
            )
