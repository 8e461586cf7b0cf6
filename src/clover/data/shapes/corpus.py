"""The corpus on disk in its own format: written, and read back as records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clover.data.shapes.captions import Wording, captions, labels, moments, paragraph
from clover.data.shapes.choices import choice, transition
from clover.data.shapes.media import write_media
from clover.data.shapes.noise import with_noise
from clover.data.shapes.probes import probes
from clover.data.shapes.publishers.formats import publisher_layout
from clover.data.shapes.questions import cloze, questions
from clover.data.shapes.sampling import ShapesConfig, sample_scene
from clover.data.shapes.scene import Scene, video_name
from clover.data.shapes.vocabulary import SPLITS
from clover.data.shapes.writing import CLOVER, Job, Layout, Made, Rows, chunks_of, read_summary, write_layout
from clover.errors import ConfigError, DataError
from clover.types import Cloze, MultiChoice, OpenEnded, Pair, Probe

__all__ = [
    "ShapesConfig",
    "read_choices",
    "read_cloze",
    "read_labels",
    "read_moments",
    "read_pairs",
    "read_paragraphs",
    "read_probes",
    "read_questions",
    "write_corpus",
]

_KINDS = ("", "_questions", "_choices", "_cloze", "_scenes", "_probes")
_ONLY_OURS = ("first_video", "group_size", "noise_share", "rich_words")
"""Settings that the layouts of publishers know nothing of."""


@dataclass(frozen=True)
class CloverLayout:
    """Videos by split and number; one file of JSON lines for each split and kind of annotation."""

    name: str = CLOVER

    def chunks(self, config: ShapesConfig) -> list[list[Job]]:
        """The videos of all splits, sixteen at a time."""
        return chunks_of(_jobs(config))

    def make(self, folder: Path, config: ShapesConfig, jobs: list[Job]) -> Made:
        """Write the videos of one chunk unless they are there."""
        rows: list[tuple[Job, Rows]] = []
        num_written = 0
        for split, index in jobs:
            scene = sample_scene(config, split, index)
            num_written += write_media(folder / scene.video, scene)
            rows.append(((split, index), describe(scene, config)))
        return Made(rows=rows, media=[video_name(*job) for job in jobs], num_written=num_written)

    def texts(self, config: ShapesConfig, rows: Sequence[tuple[Job, Rows]]) -> dict[str, str]:
        """Content of ``<split><kind>.jsonl``."""
        texts = {}
        for split in SPLITS:
            for kind in _KINDS:
                lines = [json.dumps(row) for job, video_rows in rows if job[0] == split for row in video_rows[kind]]
                texts[f"{split}{kind}.jsonl"] = "".join(line + "\n" for line in lines)
        return texts

    def files(self, config: ShapesConfig, summary: dict[str, Any]) -> tuple[list[str], list[str]]:
        """One video for each job, and all annotation files."""
        annotations = [f"{split}{kind}.jsonl" for split in SPLITS for kind in _KINDS]
        return [video_name(*job) for job in _jobs(config)], annotations

    def summary(self, annotations: list[str], media: list[str]) -> dict[str, Any]:
        """Nothing more: the files follow from the settings."""
        return {}


def _jobs(config: ShapesConfig) -> list[Job]:
    first = config.first_video
    return [
        (split, index) for split, count in config.num_videos_per_split.items() for index in range(first, first + count)
    ]


def write_corpus(
    folder: Path,
    config: ShapesConfig,
    *,
    format: str = CLOVER,
    progress: Callable[[int, int], None] | None = None,
    num_processes: int | None = None,
) -> int:
    """Write videos and annotations in one of `FORMATS`, as `write_layout` does.

    Args:
        folder: Where to write.
        config: What to write; the same whatever the format and the number of processes.
        format: ``clover``, which this module reads, or the name of a publisher's layout.
        progress: Called with (videos done, videos).
        num_processes: Processes that render; None takes one per core.

    Returns:
        How many files were missing; 0 means that the corpus was complete.

    Raises:
        ConfigError: there is no such format, or it does not know a setting.
        DataError: the folder holds something else, or a corpus of another format or other settings.
        WriteError: the folder cannot be written.
    """
    changed = [name for name in _ONLY_OURS if getattr(config, name) != getattr(ShapesConfig(), name)]
    if format != CLOVER and changed:
        raise ConfigError(f"{changed[0]} is for the corpus's own format; leave it out with --format {format}")
    layout: Layout = CloverLayout() if format == CLOVER else publisher_layout(format)
    return write_layout(folder, config, layout, progress=progress, num_processes=num_processes)


def describe(scene: Scene, config: ShapesConfig) -> Rows:
    """Rows of the annotation files of one video, by kind."""
    seed, video = config.seed, {"video": scene.video}
    told_as = config.first_of_group(scene.split, scene.index)
    wording = Wording(seed=seed, is_rich=config.rich_words, told_as=told_as)
    options, label = choice(scene, seed)
    choices = [{"type": "sentence", "question": "", "options": options, "label": label}]
    order = transition(scene, seed)
    if order is not None:
        choices.append({"type": "transition", "question": order[0], "options": order[1], "label": order[2]})
    blank = cloze(scene, seed)
    described = {
        **_captions(scene, config, wording),
        "paragraph": paragraph(scene, wording),
        "labels": labels(scene),
        "duration_seconds": scene.duration_seconds,
        "moments": [
            {"start_seconds": start, "end_seconds": end, "text": text} for start, end, text in moments(scene, wording)
        ],
    }
    return {
        "": [video | described],
        "_questions": [video | asdict(question) for question in questions(scene, seed)],
        "_choices": [video | row for row in choices],
        "_cloze": [] if blank is None else [video | {"question": blank[0], "answer": blank[1]}],
        "_scenes": [video | asdict(scene)],
        "_probes": [video | row for row in probes(scene, wording)],
    }


def _captions(scene: Scene, config: ShapesConfig, wording: Wording) -> dict[str, Any]:
    """The captions of a video and, where there is noise, the places of those that are not true of it."""
    true = captions(scene, wording)
    if not config.noise_share or scene.split != "train":
        return {"captions": true}

    def of_another() -> list[str]:
        last = config.first_video + config.num_videos_per_split["train"] - 1
        index = scene.index - 1 if scene.index > config.first_video else last
        other = sample_scene(config, scene.split, index)
        return captions(other, replace(wording, told_as=None))

    said, noisy = with_noise(
        true, config.noise_share, seed=config.seed, split=scene.split, index=scene.index, other=of_another
    )
    return {"captions": said, "noisy": noisy}


def _read_rows(folder: Path, split: str, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of every line of an annotation file."""
    layout = read_summary(folder).get("layout", CLOVER)
    if layout != CLOVER:
        raise DataError(
            f"{folder} is a corpus in the format {layout!r}, not in the generated corpus' own; give the files in it by "
            "the options for that format, or write another folder"
        )
    if split not in SPLITS:
        raise DataError(f"there is no split named {split!r}; choose from {', '.join(SPLITS)}")
    path = Path(folder) / f"{split}{kind}.jsonl"
    if not path.is_file():
        raise DataError(f"{path} is missing; write the corpus again")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                row["video_id"] = row["video"].removeprefix("videos/").removesuffix(".mp4")
                row["video"] = Path(folder) / row["video"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{path}, line {number}: not a row of this corpus ({error})") from error
            yield number - 1, row


def _field(folder: Path, split: str, kind: str, number: int, row: dict[str, Any], name: str) -> Any:
    if name not in row:
        raise DataError(f"{Path(folder) / f'{split}{kind}.jsonl'}, line {number + 1}: no field {name!r}")
    return row[name]


def read_pairs(folder: Path, split: str) -> list[Pair]:
    """One pair per caption; ``video_id`` groups them by video.

    Raises:
        DataError: the corpus or a file is missing, or a row is malformed (file and line are named).
    """
    pairs: list[Pair] = []
    for number, row in _read_rows(folder, split, ""):
        for text in _field(folder, split, "", number, row, "captions"):
            pairs.append(
                Pair(
                    video=row["video"],
                    text=text.strip(),
                    index=len(pairs),
                    video_id=row["video_id"],
                    text_id=f"{row['video_id']}#{len(pairs)}",
                )
            )
    return pairs


def read_labels(folder: Path, split: str) -> dict[str, tuple[str, ...]]:
    """What every video shows, by ``video_id``; errors as in `read_pairs`."""
    return {
        row["video_id"]: tuple(_field(folder, split, "", number, row, "labels"))
        for number, row in _read_rows(folder, split, "")
    }


def read_moments(folder: Path, split: str) -> dict[str, list[tuple[float, float, str]]]:
    """Start, end and text of what happens, by ``video_id``; errors as in `read_pairs`."""
    return {
        row["video_id"]: [
            (moment["start_seconds"], moment["end_seconds"], moment["text"])
            for moment in _field(folder, split, "", number, row, "moments")
        ]
        for number, row in _read_rows(folder, split, "")
    }


def read_questions(folder: Path, split: str) -> list[OpenEnded]:
    """Open-ended questions; errors as in `read_pairs`."""
    kind = "_questions"
    return [
        OpenEnded(
            video=row["video"],
            question=_field(folder, split, kind, number, row, "question"),
            answer=_field(folder, split, kind, number, row, "answer"),
            index=number,
            question_type=row.get("type"),
        )
        for number, row in _read_rows(folder, split, kind)
    ]


def read_paragraphs(folder: Path, split: str) -> list[Pair]:
    """One pair per video: the paragraph that describes all of it; errors as in `read_pairs`."""
    return [
        Pair(
            video=row["video"],
            text=_field(folder, split, "", number, row, "paragraph").strip(),
            index=number,
            video_id=row["video_id"],
            text_id=row["video_id"],
        )
        for number, row in _read_rows(folder, split, "")
    ]


def read_probes(folder: Path, split: str) -> list[Probe]:
    """True captions, each with the same one changed in one place; errors as in `read_pairs`."""
    kind = "_probes"
    return [
        Probe(
            video=row["video"],
            video_id=row["video_id"],
            text=_field(folder, split, kind, number, row, "caption"),
            changed=_field(folder, split, kind, number, row, "changed"),
            word_class=_field(folder, split, kind, number, row, "class"),
            index=number,
        )
        for number, row in _read_rows(folder, split, kind)
    ]


def read_choices(folder: Path, split: str) -> list[MultiChoice]:
    """Multiple-choice rows; errors as in `read_pairs`."""
    kind = "_choices"
    return [
        MultiChoice(
            video=row["video"],
            question=_field(folder, split, kind, number, row, "question"),
            options=tuple(_field(folder, split, kind, number, row, "options")),
            label=_field(folder, split, kind, number, row, "label"),
            index=number,
        )
        for number, row in _read_rows(folder, split, kind)
    ]


def read_cloze(folder: Path, split: str) -> list[Cloze]:
    """Fill-in-the-blank rows; errors as in `read_pairs`."""
    kind = "_cloze"
    return [
        Cloze(
            video=row["video"],
            question=_field(folder, split, kind, number, row, "question"),
            answer=_field(folder, split, kind, number, row, "answer"),
            index=number,
        )
        for number, row in _read_rows(folder, split, kind)
    ]
