"""An untrained checkpoint, corpora in the publishers' layouts, and the commands, for tests of the eleven benchmarks."""

import json
import shutil
from dataclasses import replace

import pytest

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.pipeline import Clover


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A model that was never trained."""
    texts = ["a red ball moves left Options: Answer: jump spin", "what color is the star? which object grows twice"]
    tokenizer = Tokenizer.train(texts, 200)
    model = replace(tiny(vocabulary_size=tokenizer.vocabulary_size), initial_weights="fan_in")
    frames = TransformConfig(size=32, training_fit="square", test_fit="square", training_short_side=None)
    config = CloverConfig(model=model, inputs=InputConfig(num_frames=8, frames=frames, max_text_length=64))
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    Clover(new_model(model, seed=0), tokenizer, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Folders by format, each written when first asked for."""
    made = {}
    root = tmp_path_factory.mktemp("publishers")

    def make(name):
        if name not in made:
            num_videos = 240 if name.startswith("tgif") else 40
            write_corpus(root / name, ShapesConfig(num_videos=num_videos, size=64), format=name, num_processes=2)
            made[name] = root / name
        return made[name]

    return make


@pytest.fixture
def without_a_video(corpus, tmp_path):
    """MSRVTT-QA and MSR-VTT with one test video gone."""

    def make(name):
        folder = tmp_path / "copy"
        shutil.copytree(corpus(name), folder)
        if name == "msrvtt":
            rows = (folder / "annotations/MSRVTT_JSFUSION_test.csv").read_text().splitlines()
            video = rows[1].split(",")[2]
        else:
            video = f"video{json.loads((folder / 'annotations/test_qa.json').read_text())[0]['video_id']}"
        (folder / f"videos/{video}.mp4").unlink()
        return folder, video

    return make
