"""DiDeMo: sentences about moments of a video, which together are a paragraph."""

from __future__ import annotations

from dataclasses import dataclass

from clover.data.shapes.captions import Wording, sentences
from clover.data.shapes.publishers.publisher import Clip, VideoPublisher, digest, digits
from clover.data.shapes.publishers.tables import json_text, plain_text
from clover.data.shapes.sampling import ShapesConfig
from clover.data.shapes.scene import Scene
from clover.data.shapes.vocabulary import SPLITS
from clover.data.shapes.writing import Rows

_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_SUFFIXES = (".mp4", ".mov", ".avi")
_LONG_SECONDS = 6.0


@dataclass(frozen=True)
class DidemoRetrieval(VideoPublisher):
    """Each video is cut into five or six equal segments; four annotators say which of them a sentence is about.

    Rows of one video are not next to one another, but in the order of the paragraph; every seventh sentence ends in a
    space, as some do in the original.
    """

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a video as its host did, with one of three endings; one row a sentence."""
        data = digest(config, scene, "flickr")
        suffix = _SUFFIXES[scene.index % len(_SUFFIXES)]
        name = f"{digits(data, 8)}@N{data[8] % 10:02d}_{digits(data[9:], 10)}_{data[20:25].hex()}{suffix}"
        num_segments = 6 if scene.duration_seconds > _LONG_SECONDS else 5
        rows = [
            {
                "num_segments": num_segments,
                "description": text,
                "dl_link": f"https://photos.example/video_download?id={digits(data[9:], 10)}",
                "times": _times(scene, start, end, num_segments),
                "video": name,
            }
            for start, end, text in sentences(scene, Wording(seed=config.seed))
        ]
        return Clip(media=f"videos/{name}", rows={scene.split: rows})

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """``*_data.json`` and ``*_list.txt``."""
        texts = {}
        first = 0
        for split in SPLITS:
            by_video: dict[str, list[dict[str, object]]] = {}
            for row in rows.get(split, []):
                by_video.setdefault(row["video"], []).append(row)
            longest = max(map(len, by_video.values()), default=0)
            mixed = [some[place] for place in range(longest) for some in by_video.values() if place < len(some)]
            numbered = [
                {
                    **row,
                    "description": f"{row['description']}{' ' if place % 7 == 6 else ''}",
                    "annotation_id": first + place,
                }
                for place, row in enumerate(mixed, start=1)
            ]
            first += len(mixed)
            texts[f"annotations/{_SPLITS[split]}_data.json"] = json_text(numbered)
            texts[f"annotations/{_SPLITS[split]}_list.txt"] = plain_text([(name,) for name in by_video])
        return texts


def _times(scene: Scene, start: float, end: float, num_segments: int) -> list[list[int]]:
    """First and last segment of a moment, as four annotators have it; the third hears it begin a segment early."""
    seconds = scene.duration_seconds / num_segments
    first = min(int(start / seconds), num_segments - 1)
    last = min(max(int(end / seconds - 1e-9), first), num_segments - 1)
    return [[first, last], [first, last], [max(first - 1, 0), last], [first, last]]
