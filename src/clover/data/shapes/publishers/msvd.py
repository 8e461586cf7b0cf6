"""MSVD-QA: questions about numbered videos, and the list of which number is which file."""

from __future__ import annotations

from dataclasses import dataclass

from clover.data.shapes.publishers.asked import asked
from clover.data.shapes.publishers.msrvtt import qa_texts
from clover.data.shapes.publishers.publisher import Clip, VideoPublisher, digest, number_of, youtube_id
from clover.data.shapes.publishers.tables import plain_text
from clover.data.shapes.sampling import ShapesConfig
from clover.data.shapes.scene import Scene
from clover.data.shapes.writing import Rows

RANGES = {"train": range(1, 1201), "validation": range(1201, 1451), "test": range(1451, 1971)}
"""Numbers of the videos of the splits of questions."""

_FILES = {"train": "train_qa.json", "validation": "val_qa.json", "test": "test_qa.json"}
_MAPPING = "youtube_mapping.txt"


@dataclass(frozen=True)
class MsvdQuestions(VideoPublisher):
    """AVI files named ``<YouTubeId>_<start>_<end>``, ids with ``_`` and ``-`` in any place."""

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a video by an invented id and times; one row a question, one of the mapping."""
        number = number_of(scene, config, RANGES)
        start = digest(config, scene, "start")[0]
        name = f"{youtube_id(config, scene)}_{start}_{start + round(scene.duration_seconds)}"
        rows = [
            {"answer": answer, "question": question, "video_id": number}
            for question, answer in asked(scene, config.seed)
        ]
        return Clip(
            media=f"videos/YouTubeClips/{name}.avi",
            rows={_FILES[scene.split]: rows, _MAPPING: [(name, f"vid{number}")]},
        )

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """The three lists of questions and ``youtube_mapping.txt``."""
        return qa_texts(rows) | {f"annotations/{_MAPPING}": plain_text(rows[_MAPPING], delimiter=" ")}
