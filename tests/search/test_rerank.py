"""Scoring found spans again by the fusion encoder: what it computes, what is kept, and when it stops."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video_writer import write_video
from clover.errors import ConfigError
from clover.modeling.initialise import new_model
from clover.modeling.model import unit
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.search.engine import open_library, search
from clover.search.indexing import index_videos
from clover.search.rerank import RerankConfig, VideoTokens, fused_similarity, reranked
from clover.search.windows import WindowConfig


def model(**changes):
    tokenizer = Tokenizer.train(["a red ball moves left"], 100)
    config = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), **changes)
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=16)
    return Clover(new_model(config, seed=0), tokenizer, CloverConfig(model=config, inputs=inputs))


@pytest.fixture(scope="module")
def clover():
    return model()


@pytest.fixture
def library(clover, tmp_path):
    generator = np.random.default_rng(0)
    for number in range(6):
        images = generator.integers(0, 255, (16, 32, 32, 3), dtype=np.uint8)
        write_video(tmp_path / f"{number}.mp4", images)
    index = open_library(tmp_path / "library", clover, WindowConfig())
    index_videos(index, clover, sorted(tmp_path.glob("*.mp4")), WindowConfig())
    return index


@pytest.mark.parametrize("pairing", ["paper", "first_release"])
def test_fusion_is_compared_as_in_pretraining(pairing):
    clover = model(fused_pairing=pairing)
    network = clover.network
    clips = np.random.default_rng(1).integers(0, 255, (3, 8, 32, 32, 3), dtype=np.uint8)
    found = fused_similarity(clover, "a red ball", clover.video_tokens(list(clips)))
    nothing = torch.zeros(3, dtype=torch.bool)
    token_ids, is_token = clover.encode_words(["a red ball"] * 3)
    grid = network.video_encoder.patch_embedding(torch.zeros(1, 8, 32, 32, 3)).shape[-3:-1]
    with torch.inference_mode():
        output = network.pretraining_output(
            torch.from_numpy(clips),
            nothing[:, None, None].expand(3, *grid),
            token_ids,
            token_ids,
            is_token,
            torch.zeros_like(is_token),
        ).embeddings
    # with nothing masked, both of pre-training's fusions are this one
    assert found.video == pytest.approx((unit(output.fused_for_video) * unit(output.video)).sum(1), abs=1e-5)
    assert found.text == pytest.approx((unit(output.fused_for_text) * unit(output.text)).sum(1), abs=1e-5)


def test_the_order_is_that_of_the_sum_and_the_rest_stays_behind(clover, library):
    query = "a red ball moves left"
    plain = search(library, clover, query, 6)
    tokens = VideoTokens(clover)
    again = search(library, clover, query, 6, rerank=RerankConfig(rerank=4, rerank_weight=3.0), tokens=tokens)
    assert {span.video for span in again[:4]} == {span.video for span in plain[:4]}
    assert again[4:] == plain[4:]
    sums = [span.reranked for span in again[:4]]
    assert sums == sorted(sums, reverse=True)
    for span in again[:4]:
        (one,) = tokens.of([span.best])
        assert span.reranked == pytest.approx(span.score + 3 * float(fused_similarity(clover, query, one[None]).text))
    assert search(library, clover, query, 6, rerank=RerankConfig()) == plain


def test_more_are_scored_than_are_shown(clover, library):
    query = "a red ball moves left"
    every = search(library, clover, query, 6, rerank=RerankConfig(rerank=6, rerank_weight=50.0))
    assert search(library, clover, query, 2, rerank=RerankConfig(rerank=6, rerank_weight=50.0)) == every[:2]


def test_files_that_are_gone_or_have_changed_go_behind(clover, library, tmp_path):
    spans = search(library, clover, "a red ball", 6)
    (tmp_path / spans[0].video).unlink()
    write_video(tmp_path / spans[1].video, np.zeros((8, 32, 32, 3), dtype=np.uint8))
    again = reranked(spans, "a red ball", VideoTokens(clover), clover, RerankConfig(rerank=6))
    assert again[4:] == spans[:2]
    assert all(span.reranked is not None for span in again[:4])


def test_when_the_time_is_up_the_rest_keeps_its_order(clover, library):
    spans = search(library, clover, "a red ball", 6)
    hasty = RerankConfig(rerank=6, rerank_seconds=1e-9)
    assert reranked(spans, "a red ball", VideoTokens(clover), clover, hasty, batch_size=2) == spans


def test_tokens_are_kept_within_bounds(clover, library):
    moments = library.moments
    (one,) = VideoTokens(clover).of(moments[:1])
    size = one.numel() * one.element_size()
    tokens = VideoTokens(clover, max_bytes=3 * size)
    first = tokens.of(moments[:3])
    assert tokens.num_bytes == 3 * size
    assert all(kept is before for kept, before in zip(tokens.of(moments[:3]), first, strict=True))
    tokens.of(moments[3:5])
    assert tokens.num_bytes == 3 * size
    assert tokens.of(moments[2:3])[0] is first[2]
    assert tokens.of(moments[:1])[0] is not first[0]
    assert VideoTokens(clover, max_bytes=1).of(moments[:1])[0] is not None


@pytest.mark.parametrize("wrong", [{"rerank": -1}, {"rerank_seconds": 0.0}, {"rerank_weight": -1.0}])
def test_settings_without_sense(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RerankConfig(**wrong)
