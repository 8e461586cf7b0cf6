"""Whether weights fit a network, before either is made: by the shapes that the head of a safetensors file lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clover.errors import CheckpointError, CloverError
from clover.modeling.fusion import FusionConfig
from clover.modeling.model import CloverModel, ModelConfig
from clover.modeling.text_encoder import TextEncoderConfig
from clover.modeling.video_swin import VideoEncoderConfig
from clover.modeling.weights import check_fit


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
    there = _listed(weights)
    _check_layers(config, there, weights)
    try:
        with torch.device("meta"):
            network = CloverModel(config)
    except CloverError:
        raise
    except Exception as error:  # whatever a size that nobody meant does on its way
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"the config beside {weights} describes no network that can be made ({line}); copy the checkpoint again"
        ) from error
    check_fit(network, there, source=str(weights))


def _listed(weights: Path) -> dict[str, Tensor]:
    """Names and shapes, as tensors without numbers."""
    try:
        with safe_open(weights, framework="pt") as file:
            names = list(file.keys())
            shapes = {name: file.get_slice(name).get_shape() for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights} is not a readable weights file ({error}); copy it again") from error
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _check_layers(config: ModelConfig, there: Mapping[str, Tensor], weights: Path) -> None:
    """Layers are objects, which take memory even where their weights take none."""
    said: dict[str, int] = {}
    if isinstance(config.video, VideoEncoderConfig):
        said |= {f"video_encoder.stages.{stage}.": depth for stage, depth in enumerate(config.video.depths)}
    parts: list[tuple[str, TextEncoderConfig | FusionConfig]] = [("fusion_encoder", config.fusion)]
    if isinstance(config.text, TextEncoderConfig):
        parts.append(("text_encoder", config.text))
    said |= {f"{name}.transformer.layers.": part.transformer.num_layers for name, part in parts}
    for prefix, count in said.items():
        pattern = re.compile(rf"{re.escape(prefix)}(\d+)\.")
        found = len({match[1] for name in there if (match := pattern.match(name))})
        if count != found:
            raise CheckpointError(
                f"{weights} does not fit this model: the config beside it says {count} layers {prefix}*, it has {found}"
            )
