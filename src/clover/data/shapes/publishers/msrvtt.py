"""MSR-VTT: retrieval in the CLIP4Clip bundle, multiple choice (JSFusion), questions."""

from __future__ import annotations

from dataclasses import dataclass

from clover.data.shapes.captions import Wording, captions
from clover.data.shapes.choices import choice
from clover.data.shapes.plans import KIND_SHARES
from clover.data.shapes.publishers.asked import asked
from clover.data.shapes.publishers.publisher import Clip, VideoPublisher, digest, number_of, youtube_id
from clover.data.shapes.publishers.tables import csv_text, json_text
from clover.data.shapes.sampling import ShapesConfig
from clover.data.shapes.scene import Scene
from clover.data.shapes.writing import Rows

RANGES = {"train": range(6513), "validation": range(6513, 7010), "test": range(7010, 10_000)}
"""Numbers of the videos of the official splits."""

_SPLITS = {"train": "train", "validation": "validate", "test": "test"}
_QA_FILES = {"train": "train_qa.json", "validation": "val_qa.json", "test": "test_qa.json"}
_MAX_CAPTIONS = 20
_MAX_TEST = 1000
_INFO = {
    "contributor": "moving shapes",
    "data_created": "2000-01-01 00:00:00",
    "version": "1.0",
    "description": "generated videos of moving shapes",
    "year": "2000",
}


def _media(number: int) -> str:
    return f"videos/video{number}.mp4"


def _category(scene: Scene) -> int:
    return list(KIND_SHARES).index(scene.kind)


@dataclass(frozen=True)
class MsrvttRetrieval(VideoPublisher):
    """Up to twenty captions a video, the lists of training videos, and the 1k-A test of one caption a video.

    The 1k-A test is the first thousand test videos. As in the original the 7k list is the training and validation
    videos, and the 9k list everything that is not in the 1k-A test; so both lists show pairs that are held out from the
    training videos alone.

    Attributes:
        has_choices: Whether the test of multiple choice is written too.
    """

    has_choices: bool = False

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a video by its number; rows of ``videos``, ``sentences`` and the tests."""
        number = number_of(scene, config, RANGES)
        texts = captions(scene, Wording(seed=config.seed), _MAX_CAPTIONS)
        start_seconds = digest(config, scene, "start")[0] / 4
        video = {
            "video_id": f"video{number}",
            "category": _category(scene),
            "url": f"https://www.youtube.com/watch?v={youtube_id(config, scene)}",
            "start time": start_seconds,
            "end time": round(start_seconds + scene.duration_seconds, 2),
            "split": _SPLITS[scene.split],
            "id": number,
        }
        rows: Rows = {
            "videos": [video],
            "sentences": [{"caption": text, "video_id": f"video{number}"} for text in texts],
        }
        if scene.split == "test":
            if scene.index < _MAX_TEST:
                rows["1k"] = [(f"msr{number}", f"video{number}", texts[0])]
            if self.has_choices:
                options, label = choice(scene, config.seed)
                rows["choices"] = [(f"msr{number}", *options, label)]
        return Clip(media=_media(number), rows=rows)

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """``MSRVTT_data.json``, both training lists, ``MSRVTT_JSFUSION_test.csv``, and ``MSR_MC_test.csv``."""
        sentences = [{**row, "sen_id": number} for number, row in enumerate(rows["sentences"])]
        test = {video_id for _, video_id, _ in rows["1k"]}
        lists = {
            "MSRVTT_train.7k.csv": [row["video_id"] for row in rows["videos"] if row["split"] != "test"],
            "MSRVTT_train.9k.csv": [row["video_id"] for row in rows["videos"] if row["video_id"] not in test],
        }
        texts = {
            "annotations/MSRVTT_data.json": json_text({"info": _INFO, "videos": rows["videos"], "sentences": sentences})
        }
        for name, videos in lists.items():
            texts[f"annotations/{name}"] = csv_text(("video_id",), [(video,) for video in videos])
        texts["annotations/MSRVTT_JSFUSION_test.csv"] = csv_text(
            ("key", "vid_key", "video_id", "sentence"),
            [(f"ret{place}", *row) for place, row in enumerate(rows["1k"])],
        )
        if self.has_choices:
            texts["annotations/MSR_MC_test.csv"] = csv_text(
                ("key", "vid_key", "a1", "a2", "a3", "a4", "a5", "answer"),
                [(f"mc{place}", *row) for place, row in enumerate(rows["choices"])],
                delimiter="\t",
            )
        return texts


@dataclass(frozen=True)
class MsrvttQuestions(VideoPublisher):
    """Open-ended questions, numbered on from one split to the next."""

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a video by its number; one row a question."""
        number = number_of(scene, config, RANGES)
        rows = [
            {"answer": answer, "category_id": _category(scene), "question": question, "video_id": number}
            for question, answer in asked(scene, config.seed)
        ]
        return Clip(media=_media(number), rows={_QA_FILES[scene.split]: rows})

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """``train_qa.json``, ``val_qa.json`` and ``test_qa.json``."""
        return qa_texts(rows)


def qa_texts(rows: Rows) -> dict[str, str]:
    """The three JSON lists of questions, with ids that run on from one to the next, fields sorted by name."""
    texts = {}
    first = 0
    for name in _QA_FILES.values():
        some = rows.get(name, [])
        numbered = [dict(sorted({**row, "id": first + place}.items())) for place, row in enumerate(some)]
        texts[f"annotations/{name}"] = json_text(numbered)
        first += len(some)
    return texts
