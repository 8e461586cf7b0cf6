"""The corpus on disk: the same whatever the number of processes, resumed, and read back with clear errors."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clover.data.shapes.corpus import (
    ShapesConfig,
    read_choices,
    read_cloze,
    read_labels,
    read_moments,
    read_pairs,
    read_questions,
    write_corpus,
)
from clover.data.video import probe, read_frames
from clover.errors import DataError

SMALL = ShapesConfig(num_videos=20, size=64)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "corpus"
    write_corpus(folder, SMALL, num_processes=1)
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_can_be_read_back(corpus):
    for split, count in SMALL.num_videos_per_split.items():
        pairs = read_pairs(corpus, split)
        assert len({pair.video_id for pair in pairs}) == count
        assert [pair.index for pair in pairs] == list(range(len(pairs)))
        assert set(read_labels(corpus, split)) == set(read_moments(corpus, split)) == {pair.video_id for pair in pairs}
        assert all(len(row.options) == 5 for row in read_choices(corpus, split))
        assert all("[MASK]" in row.question for row in read_cloze(corpus, split))
        assert read_questions(corpus, split)
    info = probe(pairs[0].video)
    assert (info.width, info.height) == (64, 64)
    assert 3.0 <= info.duration_seconds <= 10.0
    scene = json.loads((corpus / "test_scenes.jsonl").read_text().splitlines()[0])
    assert info.num_frames == scene["num_frames"]
    assert read_frames(pairs[0].video, 4).problem is None


def test_number_of_processes_changes_nothing(corpus, tmp_path):
    write_corpus(tmp_path / "c", SMALL, num_processes=2)
    assert content(tmp_path / "c") == content(corpus)


def test_a_complete_corpus_is_left_alone_and_another_is_refused(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    calls = []
    assert write_corpus(corpus, SMALL, progress=lambda done, total: calls.append((done, total))) == 0
    assert calls == [(20, 20)]
    assert before == {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    with pytest.raises(DataError, match=r"other settings \(seed 0, not 1\)"):
        write_corpus(corpus, ShapesConfig(num_videos=20, size=64, seed=1))


def test_what_was_deleted_or_emptied_is_written_again(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "c")
    (tmp_path / "c/videos/train/000003.mp4").unlink()
    (tmp_path / "c/videos/test/000000.mp4").write_bytes(b"")
    (tmp_path / "c/train_questions.jsonl").unlink()
    assert write_corpus(tmp_path / "c", SMALL, num_processes=1) == 3
    assert content(tmp_path / "c") == content(corpus)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="holds no corpus"):
        write_corpus(tmp_path, SMALL)


# it ends itself while the sixth video is written aside, for another process may look too late
KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from clover.data.shapes import corpus, media

class Deadly(np.ndarray):
    def __iter__(self):
        yield from self.view(np.ndarray)
        os.kill(os.getpid(), signal.SIGKILL)

drawn, render = [], media.render

def deadly(scene):
    drawn.append(scene)
    images = render(scene)
    return images.view(Deadly) if len(drawn) == 6 else images

media.render = deadly
corpus.write_corpus(Path(sys.argv[1]), corpus.ShapesConfig(num_videos=20, size=64), num_processes=1)
"""


def test_killed_and_resumed(corpus, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "c")])
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name.startswith(".") for path in tmp_path.rglob("*.mp4*")) == [False] * 5 + [True]
    with pytest.raises(DataError, match="unfinished"):
        read_pairs(tmp_path / "c", "train")
    write_corpus(tmp_path / "c", SMALL, num_processes=1)
    left = {name: data for name, data in content(tmp_path / "c").items() if not Path(name).name.startswith(".")}
    assert left == content(corpus)


def test_workers_end_with_a_killed_parent(tmp_path):
    code = (
        "from pathlib import Path; from clover.data.shapes.corpus import *;"
        f"write_corpus(Path({str(tmp_path / 'c')!r}), ShapesConfig(num_videos=2000, size=64), num_processes=2)"
    )
    # The workers inherit this pipe, so its end is reached only once all of them are gone.
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    while writer.poll() is None and not list(tmp_path.rglob("*.mp4")):
        time.sleep(0.01)
    writer.kill()
    assert writer.communicate(timeout=120) == (b"", None)


def test_broken_rows_are_named(tmp_path):
    write_corpus(tmp_path / "c", ShapesConfig(num_videos=3, size=64), num_processes=1)
    path = tmp_path / "c" / "test.jsonl"
    path.write_text(path.read_text() + "{broken\n")
    with pytest.raises(DataError, match=r"test\.jsonl, line 2"):
        read_pairs(tmp_path / "c", "test")
    path.write_text('{"video": "videos/test/000000.mp4"}\n')
    with pytest.raises(DataError, match="no field 'captions'"):
        read_pairs(tmp_path / "c", "test")
    path.unlink()
    with pytest.raises(DataError, match="missing"):
        read_pairs(tmp_path / "c", "test")
    with pytest.raises(DataError, match="no split named"):
        read_pairs(tmp_path / "c", "dev")
    with pytest.raises(DataError, match="is not a corpus"):
        read_pairs(tmp_path, "test")
