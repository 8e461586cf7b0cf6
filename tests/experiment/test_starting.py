"""A pre-training that starts from another run's weights."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_runs import corpus, shrunk  # noqa: F401

from clover.errors import CheckpointError, ConfigError
from clover.experiment.configs import StageConfig
from clover.experiment.pretraining import Pretraining
from clover.pipeline import Clover
from clover.publishing.history import kept_parts
from clover.recipes.ablation import SYSTEMS, WARM_PARTS
from clover.recipes.pretrain import shapes
from clover.training.adapters import MODULES
from clover.types import Resized


@pytest.fixture(scope="module")
def warm(corpus, tmp_path_factory):  # noqa: F811
    """Encoders warmed, nothing else trained."""
    folder = tmp_path_factory.mktemp("warm")
    experiment = replace(shrunk(shapes(), corpus, num_steps=2), training=StageConfig(num_steps=0), seed=9)
    return Pretraining(experiment, folder, quiet=True).run(), folder / "checkpoint"


def started(experiment, init, **changes):
    stages = {"video_warm_start": StageConfig(), "text_warm_start": StageConfig()}
    return replace(experiment, **stages, init=str(init), init_parts=WARM_PARTS, **changes)


def parts_of(state, parts):
    modules = {module for part in parts for module in MODULES[part]}
    return {name: value for name, value in state.items() if name.partition(".")[0] in modules}


def test_named_parts_are_taken_and_the_others_are_fresh(warm, corpus, tmp_path, capsys):  # noqa: F811
    plain = started(shrunk(shapes(), corpus), warm[1])
    run = Pretraining(plain, tmp_path)
    theirs = warm[0].network.state_dict()
    fresh = Pretraining(replace(plain, init="", data=replace(plain.data, tokenizer=str(warm[1]))), tmp_path, quiet=True)
    for name, value in run.network.state_dict().items():
        is_taken = name in parts_of(theirs, WARM_PARTS)
        assert torch.equal(value, (theirs if is_taken else fresh.network.state_dict())[name]), name
    assert run.init_weights == {part: len(parts_of(theirs, [part])) for part in WARM_PARTS}
    assert f"{run.init_weights['text_encoder']} of text_encoder" in capsys.readouterr().err
    assert run.tokenizer.fingerprint == warm[0].tokenizer.fingerprint


def test_a_resume_with_other_starting_weights_is_refused(warm, corpus, tmp_path):  # noqa: F811
    place = tmp_path / "init"
    warm[0].save_pretrained(place)
    plain = started(shrunk(shapes(), corpus), place)
    Pretraining(plain, tmp_path / "run", quiet=True).run()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["starting_checkpoint"] == warm[0].fingerprint
    assert set(record["init_weights"]) == set(WARM_PARTS)
    other = Clover.from_pretrained(place)
    with torch.no_grad():
        other.network.text_projection.expand.bias.add_(1.0)
    other.save_pretrained(place)
    with pytest.raises(CheckpointError, match=r"settings\.starting_checkpoint"):
        Pretraining(plain, tmp_path / "run", quiet=True).run(resume=True)


def test_another_shape_and_a_second_tokenizer_are_refused(warm, corpus, tmp_path):  # noqa: F811
    plain = started(shrunk(shapes(), corpus), warm[1])
    with pytest.raises(ConfigError, match="brings its own tokenizer"):
        Pretraining(replace(plain, data=replace(plain.data, tokenizer="elsewhere")), tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="nothing would be taken"):
        replace(plain, init_parts=())


def test_all_systems_see_the_same_data_and_start_from_the_same_weights(warm, corpus, tmp_path):  # noqa: F811
    batches, states = [], []
    for system in SYSTEMS.values():
        if system.is_warm and not system.has_compute_of:
            run = Pretraining(started(shrunk(system.recipe(), corpus), warm[1], seed=3), tmp_path, quiet=True)
            items = run.data.samples.sources[0][:8]
            batches.append(run.collator()(items, np.random.default_rng([3, 2, 0])))
            states.append(run.network.state_dict())
    assert len(states) == sum(system.is_warm and not system.has_compute_of for system in SYSTEMS.values()) > 7
    for batch, state in zip(batches[1:], states[1:], strict=True):
        assert all(torch.equal(state[name], value) for name, value in states[0].items())
        assert torch.equal(batch.clip, batches[0].clip)
        assert torch.equal(batch.token_ids, batches[0].token_ids)
    masked = [batch.masked_token_ids for batch in batches]
    assert not torch.equal(masked[3], masked[4])  # +TMA draws its masked words from all, +TMA+SM does not


def test_a_fusion_of_another_kind_is_refused_with_its_remedy(warm, corpus, tmp_path):  # noqa: F811
    plain = shrunk(shapes(), corpus)
    gated = replace(plain, model=replace(plain.model, fusion=replace(plain.model.fusion, kind="gated")))
    remedy = "--init-parts video_encoder text_encoder masked_words"
    with pytest.raises(ConfigError) as caught:
        Pretraining(replace(gated, init=str(warm[1])), tmp_path, quiet=True)
    assert f"{warm[1]} has a fusion of kind concatenated, this run one of kind gated" in str(caught.value)
    assert f"give {remedy} (a fresh fusion), or --model.fusion.kind concatenated" in str(caught.value)
    with pytest.raises(ConfigError, match=r"fit another; give --model\.fusion\.kind concatenated"):
        Pretraining(replace(gated, init=str(warm[1]), init_parts=("fusion",)), tmp_path, quiet=True)
    parts = tuple(remedy.split()[1:])
    run = Pretraining(replace(gated, init=str(warm[1]), init_parts=parts), tmp_path, quiet=True)
    assert run.init_weights.keys() == set(parts)


def test_a_run_takes_over_the_sizes_of_a_checkpoint_and_says_so(warm, corpus, tmp_path, capsys):  # noqa: F811
    recipe = replace(started(shrunk(shapes(), corpus), warm[1]), model=shapes().model)
    inputs = replace(recipe.inputs, frames=warm[0].config.inputs.frames)
    run = Pretraining(replace(recipe, inputs=inputs), tmp_path)
    told = capsys.readouterr().err
    assert "taken over with the weights: video.patch_size 2 8 8, video.width 16, video.depths 1 1," in told
    taken = parts_of(warm[0].network.state_dict(), WARM_PARTS)
    state = run.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in taken.items())
    assert run.config.model.embedding_width == recipe.model.embedding_width  # its projections are fresh


def test_the_history_tells_of_resized_tables(warm, corpus, tmp_path):  # noqa: F811
    plain = started(shrunk(shapes(), corpus, num_steps=1), warm[1])
    longer = replace(plain, model=replace(plain.model, text=replace(plain.model.text, max_length=200)))
    done = Pretraining(longer, tmp_path, quiet=True).run()
    (start,) = [event for event in done.history if event.kind == "start"]
    told = Resized(part="text_encoder", told="text positions drawn out from 192 to 200")
    assert start.resized == (told,)
    assert [event.resized for event in kept_parts([start], ["text_encoder"])] == [(told,)]
    assert [event.resized for event in kept_parts([start], ["video_encoder"])] == [()]
    assert "resized: text positions drawn out from 192 to 200" in done.card(name="longer")


def test_a_frozen_part_that_nothing_trained_is_said(warm, corpus, tmp_path, capsys):  # noqa: F811
    fresh = replace(shrunk(shapes(), corpus), freeze=("video_encoder", "fusion"), video_warm_start=StageConfig())
    Pretraining(fresh, tmp_path)
    assert "frozen, and nothing has trained it: video_encoder, fusion (--init" in capsys.readouterr().err
    Pretraining(replace(started(fresh, warm[1]), freeze=("video_encoder",)), tmp_path)
    assert "nothing has trained" not in capsys.readouterr().err
