"""Evaluation in the middle of pre-training: nothing of the run changes, and the best state can be chosen by it."""

from dataclasses import replace

import pytest
import torch
from test_runs import corpus, rows_of, shrunk  # noqa: F401 (a fixture)

from clover.data.shapes.corpus import read_pairs
from clover.distributed import ALONE, Processes
from clover.errors import CloverError, ConfigError, DataError
from clover.experiment.configs import StageConfig, ValidationConfig
from clover.experiment.pretraining import Pretraining
from clover.experiment.validation import FIGURES, Validation
from clover.recipes.pretrain import shapes
from clover.training.checkpoint import KeepConfig, best_state, saved_states


def experiment_of(corpus, **more):  # noqa: F811
    plain = replace(shrunk(shapes(), corpus, num_steps=6), save_every=4)
    return replace(plain, video_warm_start=StageConfig(), text_warm_start=StageConfig(), **more)


def webvid(folder, videos, **more):
    """A validation file as WebVid's, and what evaluates on it; videos that are None cannot be read."""
    lines = ["videoid,contentUrl,duration,page_dir,name"]
    (folder / "videos" / "page").mkdir(parents=True)
    for number, video in enumerate(videos):
        lines.append(f"{number},http://x/{number},PT10S,page,a caption of {number}")
        path = folder / "videos" / "page" / f"{number}.mp4"
        path.write_bytes(video.read_bytes() if video else b"no video")
    file = folder / "results_2M_val.csv"
    file.write_text("\n".join(lines) + "\n")
    return ValidationConfig(source=str(file), **more)


def opened(config, corpus="", seed=0):  # noqa: F811
    return Validation(config, corpus=str(corpus), seed=seed)


@pytest.fixture(scope="module")
def videos(corpus):  # noqa: F811
    return list(dict.fromkeys(pair.video for pair in read_pairs(corpus, "train")))[:6]


@pytest.fixture(scope="module")
def source(videos, tmp_path_factory):
    return webvid(tmp_path_factory.mktemp("webvid"), videos, num_videos=5)


@pytest.fixture(scope="module")
def runs(corpus, source, tmp_path_factory):  # noqa: F811
    """The same run without and with evaluations, by which its best state is kept."""
    folder = tmp_path_factory.mktemp("validation")
    validation = replace(source, every=2)
    settings = {"plain": {}, "evaluated": {"validation": validation, "keep": keep_by("validation_recall_at_1", last=1)}}
    found = {}
    for name, more in settings.items():
        run = Pretraining(experiment_of(corpus, **more), folder / name, quiet=True)
        found[name] = run.run(), folder / name
    return found


def keep_by(name, last=2):
    return KeepConfig(last=last, best_by=name)


def test_the_weights_are_those_without_it(source, runs):
    ours, theirs = (runs[name][0].network.state_dict() for name in ("evaluated", "plain"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    rows = rows_of(runs["evaluated"][1])
    assert [row for row in rows if "num_steps" not in row] == rows_of(runs["plain"][1])
    notes = [row for row in rows if "num_steps" in row]
    assert [row["num_steps"] for row in notes] == [2, 4, 6]
    assert all(row.keys() == {"num_steps", *FIGURES} for row in notes)
    assert all(0 <= row["validation_recall_at_1"] <= row["validation_recall_at_5"] <= 100 for row in notes)
    assert notes[-1] == {"num_steps": 6} | opened(source).figures(runs["evaluated"][0], ALONE)


def test_the_best_state_is_kept_by_its_recall(runs):
    states = runs["evaluated"][1] / "pretraining" / "states"
    figures = {
        row["num_steps"]: row["validation_recall_at_1"] for row in rows_of(runs["evaluated"][1]) if "num_steps" in row
    }
    best = max(figures, key=lambda step: (figures[step], -step))
    assert best_state(states, "validation_recall_at_1").name == f"step-{best:08d}"
    assert {path.name for path in saved_states(states)} == {f"step-{best:08d}", "step-00000006"}


def test_it_may_be_asked_for_when_the_run_goes_on(corpus, source, runs, tmp_path):  # noqa: F811
    """From the state after four steps; the one after it is evaluated, and the end is the same."""
    first = experiment_of(corpus)
    run = Pretraining(first, tmp_path, quiet=True)
    run.run()
    for path in saved_states(tmp_path / "pretraining" / "states")[1:]:
        (path / "state.json").unlink()
    again = replace(first, validation=replace(source, every=3, num_videos=4), keep=keep_by("validation_median_rank"))
    resumed = Pretraining(again, tmp_path, quiet=True).run(resume=True)
    ours, theirs = resumed.network.state_dict(), runs["plain"][0].network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [row["num_steps"] for row in rows_of(tmp_path) if "num_steps" in row] == [6]


def test_processes_share_the_videos(source, runs, monkeypatch):
    validation = opened(source)
    clover = runs["plain"][0]
    whole = validation.figures(clover, ALONE)
    said, heard = [], []
    monkeypatch.setattr(Processes, "told", lambda self, value: said.append(value) or heard or [value])
    monkeypatch.setattr(Processes, "from_first", lambda self, value: value)
    for rank in (0, 1):
        validation.figures(clover, Processes(rank=rank, count=2))
    assert [len(each) for each in said] == [3, 2]
    heard.extend(said)
    assert validation.figures(clover, Processes(rank=0, count=2)) == whole


def test_videos_are_decoded_once_as_long_as_there_is_memory(source, runs, monkeypatch):
    clover, read = runs["plain"][0], []
    plain = type(clover).clip
    monkeypatch.setattr(type(clover), "clip", lambda *given, **more: read.append(given) or plain(*given, **more))
    validation = opened(source)
    first = validation.figures(clover, ALONE)
    assert len(read) == 5
    assert validation.figures(clover, ALONE) == first
    assert len(read) == 5
    size = plain(clover, validation.samples[0].media()).nbytes
    monkeypatch.setattr("clover.experiment.validation._MOST_KEPT_BYTES", 2 * size)
    small = opened(source)
    for count in (5, 3):
        read.clear()
        assert small.figures(clover, ALONE) == first
        assert len(read) == count


def test_some_cannot_be_read(videos, runs, tmp_path):
    clover = runs["plain"][0]
    some = opened(webvid(tmp_path / "some", [None, *videos[:3]]))
    some.check(clover)
    assert some.figures(clover, ALONE).keys() == FIGURES.keys()
    with pytest.raises(DataError, match="only 1 of the 3 videos to evaluate on can be read"):
        opened(webvid(tmp_path / "one", [None, videos[0], None])).figures(clover, ALONE)
    with pytest.raises(DataError, match=r"none of the 2 videos to evaluate on can be read; .*1\.mp4"):
        opened(webvid(tmp_path / "none", [None, None])).check(clover)
    with pytest.raises(DataError, match="1 videos to evaluate on; give 2 or more"):
        opened(webvid(tmp_path / "few", videos[:1]))


@pytest.mark.parametrize(
    ("validation", "keep", "message"),
    [
        (ValidationConfig(), keep_by("validation_recall_at_1"), r"an evaluation \(--validation.every\) gives"),
        (ValidationConfig(every=2), keep_by("validation_accuracy"), "gives validation_recall_at_1, valid"),
        (ValidationConfig(every=2, source="nowhere"), KeepConfig(), "nowhere: no such file or folder"),
    ],
)
def test_mistakes_are_known_before_any_work(corpus, tmp_path, validation, keep, message):  # noqa: F811
    with pytest.raises(CloverError, match=message):
        Pretraining(experiment_of(corpus, validation=validation, keep=keep), tmp_path, quiet=True)


def test_settings_that_evaluate_nothing_are_refused():
    with pytest.raises(ConfigError, match="give 0 or more and 2 or more"):
        ValidationConfig(num_videos=1)
    with pytest.raises(ConfigError, match=r"--validation\.source"):
        opened(ValidationConfig(every=1))
