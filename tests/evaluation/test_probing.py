"""Probes: the nearer caption wins, and a tie does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clover.errors import DataError, MediaError
from clover.evaluation.probing import evaluate_probes
from clover.pipeline import Clover
from clover.types import Probe

PLACES = {"up": 0.0, "left": 90.0, "nearly up": 30.0}


def at(degrees):
    return torch.tensor([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], dtype=torch.float32)


class Compass(Clover):
    """Videos and texts are directions in a plane."""

    def __init__(self):
        pass

    def clip(self, video):
        if video.stem == "broken":
            raise MediaError("broken.mp4 cannot be read")
        return np.full((1, 1, 1, 3), int(video.stem), np.uint8)

    def embed_clips(self, clips):
        return torch.stack([at(float(clip[0, 0, 0, 0])) for clip in clips])

    def encode_text(self, texts):
        return torch.stack([at(PLACES[text]) for text in texts])


def probe(video, text, changed, word_class, index=0):
    return Probe(
        video=Path(f"{video}.mp4"), video_id=str(video), text=text, changed=changed, word_class=word_class, index=index
    )


def test_accuracy_by_what_was_changed():
    rows = [
        probe(10, "up", "left", "direction"),
        probe(80, "up", "left", "direction"),
        probe(0, "up", "nearly up", "verb"),
        probe(45, "up", "left", "order"),
        probe("broken", "up", "left", "order"),
    ]
    found = evaluate_probes(Compass(), rows)
    assert found.is_right.tolist()[:3] == [True, False, True]
    assert found.by_class["direction"] == 50.0
    assert found.by_class["verb"] == 100.0
    assert found.margins[0] == pytest.approx(np.cos(np.radians(10)) - np.cos(np.radians(80)), abs=1e-6)
    assert list(found.skipped) == ["broken.mp4"]
    tied = [probe(45, "up", "up", "order")]
    assert evaluate_probes(Compass(), tied).by_class == {"order": 0.0}
    with pytest.raises(DataError, match="nothing to probe"):
        evaluate_probes(Compass(), rows[-1:])
