"""WebVid: one caption a video, in a CSV with a header; videos in folders of fifty."""

from __future__ import annotations

from dataclasses import dataclass

from clover.data.shapes.captions import Wording, captions
from clover.data.shapes.publishers.publisher import Clip, VideoPublisher
from clover.data.shapes.publishers.tables import csv_text
from clover.data.shapes.sampling import ShapesConfig
from clover.data.shapes.scene import Scene
from clover.data.shapes.writing import Rows

FIRST_IDS = {"train": 900_000_001, "validation": 910_000_001}
"""Invented id of the first video of each split."""

_FILES = {"train": "results_2M_train.csv", "validation": "results_2M_val.csv"}
_COLUMNS = ("videoid", "contentUrl", "duration", "page_dir", "name")
_VIDEOS_PER_PAGE = 50


def webvid_row(scene: Scene, config: ShapesConfig) -> dict[str, str | int]:
    """The row of one scene; its duration is rounded to whole seconds."""
    number = FIRST_IDS[scene.split] + scene.index
    first = scene.index // _VIDEOS_PER_PAGE * _VIDEOS_PER_PAGE
    return {
        "videoid": number,
        "contentUrl": f"https://videos.example/{number}/preview.mp4",
        "duration": f"PT00H00M{round(scene.duration_seconds):02d}S",
        "page_dir": f"{first + 1:06d}_{first + _VIDEOS_PER_PAGE:06d}",
        "name": captions(scene, Wording(seed=config.seed))[0],
    }


@dataclass(frozen=True)
class Webvid(VideoPublisher):
    """A pre-training corpus: there is no test file."""

    splits: tuple[str, ...] = tuple(FIRST_IDS)

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a video by page and id; one row."""
        row = webvid_row(scene, config)
        media = f"videos/{row['page_dir']}/{row['videoid']}.mp4"
        return Clip(media=media, rows={scene.split: [[row[column] for column in _COLUMNS]]})

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """``results_2M_train.csv`` and ``results_2M_val.csv``."""
        return {f"annotations/{name}": csv_text(_COLUMNS, rows.get(split, [])) for split, name in _FILES.items()}
