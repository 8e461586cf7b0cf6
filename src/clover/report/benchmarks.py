"""Results of benchmarks as the paper's tables, and predictions of two checkpoints as the paper's pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clover.data.video import read_frames
from clover.errors import DataError, MediaError
from clover.evaluation.benchmarks import BENCHMARKS, Benchmark
from clover.files import write_text
from clover.report.page import render
from clover.report.pictures import film_strip

_NEEDED = (
    "interval",
    "chance",
    "shuffled_frames",
    "single_frame",
    "num_queries",
    "protocol",
    "split",
    "fingerprint",
    "selected_on",
    "remarks",
    "is_complete",
    "is_zero_shot",
)
_RETRIEVAL = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")


@dataclass(frozen=True, kw_only=True)
class ReportedResult:
    """One result file."""

    name: str
    """What the row is called: the folder of the run."""
    row: Benchmark
    plain: dict[str, Any]
    """The content of result.json."""

    @property
    def cells(self) -> list[str]:
        """The figures of its table."""
        figures = self.plain["figures"]
        if self.row.family == "retrieval":
            return [_shown(name, figures[name]) for name in _RETRIEVAL]
        return [_shown("accuracy", figures["accuracy"])]

    @property
    def warning(self) -> str:
        """Why the figures do not compare with the published ones; empty where they do."""
        if not self.plain["is_complete"]:
            return "incomplete"
        marks = ("SEEN IN TRAINING", "the published split has")
        return (
            "not the published split" if any(mark in line for line in self.plain["remarks"] for mark in marks) else ""
        )

    @property
    def dual_softmax_cells(self) -> list[str]:
        """The same figures with every query known; empty for other families."""
        figures = self.plain["figures"]
        names = [f"dual_softmax_{name}" for name in _RETRIEVAL]
        return [_shown(name, figures[name]) for name in names if name in figures]

    @property
    def published_cells(self) -> list[str]:
        """The paper's figures for the same."""
        names = _RETRIEVAL if self.row.family == "retrieval" else ("accuracy",)
        published = self.plain["published"]
        return [_shown(name, published[name]) if name in published else "" for name in names]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One row of two predictions files."""

    strip: str
    """Film strip of the video, as a `data:` address; empty where the video cannot be read here."""
    asked: str
    truth: str
    said: tuple[str, str]
    """What each of the two models said."""
    is_right: tuple[bool, bool]
    strips: tuple[str, str] | None
    """For retrieval, film strips of what each of the two found first."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two predictions files, row by row."""

    num_rows: int
    num_differing: int
    """Rows that exactly one of the two got right."""
    pictures: list[Picture]
    """The first of these."""


def _shown(name: str, value: float) -> str:
    return f"{value:g}" if name.endswith("rank") else f"{value:.1f}"


def read_result(run: Path) -> ReportedResult:
    """The result that an evaluation left in the folder of a run, or a result file itself.

    Args:
        run: Folder of the run, or its checkpoint; without a result.json there, the only result of another policy or
            way of choosing is taken, and the row is called so.

    Raises:
        DataError: there is none, or there are several of other kinds, or it is of no benchmark that this program knows.
    """
    path = run if run.is_file() else _result_of(run)
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        row = BENCHMARKS[plain["benchmark"]]
        name = path.parent.absolute().name if path.name == "result.json" else path.stem
        if path.stem.startswith("result-"):
            name = f"{path.parent.absolute().name}, {path.stem.removeprefix('result-')}"
        result = ReportedResult(name=name, row=row, plain=plain)
        _ = result.cells, result.published_cells, [plain[name] for name in _NEEDED]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the result of a benchmark ({error}); evaluate again") from error
    return result


def _result_of(run: Path) -> Path:
    for folder in (run, run.absolute().parent) if run.name == "checkpoint" else (run,):
        if (folder / "result.json").is_file():
            return folder / "result.json"
        others = sorted(folder.glob("result-*.json"))
        if len(others) == 1:
            return others[0]
        if others:
            names = ", ".join(path.name for path in others)
            raise DataError(f"{folder} holds no result.json but {names}; name the one to report")
    raise DataError(f"{run} holds no result.json; run clover evaluate on its checkpoint first")


def compare(first: Path, second: Path, *, most: int = 8) -> Comparison:
    """Rows that exactly one of two checkpoints got right, as film strips (the paper's Figures 3 and 4).

    Raises:
        DataError: a file cannot be read, or they are not of the same test split.
    """
    rows = [_read_predictions(path) for path in (first, second)]
    asked = [
        [(row["index"], Path(row["video"]).name, row.get("text", row.get("question"))) for row in part] for part in rows
    ]
    if asked[0] != asked[1]:
        raise DataError(f"{first} and {second} are predictions for different rows; evaluate both on the same split")
    differing = [pair for pair in zip(*rows, strict=True) if _is_right(pair[0]) != _is_right(pair[1])]
    return Comparison(
        num_rows=len(rows[0]),
        num_differing=len(differing),
        pictures=[_picture(one, other) for one, other in differing[:most]],
    )


def _read_predictions(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            _ = row["index"], row["video"], row["found"][0] if "found" in row else (row["said"], row["right"])
        return rows
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{path} is not a file of predictions ({error}); clover evaluate --predictions writes one"
        ) from error


def _is_right(row: dict[str, Any]) -> bool:
    return bool(row["found"][0] == row["video"] if "found" in row else row["said"] == row["right"])


def _picture(one: dict[str, Any], other: dict[str, Any]) -> Picture:
    both = (one, other)
    is_right = (_is_right(one), _is_right(other))
    if "found" in one:
        first = [row["found"][0] for row in both]
        return Picture(
            strip=_strip(one["video"]),
            asked=one["text"],
            truth=Path(one["video"]).name,
            said=(Path(first[0]).name, Path(first[1]).name),
            is_right=is_right,
            strips=(_strip(first[0]), _strip(first[1])),
        )
    words = [_words(row, row["said"]) for row in both]
    return Picture(
        strip=_strip(one["video"]),
        asked=one["question"] or "Which sentence fits?",
        truth=_words(one, one["right"]),
        said=(words[0], words[1]),
        is_right=is_right,
        strips=None,
    )


def _words(row: dict[str, Any], answer: Any) -> str:
    """An answer in words; of options their text."""
    if answer is None:
        return "nothing: the video cannot be read"
    return str(row["options"][answer]) if "options" in row else str(answer)


def _strip(video: str) -> str:
    try:
        return film_strip(read_frames(video, 8, short_side=72).images)
    except MediaError:  # gone since, or never readable: the words are worth showing without it
        return ""


def write_tables(path: Path, results: Sequence[ReportedResult], comparison: Comparison | None = None) -> None:
    """Write the page, whole or not at all.

    Raises:
        WriteError: the place cannot be written.
    """
    order = list(BENCHMARKS)
    ordered = sorted(results, key=lambda result: (order.index(result.row.name), result.name))
    tables = {
        "Retrieval (the paper's Table 1)": [result for result in ordered if result.row.family == "retrieval"],
        "Questions (the paper's Table 2)": [result for result in ordered if result.row.family != "retrieval"],
    }
    write_text(path, render("benchmarks.html", tables=tables, comparison=comparison, headings=_HEADINGS))


_HEADINGS = {
    "Retrieval (the paper's Table 1)": ["R@1", "R@5", "R@10", "median rank"],
    "Questions (the paper's Table 2)": ["accuracy"],
}
