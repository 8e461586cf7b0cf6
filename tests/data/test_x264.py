"""What x264 writes depends on the pictures alone, not on what was in memory before."""

import os
import subprocess
import sys

from clover.data.shapes.corpus import ShapesConfig
from clover.data.x264 import x264_parameters

WRITER = """
import hashlib, sys
from pathlib import Path
from clover.data.packing.encoding import EncodingConfig, encode_media
from clover.data.shapes.corpus import ShapesConfig, write_corpus

place, size = Path(sys.argv[1]), int(sys.argv[2])
write_corpus(place, ShapesConfig(num_videos=40, size=size), num_processes=1)
videos = sorted(place.rglob("*.mp4"))
packed = [encode_media(video, EncodingConfig(short_side=48)).content for video in videos]
for content in [*(video.read_bytes() for video in videos), *packed]:
    print(hashlib.sha256(content).hexdigest())
"""


def written(place, fill):
    """Digests of videos written, and packed, where glibc fills memory that it hands out."""
    environment = os.environ | {"MALLOC_PERTURB_": str(fill), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WRITER, str(place), str(ShapesConfig().size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_memory_that_nobody_wrote_changes_nothing(tmp_path):
    first = written(tmp_path / "first", 17)
    assert len(first) == 80
    assert first == written(tmp_path / "second", 200)


def test_parameters_are_kept():
    assert "b-pyramid=none" in x264_parameters(**{"b-pyramid": "none"})["x264-params"].split(":")
