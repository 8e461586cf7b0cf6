"""The three graphs a checkpoint is exported as, with the names and sizes of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clover.errors import ConfigError
from clover.export.video_graph import VideoGraph
from clover.modeling.model import CloverModel, unit
from clover.modeling.text_encoder import TextEncoder
from clover.modeling.video_swin import VideoEncoder
from clover.pipeline import Clover

BATCH, FRAMES, LENGTH, CELLS = "batch", "frames", "length", "cells"
"""Names of the sizes that are free: clips or texts; frames of a clip; word pieces; temporal cells of video tokens."""

_EXAMPLE_BATCH, _EXAMPLE_LENGTH = 3, 7


@dataclass(frozen=True, kw_only=True)
class Free:
    """A size that the user of a graph chooses."""

    name: str
    least: int = 1
    most: int | None = None
    """Largest that works; None: any."""
    times: int = 1
    """The size is a multiple of this."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a graph."""

    name: str
    shape: tuple[int | Free, ...]
    example: Tensor
    """One value, for the tracer."""
    about: str


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One graph, before it is traced."""

    name: str
    """Of its file."""
    module: nn.Module
    """Takes the inputs by place, gives a tensor per output."""
    inputs: tuple[Input, ...]
    outputs: Mapping[str, str]
    """What every output is, by name, in their order."""


class VideoTower(nn.Module):
    """Clips to video tokens and normalised embeddings."""

    def __init__(self, network: CloverModel, num_views: int) -> None:
        super().__init__()
        assert isinstance(network.video_encoder, VideoEncoder), "`graphs_of` refuses others"
        self.encoder = VideoGraph(network.video_encoder, network.config.pixels, num_views)
        self.projection = network.video_projection

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[b t h w d]`` and embeddings ``[b d]`` of RGB clips ``[b frames height width 3]`` (uint8)."""
        tokens = self.encoder(clip)
        return tokens, unit(self.projection(tokens.mean(dim=(1, 2, 3))))


class TextTower(nn.Module):
    """Word pieces to text tokens and normalised embeddings."""

    def __init__(self, network: CloverModel) -> None:
        super().__init__()
        self.encoder, self.projection = network.text_encoder, network.text_projection

    def forward(self, token_ids: Tensor, is_token: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[b l d]`` and embeddings ``[b d]`` of token ids ``[b l]``."""
        tokens = self.encoder(token_ids, is_token)
        return tokens, unit(self.projection(tokens[:, 0]))


class Fusion(nn.Module):
    """Video tokens and text tokens to fused embeddings, and to the scores of the checkpoint's heads."""

    def __init__(self, network: CloverModel) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, video_tokens: Tensor, text_tokens: Tensor, is_token: Tensor, is_blank: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Two fused embeddings ``[b d]``, for video and text; then scores ``[b answers]``, ``[b]`` of the heads."""
        network = self.network
        pools_video = network.config.fused_pairing != "paper"
        fused = network.fuse(video_tokens, text_tokens, is_token, gives_video=pools_video)
        pair = network.fused_pair(fused)
        found = [unit(pair.for_video), unit(pair.for_text)]
        if network.answer_head is not None:
            place = fused.cls
            if is_blank is not None:
                place = (fused.text * is_blank.to(fused.text.dtype)[:, :, None]).sum(dim=1)
            found.append(network.answer_head(place))
        if network.choice_head is not None:
            found.append(network.choice_head(fused.cls)[:, 0])
        return tuple(found)


def graphs_of(clover: Clover) -> tuple[Graph, Graph, Graph]:
    """The video tower, the text tower and the fusion of a model; its weights are shared, and are frozen.

    Raises:
        ConfigError: an encoder is of a kind that cannot be written as a graph.
    """
    network = clover.network.requires_grad_(False).eval()
    encoders: tuple[tuple[nn.Module, type[nn.Module], str], ...] = (
        (network.video_encoder, VideoEncoder, "video encoder"),
        (network.text_encoder, TextEncoder, "text encoder"),
    )
    for encoder, own, name in encoders:
        if not isinstance(encoder, own):
            raise ConfigError(
                f"the {name} is a {type(encoder).__name__}, and only Clover's own can be exported as graphs; "
                "--to hub takes any"
            )
    return _video(clover), _text(clover), _fusion(clover)


def _video(clover: Clover) -> Graph:
    inputs, network = clover.config.inputs, clover.network
    size, views = inputs.frames.size, inputs.num_views
    example = torch.zeros(_EXAMPLE_BATCH, inputs.num_frames * views, size, size, 3, dtype=torch.uint8)
    shown = "RGB frames, 0..255" + (f"; {views} clips of each video, one after another" if views > 1 else "")
    shape = (Free(name=BATCH), Free(name=FRAMES, times=views), size, size, 3)
    return Graph(
        name="video",
        module=VideoTower(network, views),
        inputs=(Input(name="clip", shape=shape, example=example, about=shown),),
        outputs={
            "video_tokens": "[batch, cells, rows, columns, width], what the fusion takes",
            "video_embedding": "[batch, width], of length one: compare with text_embedding by dot product",
        },
    )


def _words(clover: Clover) -> tuple[Free, Tensor, Tensor]:
    most = clover.config.model.text.max_length
    length = min(_EXAMPLE_LENGTH, most)
    ids = torch.zeros(_EXAMPLE_BATCH, length, dtype=torch.long)
    return Free(name=LENGTH, least=2, most=most), ids, torch.ones_like(ids, dtype=torch.bool)


def _text(clover: Clover) -> Graph:
    length, ids, is_token = _words(clover)
    shape = (Free(name=BATCH), length)
    return Graph(
        name="text",
        module=TextTower(clover.network),
        inputs=(
            Input(name="token_ids", shape=shape, example=ids, about="word pieces: [CLS] ... [SEP], then padding"),
            Input(name="is_token", shape=shape, example=is_token, about="false at padding"),
        ),
        outputs={
            "text_tokens": "[batch, length, width], what the fusion takes",
            "text_embedding": "[batch, width], of length one: compare with video_embedding by dot product",
        },
    )


def _fusion(clover: Clover) -> Graph:
    network, config = clover.network, clover.config.model
    size = clover.config.inputs.frames.size
    _, rows, columns = config.video.output_grid(1, size, size)
    most = config.fusion.num_temporal_positions
    length, ids, is_token = _words(clover)
    video = torch.zeros(_EXAMPLE_BATCH, most, rows, columns, config.video.output_width)
    text = torch.zeros(*ids.shape, config.text.width)
    batch = Free(name=BATCH)
    cells: int | Free = Free(name=CELLS, most=most) if most > 1 else 1
    inputs = [
        Input(name="video_tokens", shape=(batch, cells, *video.shape[2:]), example=video, about="of the video graph"),
        Input(name="text_tokens", shape=(batch, length, text.shape[2]), example=text, about="of the text graph"),
        Input(name="is_token", shape=(batch, length), example=is_token, about="as the text graph took it"),
    ]
    if config.heads.answers_at_mask:
        about = "true at the one [MASK] of every text"
        inputs.append(Input(name="is_blank", shape=(batch, length), example=is_token.clone(), about=about))
    outputs = {
        "fused_for_video": "[batch, width], of length one: how well both fit, by dot product with video_embedding",
        "fused_for_text": "[batch, width], of length one: the same with text_embedding (what re-ranking uses)",
    }
    if config.heads.num_answers:
        outputs["answer_scores"] = "[batch, answers], scores before softmax, in the order of answers in config.json"
    if config.heads.has_choices:
        outputs["choice_score"] = "[batch], score of one candidate text; softmax over the candidates of a question"
    return Graph(name="fusion", module=Fusion(network), inputs=tuple(inputs), outputs=outputs)


def described(graph: Graph) -> dict[str, Any]:
    """A graph's inputs and outputs as plain values, for config.json."""

    def size(extent: int | Free) -> int | str:
        if isinstance(extent, int):
            return extent
        most = f" <= {extent.most}" if extent.most else ""
        return f"{extent.name}{most}" + (f", a multiple of {extent.times}" if extent.times > 1 else "")

    return {
        "inputs": {
            one.name: {
                "shape": [size(extent) for extent in one.shape],
                "type": str(one.example.dtype).removeprefix("torch."),
                "about": one.about,
            }
            for one in graph.inputs
        },
        "outputs": dict(graph.outputs),
    }
