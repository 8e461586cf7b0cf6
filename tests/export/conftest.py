import sys
from pathlib import Path

import numpy as np
import pytest

from clover.data.video_writer import write_video

sys.path.insert(0, str(Path(__file__).parent))

from made_checkpoint import made_checkpoint


@pytest.fixture(scope="session")
def clover():
    return made_checkpoint()


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    images = np.zeros((24, 48, 64, 3), dtype=np.uint8)
    for place in range(24):
        images[place, 10:30, place : place + 20] = (220, 40, 30)
    return write_video(tmp_path_factory.mktemp("media") / "clip.mp4", images)
