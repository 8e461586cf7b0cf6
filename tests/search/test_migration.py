"""Another model takes a library over; `clover library` as a user calls it, on a folder and on a server."""

import json

import numpy as np
import pytest

from clover.checkpoints import CloverConfig, InputConfig
from clover.cli import main
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video_writer import write_video
from clover.errors import LibraryError
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.search.engine import open_library, search
from clover.search.index import open_index
from clover.search.indexing import index_videos
from clover.search.migration import migrate
from clover.search.upkeep import sample_queries
from clover.search.windows import WindowConfig

WINDOWS = WindowConfig(length_seconds=1.0, stride_seconds=0.5)


def make_model(seed):
    tokenizer = Tokenizer.train(["a red ball moves left"], 100)
    model = tiny(vocabulary_size=tokenizer.vocabulary_size)
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=16)
    return Clover(new_model(model, seed=seed), tokenizer, CloverConfig(model=model, inputs=inputs))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of an old and a new model."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("old", "new")):
        make_model(seed).save_pretrained(folder / name)
    return folder


@pytest.fixture
def videos(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "films").mkdir()
    return [
        write_video(tmp_path / "films" / f"{number}.mp4", generator.integers(0, 255, (24, 32, 32, 3), dtype=np.uint8))
        for number in range(4)
    ]


def indexed(place, models, videos):
    clover = Clover.from_pretrained(models / "old")
    index = open_library(place, clover, WINDOWS, checkpoint=str(models / "old"))
    index_videos(index, clover, videos, WINDOWS, tags=["film"])
    return index


def stop_after(number):
    def progress(done, total):
        if done == number:
            raise KeyboardInterrupt

    return progress


def test_a_migration_goes_on_while_the_old_model_answers(place, models, videos):
    index = indexed(place, models, videos)
    old, new = (Clover.from_pretrained(models / name) for name in ("old", "new"))
    before, found = index.moments, search(index, old, "a red ball", 5)
    with pytest.raises(KeyboardInterrupt):
        migrate(index, new, checkpoint="new", progress=stop_after(2))
    assert search(open_library(place, old), old, "a red ball", 5) == found
    with pytest.raises(LibraryError, match="library migrate"):
        open_library(place, new)
    done = migrate(open_index(place), new, checkpoint="new")
    assert (done.num_before, done.num_videos, done.missing) == (2, 2, {})
    again = open_library(place, new)
    assert sorted(again.moments, key=repr) == sorted(before, key=repr)
    assert again.details["checkpoint"] == "new"
    assert index_videos(again, new, videos, WINDOWS).added == []
    direct = new.embed_clips([new.clip(videos[0], start_seconds=0.5, end_seconds=1.5)]).numpy()
    (moment,) = [one for one in again.moments_of(str(videos[0])) if one.start_seconds == 0.5]
    assert again.vectors_of([moment]) == pytest.approx(direct, abs=1e-5)
    with pytest.raises(LibraryError, match="already; there is nothing to migrate"):
        migrate(again, new, checkpoint="new")


def test_what_is_gone_or_changed_meanwhile_is_not_brought_back(place, models, videos):
    index = indexed(place, models, videos)
    new = Clover.from_pretrained(models / "new")
    with pytest.raises(KeyboardInterrupt):
        migrate(index, new, checkpoint="new", progress=stop_after(3))
    index.remove(str(videos[0]))
    index.save()
    videos[3].unlink()
    with pytest.raises(LibraryError, match=r"1 of 3 videos .*3\.mp4.* --drop-missing"):
        migrate(index, new, checkpoint="new")
    assert open_index(place).fingerprint == index.fingerprint
    done = migrate(index, new, checkpoint="new", drop_missing=True)
    assert (done.num_before, done.num_videos, list(done.missing)) == (2, 0, [str(videos[3])])
    assert open_index(place, fingerprint=new.fingerprint).videos() == [str(videos[1]), str(videos[2])]


def test_commands(place, models, videos, capsys):
    indexed(place, models, videos)

    def run(*arguments):
        status = main(["library", *map(str, arguments)])
        return status, capsys.readouterr()

    status, shown = run("info", place, "--json")
    told = json.loads(shown.out)
    assert (told["num_videos"], told["num_moments"], told["details"]["window_seconds"]) == (4, 20, 1.0)
    assert "20 moments exactly" in run("info", place)[1].out
    assert "is whole: 20 vectors" in run("verify", place)[1].out
    assert "1 videos (5 moments) were taken out; 15 moments remain" in run("remove", place, videos[0])[1].out
    status, shown = run("remove", place, videos[0])
    assert (status, shown.err.count("\n")) == (2, 1)
    assert "has no video" in shown.err
    assert "15 moments exactly" in run("compact", place, "--target-recall", "0.9")[1].out
    assert open_index(place).options.target_recall == 0.9
    assert run("compact", place, "--target-recall", "9")[0] == 2
    status, shown = run("migrate", place, "--checkpoint", models / "new")
    assert "3 videos embedded anew" in shown.out
    assert "(15 moments) were taken out; 0 moments remain" in run("remove", place, videos[0].parent)[1].out
    assert run("dance", place)[0] == 2


def test_sample_queries_are_texts_that_the_model_can_read():
    clover = make_model(0)
    queries = sample_queries(clover)
    assert queries.shape == (1024, clover.config.model.embedding_width)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    assert len(np.unique(queries.round(4), axis=0)) > 100
    np.testing.assert_array_equal(queries, sample_queries(clover))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("milvus://127.0.0.1:1/films", "no Milvus server answers at 127.0.0.1:1"),
        ("milvus://127.0.0.1/films", "is no address of a library"),
        ("milvus://127.0.0.1:19530/a b", "is no address of a library"),
    ],
)
def test_servers_that_are_not_there_are_one_line(place, message, capsys):
    assert main(["search", place, "a ball"]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
