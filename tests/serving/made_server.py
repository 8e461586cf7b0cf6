"""A tiny model, a few videos, and applications and servers that show their library."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from starlette.testclient import TestClient

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.data.video_writer import write_video
from clover.modeling.initialise import new_model
from clover.modeling.model import HeadConfig
from clover.modeling.sizes import tiny
from clover.pipeline import Clover
from clover.search.engine import open_library
from clover.search.indexing import index_videos
from clover.search.windows import WindowConfig
from clover.serving.app import create_app
from clover.serving.settings import ServingConfig

HERE = "http://127.0.0.1:8000"
TOKEN = "a token of many letters"
END_SECONDS = 120
"""On a busy machine."""


def make_model(folder):
    tokenizer = Tokenizer.train(["a red ball moves left", "what color is the ball?"], 100)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), heads=HeadConfig(num_answers=3))
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    inputs = InputConfig(num_frames=8, frames=frames, max_text_length=24)
    config = CloverConfig(model=model, inputs=inputs, answers=("red", "blue", "yes"))
    Clover(new_model(model, seed=0), tokenizer, config).save_pretrained(folder)


def make_video(path, num_frames=48, seed=0):
    generator = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, generator.integers(0, 255, (num_frames, 32, 48, 3), dtype=np.uint8), keyframe_interval=8)
    return path


def make_library(folder, clover, videos, tags=()):
    library = open_library(folder, clover, WindowConfig(), checkpoint=str(folder.parent / "checkpoint"))
    index_videos(library, clover, videos, WindowConfig(), tags=tags)
    return library


@contextmanager
def client_of(library, clover, **limits):
    """A client of an application that runs."""
    config = ServingConfig(**{"watch_seconds": 0.1, **limits})
    app = create_app(open_library(library, clover), clover, config)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        yield client


def videos_of(client):
    """The videos by their names."""
    return {video["name"]: video for video in client.get("/api/videos").json()["videos"]}


@contextmanager
def served(*arguments, port=0, **environment):
    """A real server, on a free port unless one is named; gives its process and address, and ends it by SIGTERM."""
    command = [sys.executable, "-m", "clover", "serve", *map(str, arguments), "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    with process:
        try:
            line = process.stdout.readline()
            address = re.search(r"http://\S+/", line)
            assert address is not None, process.stderr.read()
            yield process, address[0].rstrip("/")
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
