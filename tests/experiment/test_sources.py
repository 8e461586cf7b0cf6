"""Pre-training from the publishers' files and from shards: in turn, resumed in the middle, with whatever is broken."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clover.checkpoints import InputConfig
from clover.data.packing.encoding import EncodingConfig
from clover.data.packing.pack import pack_here
from clover.data.packing.settings import PackingConfig, Part
from clover.data.packing.sources import SourceOptions
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.data.tagging import load_tagger, tag
from clover.errors import ConfigError, DataError
from clover.experiment.configs import PretrainingDataConfig, StageConfig
from clover.experiment.pieces import captioned_videos
from clover.experiment.pretraining import Pretraining
from clover.experiment.sources import open_pretraining_data
from clover.modeling.sizes import tiny
from clover.recipes.pretrain import RECIPES, webvid_cc3m
from clover.training.optimizer import OptimizerConfig

SHAPES = ShapesConfig(num_videos=24, size=64)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """WebVid and CC3M as loose files and as tars."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("webvid", "cc3m", "webdataset"):
        write_corpus(folder / name, SHAPES, num_processes=1, format=name)
    return folder


def loose(published):
    return {
        "webvid_annotations": str(published / "webvid/annotations/results_2M_train.csv"),
        "webvid_videos": str(published / "webvid"),
        "cc3m_annotations": str(published / "cc3m/annotations/Train_GCC-training.tsv"),
        "cc3m_images": str(published / "cc3m"),
    }


def tars(published):
    return {
        "video_shards": str(published / "webdataset/webvid/train/*.tar"),
        "image_shards": str(published / "webdataset/cc3m/train"),
    }


INPUTS = InputConfig(
    num_frames=8, frames=replace(webvid_cc3m().inputs.frames, size=32, training_short_side=40), max_text_length=30
)


def opened(sources, folder, **settings):
    data = PretrainingDataConfig(num_kept_frames=0, vocabulary_size=400, **sources, **settings)
    return open_pretraining_data(data, INPUTS, folder, quiet=True)


def shrunk(sources, *, num_steps=6, batch_size=4, num_workers=0, **settings):
    recipe = webvid_cc3m()
    return replace(
        recipe,
        model=replace(tiny(vocabulary_size=1), initial_weights="fan_in"),
        inputs=INPUTS,
        data=replace(recipe.data, vocabulary_size=400, **sources, **settings),
        training=replace(recipe.training, num_steps=num_steps, batch_size=batch_size),
        save_every=5,
        num_workers=num_workers,
    )


def rows(folder):
    lines = (folder / "pretraining/log.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if not name.startswith("time_")} for line in lines]


def test_the_recipe_has_the_published_numbers():
    recipe = RECIPES["webvid_cc3m"]()
    assert recipe.training == StageConfig(
        num_epochs=40.0, batch_size=1024, micro_batch_size=32, optimizer=OptimizerConfig()
    )
    optimizer = recipe.training.optimizer
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.betas) == (5e-5, 0.005, (0.9, 0.98))
    assert (optimizer.warmup_share, optimizer.warmup_start, optimizer.final_factor) == (0.1, 1e-3, 1e-3)
    assert (recipe.inputs.num_frames, recipe.inputs.max_text_length, recipe.inputs.frames.size) == (8, 30, 224)
    assert recipe.inputs.frames.training_short_side == 256 and recipe.inputs.frames.flip_probability == 0
    assert recipe.model.text.transformer.num_layers == 12 and recipe.model.video.depths == (2, 2, 18, 2)
    assert not recipe.video_warm_start.num_steps and not recipe.text_warm_start.num_steps


@pytest.mark.parametrize("sources", [loose, tars])
def test_videos_give_eight_frames_and_images_one(sources, published, tmp_path):
    data = opened(sources(published), tmp_path)
    videos, images = data.samples.sources
    assert len(videos) == len(images) > 15
    generator = np.random.default_rng(0)
    assert data.read_clip(videos[3], generator).shape == (8, 32, 32, 3)
    assert data.read_clip(images[-1], generator).shape == (1, 32, 32, 3)
    assert not videos[3].is_image and images[0].is_image
    assert [sample.name for sample in videos[2:5]] == [videos[place].name for place in (2, 3, 4)]
    assert not data.skipped and not data.has_labels
    with pytest.raises(IndexError):
        videos[len(videos)]


def test_loose_files_and_tars_hold_the_same_samples(published, tmp_path):
    files, shards = (opened(sources(published), tmp_path).samples.sources for sources in (loose, tars))
    for ours, theirs in zip(files, shards, strict=True):
        assert {sample.captions for sample in ours} == {sample.captions for sample in theirs}


def test_a_run_through_the_command_line_with_workers(published, tmp_path):
    model = tiny(vocabulary_size=1)
    sizes = {
        "--model.video.patch-size": model.video.patch_size,
        "--model.video.width": model.video.width,
        "--model.video.depths": model.video.depths,
        "--model.video.num-heads": model.video.num_heads,
        "--model.video.window": model.video.window,
        "--model.fusion.video-width": model.fusion.video_width,
        "--model.fusion.num-spatial-positions": model.fusion.num_spatial_positions,
        "--model.embedding-width": model.embedding_width,
        "--model.projection-width": model.projection_width,
        "--inputs.frames.size": 32,
        "--inputs.frames.training-short-side": 40,
        "--data.vocabulary-size": 400,
        "--training.batch-size": 8,
        "--training.num-steps": 3,
        "--num-workers": 2,
        "--out": tmp_path / "run",
    }
    for part in ("text", "fusion"):
        layers = model.text.transformer
        sizes |= {
            f"--model.{part}.transformer.width": layers.width,
            f"--model.{part}.transformer.num-layers": layers.num_layers,
            f"--model.{part}.transformer.num-heads": layers.num_heads,
            f"--model.{part}.transformer.feed-forward-width": layers.feed_forward_width,
        }
    options = {**{f"--data.{name.replace('_', '-')}": value for name, value in loose(published).items()}, **sizes}
    words = [
        str(word)
        for name, value in options.items()
        for word in (name, *(value if isinstance(value, tuple) else (value,)))
    ]
    done = subprocess.run(
        [sys.executable, "-m", "clover", "pretrain", "webvid_cc3m", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "21 videos" in done.stderr and "21 images" in done.stderr
    assert "Traceback" not in done.stderr and "forked" not in done.stderr
    assert [row["step"] for row in rows(tmp_path / "run")] == [0, 1, 2]
    assert load_file(tmp_path / "run/checkpoint/model.safetensors")


def test_resumed_in_the_middle_of_an_epoch_is_no_interruption(published, tmp_path):
    # 21 videos, 5 batches an epoch; saved after step 5, in the first pass of both sources
    experiment = shrunk(tars(published), num_steps=7, num_workers=1)
    whole = Pretraining(experiment, tmp_path / "whole", quiet=True).run()

    class StopError(Exception):
        pass

    class Stopping(Pretraining):
        def collator(self):
            made = super().collator()

            def collate(items, generator):
                collate.num_made += 1
                if collate.num_made > 6:
                    raise StopError
                return made(items, generator)

            collate.num_made = 0
            return collate

    with pytest.raises(StopError):
        Stopping(replace(experiment, num_workers=0), tmp_path / "cut", quiet=True).run()
    assert not (tmp_path / "cut/checkpoint").exists()
    resumed = Pretraining(replace(experiment, num_workers=2), tmp_path / "cut", quiet=True).run(resume=True)
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    ours, theirs = whole.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_epochs_are_passes_over_the_source_that_takes_longest(published, tmp_path):
    training = StageConfig(num_epochs=1.5, batch_size=4)
    both = replace(shrunk(tars(published)), training=training)
    assert Pretraining(both, tmp_path, quiet=True).stages["pretraining"].num_steps == 15
    one = replace(both, data=replace(both.data, image_shards=""))
    assert Pretraining(one, tmp_path, quiet=True).stages["pretraining"].num_steps == round(1.5 * 5)
    capped = replace(both, training=replace(training, num_steps=7))
    assert Pretraining(capped, tmp_path, quiet=True).stages["pretraining"].num_steps == 7
    with pytest.raises(ConfigError, match=r"21 samples do not fill a batch of 64; .*--training.batch-size"):
        Pretraining(replace(both, training=replace(training, batch_size=64)), tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="warm start of the video encoder needs a generated corpus"):
        Pretraining(replace(both, video_warm_start=StageConfig(num_steps=1, batch_size=4)), tmp_path, quiet=True)


def broken_copy(published, folder):
    """Tars of videos: one whole with a member that is no video, one that is no tar, one that was cut short."""
    folder.mkdir()
    whole = published / "webdataset/webvid/train/00000.tar"
    content = bytearray(whole.read_bytes())
    with tarfile.open(whole) as archive:
        video = next(member for member in archive if member.name.endswith(".mp4"))
        last = archive.getmembers()[-1]
    content[video.offset_data : video.offset_data + video.size] = b"x" * video.size
    (folder / "0.tar").write_bytes(content)
    (folder / "1.tar").write_bytes(b"<html>no tar</html>" * 100)
    (folder / "2.tar").write_bytes(whole.read_bytes()[: last.offset_data])
    return video.name.removesuffix(".mp4")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_is_broken_is_skipped_counted_and_named(num_workers, published, tmp_path):
    key = broken_copy(published, tmp_path / "tars")
    experiment = shrunk({"video_shards": str(tmp_path / "tars")}, num_steps=5, batch_size=8, num_workers=num_workers)
    run = Pretraining(experiment, tmp_path / "run", quiet=True)
    assert any("1.tar: expected an uncompressed tar" in reason for reason in run.skipped.values())
    assert any("2.tar" in reason and "cut short" in reason for reason in run.skipped.values())
    assert not any(key in name for name in run.skipped)  # known only when it is read
    run.run()
    name = f"{tmp_path / 'tars/0.tar'}, sample {key}"
    assert name in run.skipped and run.skipped[name].startswith(f"{name}: is not a video")
    assert len(rows(tmp_path / "run")) == 5
    listed = [json.loads(line) for line in (tmp_path / "run/skipped.jsonl").read_text().splitlines()]
    assert {row["path"]: row["reason"] for row in listed} == run.skipped
    assert [row["stage"] for row in listed if row["path"] == name] == ["pretraining"]
    assert all(row["step"] is None for row in listed if row["path"] != name)
    strict = replace(experiment, data=replace(experiment.data, strict=True))
    with pytest.raises(DataError, match=r"1\.tar: expected an uncompressed tar .*without --data.strict"):
        Pretraining(strict, tmp_path / "strict", quiet=True)


def test_rows_without_a_file_are_left_out_and_counted(published, tmp_path, capfd):
    videos = tmp_path / "webvid"
    shutil.copytree(published / "webvid", videos)
    lost = sorted(videos.glob("videos/*/*.mp4"))[:3]
    for path in lost:
        path.unlink()
    sources = {**loose(published), "webvid_videos": str(videos)}
    data = PretrainingDataConfig(num_kept_frames=0, vocabulary_size=400, **sources)
    found = open_pretraining_data(data, INPUTS, tmp_path)
    said = capfd.readouterr().err
    kept = {sample.name for sample in found.samples.sources[0]}
    num_lost = 21 - len(kept)
    assert num_lost > 0 and f"{num_lost} rows have no file (the first: {videos}" in said
    assert not kept & {str(path) for path in lost}


def packed(published, path):
    """A tar as `clover data pack` writes it: captions with tags, of which one belongs to no word of its caption."""
    tagger = load_tagger("hanta")
    texts = ["a red ball moves left", "the ball goes to the left", "a blue cube"]
    tags = [[[word.start, word.end, "NOUN"] for word in words] for words in tagger.tag(texts)]
    video = next((published / "webvid/videos").glob("*/*.mp4")).read_bytes()
    members = [
        ("1.mp4", video),
        ("1.txt", texts[0].encode()),
        ("1.json", {"tags": tags[0], "other_captions": [{"caption": texts[1], "tags": tags[1]}]}),
        ("2.mp4", video),
        ("2.txt", texts[2].encode()),
        ("2.json", {"tags": [[0, 99, "NOUN"]]}),
        ("3.mp4", video),
        ("3.txt", texts[2].encode()),
    ]
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return texts


def test_tags_packed_with_the_captions_are_used(published, tmp_path):
    texts = packed(published, tmp_path / "a.tar")
    data = opened({"video_shards": str(tmp_path / "a.tar")}, tmp_path)
    first, second, third = data.samples.sources[0]
    assert first.captions == (texts[0], texts[1])
    for place in (0, 1):
        assert [word.text for word in first.tags(place)] == texts[place].split()
        assert {word.part_of_speech for word in first.tags(place)} == {"NOUN"}
    assert second.tags(0) is None and third.tags(0) is None

    class Refusing:
        def tag(self, captions, progress=None):
            assert captions == [texts[2], texts[2]]
            return load_tagger("hanta").tag(captions)

    experiment = shrunk({"video_shards": str(tmp_path / "a.tar")}, batch_size=3, num_steps=1)
    collator = Pretraining(experiment, tmp_path / "run", quiet=True).collator()
    collator.__dict__["tags"] = Refusing()
    batch = collator([first, second, third], np.random.default_rng(0))
    assert batch.names == (first.name, second.name, third.name) and len(batch.clip) == 3


def test_a_generated_corpus_that_was_packed_keeps_all_captions_and_their_tags(tmp_path):
    write_corpus(tmp_path / "corpus", ShapesConfig(num_videos=8, size=64), num_processes=1)
    config = PackingConfig(encoding=EncodingConfig(short_side=64))
    pack_here(SourceOptions(path=str(tmp_path / "corpus")), tmp_path / "tars", config, Part())
    (samples,) = opened({"video_shards": str(tmp_path / "tars")}, tmp_path).samples.sources
    captions = {video.captions for video in captioned_videos(tmp_path / "corpus", "train")}
    assert {sample.captions for sample in samples} == captions
    assert len(samples[0].captions) > 1
    for sample in samples:
        assert [sample.tags(place) for place in range(len(sample.captions))] == tag(sample.captions)


def test_what_was_given_is_checked_before_anything_is_read(published, tmp_path):
    with pytest.raises(ConfigError, match=r"--data\.webvid-annotations and --data\.webvid-videos go together"):
        PretrainingDataConfig(webvid_annotations="a.csv")
    with pytest.raises(ConfigError, match=r"no data: .*--data.video-shards"):
        opened({}, tmp_path)
    with pytest.raises(ConfigError, match=r"--data\.corpus cannot be mixed with --data\.video-shards"):
        opened({"corpus": "x", **tars(published)}, tmp_path)
    with pytest.raises(ConfigError, match="1 weights for 2 sources"):
        opened(tars(published), tmp_path, weights=(1.0,))
    with pytest.raises(ConfigError, match="frames are kept of generated corpora only"):
        open_pretraining_data(PretrainingDataConfig(**tars(published)), INPUTS, tmp_path, quiet=True)
    with pytest.raises(DataError, match=r"nothing\.csv"):
        opened({**loose(published), "webvid_annotations": "nothing.csv"}, tmp_path)
    with pytest.raises(DataError, match=r"shards/\*\.tar"):
        opened({"image_shards": "shards/*.tar"}, tmp_path)
