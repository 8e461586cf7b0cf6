"""One library for all tests that only look at it."""

import pytest
from made_server import client_of, make_library, make_model, make_video

from clover.pipeline import Clover


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with ``checkpoint``, ``videos`` in two folders, and their ``library``."""
    folder = tmp_path_factory.mktemp("serving").resolve()
    make_model(folder / "checkpoint")
    names = ("ball/0.mp4", "ball/1 é ü.mp4", "2.mp4")
    videos = [make_video(folder / "videos" / name, 40 + 24 * seed, seed) for seed, name in enumerate(names)]
    make_library(folder / "library", Clover.from_pretrained(folder / "checkpoint"), videos, tags=("home",))
    return folder


@pytest.fixture(scope="session")
def clover(place):
    """The tiny model."""
    return Clover.from_pretrained(place / "checkpoint")


@pytest.fixture(scope="module")
def client(place, clover):
    """A client of the library that takes no uploads."""
    with client_of(place / "library", clover) as client:
        yield client
