"""Whether an exported model computes what the checkpoint does: on noise and on clips, of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clover.errors import ExportError
from clover.export.graphs import Graph
from clover.modeling.model import unit
from clover.modeling.video_swin import VideoEncoderConfig
from clover.pipeline import Clover

TOLERANCE = 1e-4
"""Largest difference of one number that is put up with; all outputs are near 1 in size, or below."""

Run = Callable[[str, Mapping[str, np.ndarray]], Sequence[np.ndarray]]
"""The name of a graph and its inputs by name in, its outputs in their order out."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One set of inputs for the two towers."""

    clips: np.ndarray
    """``[b frames height width 3]``, uint8."""
    token_ids: np.ndarray
    is_token: np.ndarray


def cases(clover: Clover, clips: Sequence[np.ndarray]) -> Iterator[Case]:
    """Inputs of several sizes: noise of one frame, of the model's own number and of more than a window, and clips.

    Args:
        clover: The model.
        clips: Clips ``[frames height width 3]`` of one shape, in batches of three.
    """
    config, inputs = clover.config.model, clover.config.inputs
    generator = np.random.default_rng(0)
    assert isinstance(config.video, VideoEncoderConfig), "others are not exported"
    beyond_window = config.video.window[0] * config.video.patch_size[0] + 1
    for num_clips, num_frames, length in (
        (1, 1, 3),
        (3, inputs.num_frames, inputs.max_text_length),
        (2, inputs.num_frames + 1, 5),
        (1, beyond_window, config.text.max_length),
    ):
        shape = (num_clips, num_frames * inputs.num_views, inputs.frames.size, inputs.frames.size, 3)
        noise = generator.integers(0, 256, shape, dtype=np.uint8)
        yield _with_words(clover, noise, length, generator)
    for first in range(0, len(clips), 3):
        yield _with_words(clover, np.stack(clips[first : first + 3]), inputs.max_text_length, generator)


def _with_words(clover: Clover, clips: np.ndarray, length: int, generator: np.random.Generator) -> Case:
    """Random words, every second text a padded one; exactly one [MASK] in each."""
    tokenizer = clover.tokenizer
    token_ids = generator.integers(0, tokenizer.vocabulary_size, (len(clips), length))
    token_ids[:, 0] = tokenizer.cls_id
    token_ids[:, 1:][token_ids[:, 1:] == tokenizer.mask_id] = tokenizer.unk_id
    token_ids[:, 1] = tokenizer.mask_id
    is_token = np.ones(token_ids.shape, dtype=bool)
    is_token[::2, -(-length * 2 // 3) :] = False
    token_ids[~is_token] = tokenizer.pad_id
    return Case(clips=clips, token_ids=token_ids, is_token=is_token)


def made_clips(clover: Clover, count: int) -> list[np.ndarray]:
    """Clips of a bright square that crosses a shaded ground, for where there are no videos."""
    inputs = clover.config.inputs
    size, num_frames = inputs.frames.size, inputs.num_frames * inputs.num_views
    generator = np.random.default_rng(1)
    side = max(1, size // 4)
    made = []
    for _ in range(count):
        top, bottom = generator.uniform(0, 160, 2)
        shade = np.linspace(top, bottom, size)[:, None] + np.zeros((size, size))
        clip = np.repeat(shade[None, :, :, None], num_frames, axis=0).repeat(3, axis=3).astype(np.uint8)
        start, end = generator.integers(0, size - side + 1, (2, 2))
        color = generator.integers(0, 256, 3)
        for frame in range(num_frames):
            top, left = start + (end - start) * frame // max(1, num_frames - 1)
            clip[frame, top : top + side, left : left + side] = color
        made.append(clip)
    return made


@torch.inference_mode()
def check(clover: Clover, graphs: Sequence[Graph], run: Run, clips: Sequence[np.ndarray]) -> dict[str, float]:
    """Compare an exported model with the checkpoint, the graphs one after another as a user chains them.

    Args:
        clover: The checkpoint; what it computes itself is compared with, not what was traced.
        graphs: Video, text and fusion.
        run: The exported model.
        clips: Clips of the model's own size, beside the noise.

    Returns:
        The largest difference of every output.

    Raises:
        ExportError: one is larger than `TOLERANCE`, or an output is no number.
    """
    worst: dict[str, float] = {}
    for case in cases(clover, clips):
        own = _own_outputs(clover, case)
        words: dict[str, np.ndarray] = {"token_ids": case.token_ids, "is_token": case.is_token}
        given: dict[str, Any] = {"clip": case.clips, **words}
        given["is_blank"] = case.token_ids == clover.tokenizer.mask_id
        for graph in graphs:
            if graph.name == "fusion" and "fused_for_text" not in own:
                continue
            found = run(graph.name, {one.name: given[one.name] for one in graph.inputs})
            for name, value in zip(graph.outputs, found, strict=True):
                given[name] = value
                difference = _difference(own[name].numpy(), value)
                if not difference <= TOLERANCE:
                    size = ", ".join(f"{one.name} {list(given[one.name].shape)}" for one in graph.inputs)
                    raise ExportError(
                        f"the exported {graph.name} graph is wrong by {difference:.1e} in {name} for {size}; at most "
                        f"{TOLERANCE:.0e} is put up with, nothing was written"
                    )
                worst[name] = max(worst.get(name, 0.0), difference)
    return worst


def _difference(own: np.ndarray, found: np.ndarray) -> float:
    """The largest; infinite where shapes differ or something is no number."""
    if own.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(own - found).max())


def _own_outputs(clover: Clover, case: Case) -> dict[str, Tensor]:
    """What the network itself gives, by the names of the graphs' outputs; no fusion where the video is too long."""
    network, config = clover.network, clover.config.model
    video = clover.video_tokens(list(case.clips))
    token_ids, is_token = torch.from_numpy(case.token_ids), torch.from_numpy(case.is_token)
    text = network.text_encoder(token_ids, is_token)
    found = {
        "video_tokens": video,
        "video_embedding": unit(network.embed_video(video)),
        "text_tokens": text,
        "text_embedding": unit(network.embed_text(text)),
    }
    if video.shape[1] > config.fusion.num_temporal_positions:
        return found
    pair = network.fused_pair(network.fuse(video, text, is_token))
    found |= {"fused_for_video": unit(pair.for_video), "fused_for_text": unit(pair.for_text)}
    if network.answer_head is not None:
        is_blank = token_ids == clover.tokenizer.mask_id if config.heads.answers_at_mask else None
        found["answer_scores"] = network.answer_scores(video, token_ids, is_token, is_blank=is_blank)
    if network.choice_head is not None:
        found["choice_score"] = network.choice_scores(video, token_ids[:, None], is_token[:, None])[:, 0]
    return found
