"""What is measured of one model, query by query, and the files that keep it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clover.data.frame_cache import FrameCache
from clover.data.shapes.corpus import ShapesConfig, read_choices, read_pairs, read_paragraphs, read_probes
from clover.data.shapes.corpus import read_questions as read_open_questions
from clover.errors import DataError, first_line
from clover.evaluation.predictions import predict_answers, predict_choices
from clover.evaluation.probing import evaluate_probes
from clover.evaluation.retrieval import RetrievalResult, evaluate_retrieval
from clover.evaluation.views import ReadClip
from clover.experiment.pieces import cache_folder
from clover.files import write_text, written_aside
from clover.pipeline import Clover
from clover.types import MultiChoice, OpenEnded, Pair, Probe

LONGEST_PARAGRAPH = 64
"""Word pieces of a paragraph; captions are cut at the length of pre-training."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """A split, read for all evaluations of a run; its videos are decoded once for all runs."""

    captions: list[Pair]
    paragraphs: list[Pair]
    questions: list[OpenEnded]
    choices: list[MultiChoice]
    probes: list[Probe]
    read: ReadClip
    group_size: int
    """So many videos in a row differ in one thing each; they are redrawn together."""

    @classmethod
    def open(cls, corpus: Path, shapes: ShapesConfig, split: str, clover: Clover, run: Path) -> EvaluationData:
        """Read a split, and open or make its cache of frames.

        Args:
            corpus: Folder of the experiment's corpus.
            shapes: Its settings.
            split: Which.
            clover: Says how many frames of which size it takes.
            run: Gets the cache where the corpus is read-only.

        Raises:
            DataError: a file is missing or malformed.
            MediaError: a video cannot be read.
        """
        inputs = clover.config.inputs
        paragraphs = read_paragraphs(corpus, split)
        frames = FrameCache.build(
            cache_folder(corpus, run) / "frames",
            [pair.video for pair in paragraphs],
            num_kept=inputs.num_frames,
            size=inputs.frames.size,
            strict=True,
        )
        return cls(
            captions=read_pairs(corpus, split),
            paragraphs=paragraphs,
            questions=read_open_questions(corpus, split),
            choices=sentence_choices(corpus, split),
            probes=read_probes(corpus, split),
            read=lambda video: frames.clip(video, inputs.num_frames, None),
            group_size=shapes.group_size,
        )

    def groups(self, rows: Sequence[Pair | OpenEnded | MultiChoice | Probe]) -> np.ndarray:
        """For every row the number of its group of near-duplicates."""
        first = min(int(pair.video.stem) for pair in self.paragraphs)
        return np.array([(int(row.video.stem) - first) // self.group_size for row in rows])


def sentence_choices(corpus: Path, split: str) -> list[MultiChoice]:
    """The choices between sentences; those that are asked a question play another benchmark."""
    return [row for row in read_choices(corpus, split) if not row.question]


def measure_zero_shot(clover: Clover, data: EvaluationData, path: Path) -> None:
    """Retrieval by captions and by paragraphs, and the probes; figures in ``path``, queries beside it.

    Every caption of a video is a query against all videos of the split.
    """
    longer = clover.with_inputs(replace(clover.config.inputs, max_text_length=LONGEST_PARAGRAPH))
    captions = evaluate_retrieval(clover, data.captions, read=data.read, strict=True)
    paragraphs = evaluate_retrieval(longer, data.paragraphs, read=data.read, strict=True)
    probes = evaluate_probes(clover, data.probes, read=data.read)
    firsts = _first_rows(captions)
    arrays = {
        "captions_rank": captions.text_ranks,
        "captions_group": data.groups(captions.pairs),
        "captions_scores": captions.scores[firsts].astype(np.float16),
        "paragraphs_rank": paragraphs.text_ranks,
        "paragraphs_group": data.groups(paragraphs.pairs),
        "paragraphs_scores": paragraphs.scores.astype(np.float16),
        "probes_right": probes.is_right,
        "probes_margin": probes.margins.astype(np.float32),
        "probes_class": np.array([probe.word_class for probe in probes.probes]),
        "probes_group": data.groups(probes.probes),
    }
    figures = {
        "captions": _retrieval(captions),
        "paragraphs": _retrieval(paragraphs),
        "probes": {"accuracy": 100 * float(probes.is_right.mean()), **probes.by_class},
    }
    _write(path, figures, arrays)


def measure_open_answers(clover: Clover, data: EvaluationData, path: Path) -> None:
    """Answers to open questions; figures in ``path``, queries beside it."""
    found = predict_answers(clover, data.questions, data.read, strict=True)
    types = np.array([row.question_type or "" for row in data.questions])
    right = found.is_right
    arrays = {
        "right": right,
        "said": np.array([said or "" for said in found.said]),
        "type": types,
        "group": data.groups(data.questions),
    }
    by_type = {str(name): 100 * float(right[types == name].mean()) for name in np.unique(types)}
    _write(path, {"accuracy": 100 * float(right.mean()), "num_queries": len(right), "by_type": by_type}, arrays)


def measure_choices(clover: Clover, data: EvaluationData, path: Path) -> None:
    """Choices between sentences; figures in ``path``, queries beside it."""
    found = predict_choices(clover, data.choices, data.read, strict=True)
    right = found.is_right
    said = np.array([-1 if said is None else said for said in found.said])
    arrays = {"right": right, "said": said, "group": data.groups(data.choices)}
    _write(path, {"accuracy": 100 * float(right.mean()), "num_queries": len(right)}, arrays)


def read_figures(path: Path) -> dict[str, Any]:
    """Figures that were measured.

    Raises:
        DataError: the file is missing or broken.
    """
    if not Path(path).is_file():
        raise DataError(f"{path} is missing; run the ablation again")
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({first_line(error)}); remove it and run the ablation again") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path} holds no figures; remove it and run the ablation again")
    return plain


def read_queries(path: Path) -> dict[str, np.ndarray]:
    """What was measured of every query, from beside the figures.

    Raises:
        DataError: the file is missing or broken.
    """
    place = Path(path).with_suffix(".npz")
    try:
        with place.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it is a single array")
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # of a broken file NumPy and zipfile raise many kinds
        why = first_line(error)
        raise DataError(f"{place} cannot be read ({why}); remove {path} and run the ablation again") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of whatever else lies in the archive
            raise DataError(f"{place} holds {name}, which is no array; remove {path} and run the ablation again")
    return _Queries(place, arrays)


class _Queries(dict[str, np.ndarray]):
    """Arrays of a file, which names itself where one is missing."""

    def __init__(self, place: Path, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self._place = place

    def __missing__(self, name: str) -> np.ndarray:
        raise DataError(
            f"{self._place} holds no {name}; remove {self._place.with_suffix('.json')} and run the ablation again"
        )


def _write(path: Path, figures: Mapping[str, Any], arrays: Arrays) -> None:
    """Queries first: where the figures are, everything is."""
    with written_aside(Path(path).with_suffix(".npz")) as aside, aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    write_text(path, json.dumps(figures, indent=2) + "\n")


def _retrieval(result: RetrievalResult) -> dict[str, float]:
    found = result.text_to_video
    names = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank", "num_queries", "num_gallery")
    return {name: getattr(found, name) for name in names} | {"video_to_text": result.video_to_text.recall_at_1}


def _first_rows(result: RetrievalResult) -> list[int]:
    """The first text of every video, in the order of the videos."""
    first = {pair.video: row for row, pair in reversed(list(enumerate(result.pairs)))}
    return [first[video] for video in result.videos]
