"""What 8 bits cost in retrieval: paired by query, and nothing where nothing changed."""

import numpy as np
import pytest
from made_checkpoint import TEXTS

from clover.errors import DataError
from clover.export.quantised import measure, measure_retrieval
from clover.types import Pair

WORDS = [
    *TEXTS,
    "a blue cross jumps",
    "a ring",
    "two balls",
    "red star",
    "green",
    "left",
    "a ball spins",
    "color",
    "is",
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Twelve texts, each with a still picture of its own."""
    from PIL import Image

    folder, generator = tmp_path_factory.mktemp("stills"), np.random.default_rng(0)
    made = []
    for place, text in enumerate(WORDS):
        path = folder / f"{place}.png"
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        made.append(Pair(video=path, text=text, index=place, video_id=str(place), text_id=str(place)))
    return made


class Told:
    """A model that knows which clip belongs to which text: it numbers what it is shown, in order."""

    def __init__(self, mistakes=()):
        self.mistakes, self.counts = mistakes, {"video": 0, "text": 0}

    def __call__(self, name, inputs):
        count = len(next(iter(inputs.values())))
        first = self.counts[name]
        self.counts[name] += count
        rows = np.eye(len(WORDS), dtype=np.float32)[first : first + count]
        if name == "video":
            for place in self.mistakes:
                if first <= place < first + count:
                    rows[place - first] = np.roll(rows[place - first], 1)
        return [None, rows]


def test_a_model_compared_with_itself_lost_nothing(clover, pairs):
    cost = measure_retrieval(clover, Told(), Told(), pairs, sizes=(400, 100))
    assert (cost.video_cosine, cost.text_cosine) == (1.0, 1.0)
    assert [(one.depth, one.before, one.after, one.interval) for one in cost.recalls] == [
        (depth, 100.0, 100.0, (0.0, 0.0)) for depth in (1, 5, 10)
    ]
    assert cost.measured_on == "12 texts x 12 videos"


def test_what_is_lost_is_told_with_its_interval(clover, pairs):
    cost = measure_retrieval(clover, Told(), Told(mistakes=(2, 7, 9)), pairs, sizes=(4 << 20, 1 << 20))
    first = cost.recalls[0]
    assert (first.before, first.after) == (100.0, 50.0), "a clip that looks like its neighbour costs two queries"
    low, high = first.interval
    assert low < -50 < high < 0
    assert "int8: 4.0 MiB become 1.0 MiB" in cost.lines[0]
    assert "R@1: 100.0 % before, 50.0 % after (-50.0; 95 % interval" in cost.lines[2]
    assert cost.plain["text_to_video"]["recall_at_1"]["after"] == 50.0


def test_videos_that_cannot_be_read_are_left_out(clover, pairs, tmp_path):
    lost = Pair(video=tmp_path / "gone.mp4", text="gone", index=12, video_id="12", text_id="12")
    assert measure_retrieval(clover, Told(), Told(), [*pairs, lost], sizes=(1, 1)).num_clips == 12
    with pytest.raises(DataError, match=r"none of the 1 videos can be read; the first: .*gone\.mp4"):
        measure_retrieval(clover, Told(), Told(), [lost], sizes=(1, 1))


def test_without_a_corpus_it_says_that_retrieval_was_not_measured(clover):
    clips = [np.zeros((8, 32, 32, 3), dtype=np.uint8)] * 2
    cost = measure(clover, Told(), Told(), sizes=(1, 1), clips=clips, texts=WORDS[:3])
    assert "not measured" in cost.lines[-1]
    assert cost.plain["text_to_video"] == "not measured"
    assert cost.measured_on == "2 made clips, 3 made texts"
