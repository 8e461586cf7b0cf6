"""A pre-training step as a plain eager program writes it, on the weights of ours: the baseline; and made-up batches."""

from __future__ import annotations

import torch
from torch import Tensor

from clover.data.collators import PretrainingBatch
from clover.modeling.model import CloverModel, Embeddings, PretrainingOutput
from clover.modeling.pixels import normalise
from clover.types import IGNORED
from video_encoder import plain_forward

_FIRST_WORD, _MASK = 200, 103


def separate_calls(network: CloverModel, batch: PretrainingBatch, *, is_plain: bool = False) -> PretrainingOutput:
    """One call per encoder and sample (complete and masked video, complete and masked text, each fusion).

    The masked-word head looks at every place of the text, and what it says of other words is thrown away.

    Args:
        network: Ours.
        batch: Any.
        is_plain: Whether the video encoder is the plain one of `benchmarks/video_encoder.py`, with explicit softmax.
    """
    clip = normalise(batch.clip, network.config.pixels)

    def encoded(is_masked_cell: Tensor | None = None) -> Tensor:
        if is_plain:
            return plain_forward(network.video_encoder, clip, is_masked_cell)
        tokens: Tensor = network.video_encoder(clip, is_masked_cell)
        return tokens

    video, masked_video = encoded(), encoded(batch.is_masked_cell)
    text = network.text_encoder(batch.token_ids, batch.is_token)
    masked_text = network.text_encoder(batch.masked_token_ids, batch.is_token)
    for_video = network.fuse(masked_video, text, batch.is_token)
    for_text = network.fuse(video, masked_text, batch.is_token)
    embeddings = Embeddings(
        video=network.embed_video(video),
        text=network.embed_text(text),
        masked_video=network.embed_video(masked_video),
        masked_text=network.embed_text(masked_text),
        fused_for_video=network.fused_video_projection(for_video.cls).float(),
        fused_for_text=network.fused_text_projection(for_text.cls).float(),
    )
    scores = network.masked_word_head(for_text.text)
    return PretrainingOutput(embeddings=embeddings, word_scores=scores[batch.targets != IGNORED])


def plain_calls(network: CloverModel, batch: PretrainingBatch) -> PretrainingOutput:
    """`separate_calls` with the plain video encoder."""
    return separate_calls(network, batch, is_plain=True)


def made_batch(network: CloverModel, size: int, *, num_frames: int, pixels: int, longest: int) -> PretrainingBatch:
    """Random pixels, and texts of random words, a third as long as the longest and up; one word in six is masked."""
    config = network.config
    rows, columns = config.video.output_grid(num_frames, pixels, pixels)[1:]
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(longest // 3, longest + 1, (size, 1), generator=generator)
    lengths[0] = longest
    is_token = torch.arange(longest) < lengths
    first = min(_FIRST_WORD, config.text.vocabulary_size // 2)
    token_ids = torch.randint(first, config.text.vocabulary_size, (size, longest), generator=generator)
    is_masked = (torch.rand(size, longest, generator=generator) < 1 / 6) & is_token
    return PretrainingBatch(
        clip=torch.randint(0, 256, (size, num_frames, pixels, pixels, 3), generator=generator, dtype=torch.uint8),
        is_masked_cell=torch.rand(size, rows, columns, generator=generator) < 0.3,
        token_ids=token_ids.masked_fill(~is_token, 0),
        masked_token_ids=token_ids.masked_fill(is_masked, min(_MASK, first - 1)).masked_fill(~is_token, 0),
        is_token=is_token,
        targets=token_ids.masked_fill(~is_masked, IGNORED),
    )
