"""TGIF-QA: repeated actions, transitions, and questions about frames; GIF files."""

from __future__ import annotations

from dataclasses import dataclass

from clover.data.shapes.captions import Wording, captions
from clover.data.shapes.choices import repetition, transition
from clover.data.shapes.plans import REPEATED
from clover.data.shapes.publishers.publisher import Clip, VideoPublisher, digest, letters
from clover.data.shapes.publishers.tables import csv_text
from clover.data.shapes.sampling import ShapesConfig, sample_scene
from clover.data.shapes.scene import Scene
from clover.data.shapes.stills import frame_questions
from clover.data.shapes.writing import Rows

_FILES = {"train": "Train", "test": "Test"}
_WIDTHS = (250, 400, 500)
_FRAME_TYPES = ("object", "number", "color", "location")
"""Types of questions about frames; the place is the number in the file."""

_ID_PREFIXES = {"action": "ACTION", "transition": "TRANS", "frameqa": "FRAMEQA"}
_CHOICE_COLUMNS = ("gif_name", "question", "a1", "a2", "a3", "a4", "a5", "answer", "vid_id", "key")
_FRAME_COLUMNS = ("gif_name", "question", "answer", "type", "vid_id", "key", "description")


class _Tgif(VideoPublisher):
    """Files for training and testing alone; tables with TAB, CRLF and a header."""

    splits = ("train", "test")


def _media(scene: Scene, config: ShapesConfig) -> tuple[str, str]:
    """Invented name of a GIF, and its path; scenes of the same number but of another draw have other names."""
    data = digest(config, scene, "tumblr repeated" if scene.kind == REPEATED else "tumblr")
    name = f"tumblr_{letters(data, 14)}qzo1_{_WIDTHS[data[0] % len(_WIDTHS)]}"
    return name, f"videos/gifs/{name}.gif"


def _asked(question: str) -> str:
    """A question in the publisher's spelling."""
    return f"{question[0].upper()}{question[1:].removesuffix('?').rstrip()} ?"


def _tables(rows: Rows, kind: str, columns: tuple[str, ...]) -> dict[str, str]:
    """Training and test file; each row gets the next key, and an id made of it."""
    texts = {}
    first = 1
    for split, name in _FILES.items():
        some = rows.get(split, [])
        keyed = [
            {**row, "vid_id": f"{_ID_PREFIXES[kind]}{key}", "key": key} for key, row in enumerate(some, start=first)
        ]
        texts[f"annotations/{name}_{kind}_question.csv"] = csv_text(
            columns, [[row[column] for column in columns] for row in keyed], delimiter="\t", end="\r\n"
        )
        first += len(some)
    return texts


@dataclass(frozen=True)
class TgifChoices(_Tgif):
    """Questions with five answers, of which some scenes have none.

    Attributes:
        kind: "action", what is done a number of times, or "transition", what is done before or after something.
    """

    kind: str

    def scene(self, config: ShapesConfig, split: str, index: int) -> Scene:
        """Draw a scene; for questions about repetitions one of the kind that has them."""
        return sample_scene(config, split, index, REPEATED if self.kind == "action" else None)

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a GIF; at most one row."""
        name, media = _media(scene, config)
        made = (repetition if self.kind == "action" else transition)(scene, config.seed)
        rows = []
        if made is not None:
            question, options, label = made
            answers = {f"a{place}": option for place, option in enumerate(options, start=1)}
            rows.append({"gif_name": name, "question": _asked(question), **answers, "answer": label})
        return Clip(media=media, rows={scene.split: rows})

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """``Train_*_question.csv`` and ``Test_*_question.csv``."""
        return _tables(rows, self.kind, _CHOICE_COLUMNS)


@dataclass(frozen=True)
class TgifFrames(_Tgif):
    """Open-ended questions that any frame answers, of four types."""

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a GIF; at most one row of each type, with the caption that the original gives too."""
        name, media = _media(scene, config)
        rows = [
            {
                "gif_name": name,
                "question": row.question,
                "answer": row.answer,
                "type": _FRAME_TYPES.index(row.type),
                "description": f"{captions(scene, Wording(seed=config.seed))[0]} .",
            }
            for row in frame_questions(scene, config.seed)
        ]
        return Clip(media=media, rows={scene.split: rows})

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """``Train_frameqa_question.csv`` and ``Test_frameqa_question.csv``."""
        return _tables(rows, "frameqa", _FRAME_COLUMNS)
