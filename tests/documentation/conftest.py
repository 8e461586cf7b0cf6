"""What a reader of the pages has: the demo's folder, films of one's own, and public data sets in their layouts."""

import subprocess
import sys

import numpy as np
import pytest
from page_sandbox import Sandbox, copy_folder
from page_tables import SHRUNK
from page_weights import weights_of_others

from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.data.video_writer import write_video

FORMATS = {"webvid": 70, "cc3m": 30, "webdataset": 30, "msrvtt": 30, "didemo": 30, "lsmdc": 30}
"""Folders that hold a data set as its publisher lays it out, and how many generated videos are enough."""
FORMATS |= dict.fromkeys(("msrvtt-mc", "msrvtt-qa", "msvd-qa", "lsmdc-mc", "lsmdc-fib"), 30)
FORMATS |= dict.fromkeys(("tgif-action", "tgif-transition", "tgif-frame"), 160)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The demo, once, by the command that the pages show."""
    folder = tmp_path_factory.mktemp("reader")
    command = ["demo", "--out", "demo", *SHRUNK["clover demo"].split()]
    done = subprocess.run([sys.executable, "-m", "clover", *command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "demo"


@pytest.fixture(scope="session")
def data_sets(tmp_path_factory):
    """Makers of the data sets' folders; each is written once."""
    root = tmp_path_factory.mktemp("publishers")

    def maker(name):
        def make(target):
            if not (root / name).exists():
                write_corpus(root / name, ShapesConfig(num_videos=FORMATS[name], size=64), format=name, num_processes=1)
            target.symlink_to(root / name)

        return make

    return {name: maker(name) for name in FORMATS}


def write_films(folder):
    """Three films, one of them in a folder below."""
    generator = np.random.default_rng(0)
    (folder / "holidays").mkdir(parents=True)
    for name in ("kitchen.mp4", "garden.mp4", "holidays/beach.mp4"):
        write_video(folder / name, generator.integers(0, 255, (40, 48, 64, 3), dtype=np.uint8), rate=8)


@pytest.fixture
def sandbox(demo, data_sets, tmp_path):
    """For one page."""
    sandbox = Sandbox(
        tmp_path, {"demo": copy_folder(demo), "films": write_films, **data_sets, **weights_of_others(demo)}
    )
    yield sandbox
    sandbox.close()
