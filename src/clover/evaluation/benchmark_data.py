"""A benchmark's files on this machine: rows of a split with their media, and everything that was not as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from clover.data.annotations.media import Located, MediaIndex, MissingMedia, locate
from clover.data.annotations.problems import Problem, Problems, counted
from clover.errors import ConfigError, DataError
from clover.evaluation.benchmarks import Benchmark
from clover.files import checksum

Role = Literal["train", "validation", "test"]
"""What a split is used for; the publishers name their splits in their own ways."""

_NOT_QUESTIONS = ("youtube_mapping.txt",)
"""Files whose rows are no questions."""

_ANNOTATION_SUFFIXES = {".csv", ".json", ".jsonl", ".tsv", ".txt"}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of one split, located."""

    name: str
    """As the reader knows it."""
    records: tuple[Any, ...]
    """Rows to use; under the policy "wrong" some have no media."""
    num_published: int
    """Rows that the published files have; 0 where that is not known."""
    unusable: tuple[Problem, ...]
    """Rows of questions that could not be read and that an evaluation of answers counts as wrong."""
    num_damaged: int
    """Rows that could not be read although the publisher's file has them whole."""
    num_missing: int
    """Rows without media."""
    remarks: tuple[str, ...]
    """All that a reader of a result should know, a line each."""

    @property
    def is_complete(self) -> bool:
        """Every row of the file is there with its media."""
        return not self.num_damaged and not self.num_missing


@dataclass(frozen=True)
class BenchmarkData:
    """The folders of one benchmark."""

    benchmark: Benchmark
    annotations: Path
    """Folder of the publisher's annotation files."""
    videos: Path
    """Folder of the media, at any depth."""
    missing: MissingMedia = "error"
    """What to do about rows without media."""

    def __post_init__(self) -> None:
        if not Path(self.annotations).is_dir():
            raise DataError(
                f"{self.annotations}: no folder of annotations; it needs {self.benchmark.files} (--annotations)"
            )
        if self.missing == "wrong" and self.benchmark.family == "retrieval":
            raise ConfigError(
                "a video that is not there cannot be counted as found or not found: for retrieval choose --missing "
                "error or drop"
            )

    @classmethod
    def given(
        cls, benchmark: Benchmark, annotations: str, videos: str, missing: MissingMedia = "error"
    ) -> BenchmarkData:
        """The folders as options name them: an empty one was forgotten, and is not the current folder.

        Raises:
            ConfigError: a folder was not given.
        """
        what = {"annotations": f"annotations, which needs {benchmark.files}", "videos": "videos"}
        for option, folder in (("annotations", annotations), ("videos", videos)):
            if not folder:
                raise ConfigError(f"{benchmark.title}: no folder of {what[option]}; name it with --{option}")
        return cls(benchmark, Path(annotations), Path(videos), missing)

    @cached_property
    def media(self) -> MediaIndex:
        """Every media file of the folder, found once."""
        return MediaIndex.build(Path(self.videos))

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of every annotation file, by path in the folder."""
        root = Path(self.annotations)
        files = sorted(path for path in root.rglob("*") if path.suffix in _ANNOTATION_SUFFIXES and path.is_file())
        return {path.relative_to(root).as_posix(): checksum(path) for path in files}

    def split_name(self, role: Role) -> str:
        """The publisher's name.

        Raises:
            ConfigError: the publisher has no such split.
        """
        name = getattr(self.benchmark.splits, role)
        if name is None:
            raise ConfigError(
                f"{self.benchmark.title} has no validation split; choose the last checkpoint (--select-on last), or "
                "on the test split by that name (--select-on test)"
            )
        return str(name)

    def read(self, role: Role, name: str = "") -> tuple[list[Any], Problems]:
        """Rows as the annotation files have them, with paths as the publisher writes them, and what is wrong."""
        reader = self.benchmark.read
        if role == "train" and self.benchmark.read_training is not None:
            reader = self.benchmark.read_training
        problems = Problems()
        return reader(Path(self.annotations), name or self.split_name(role), problems), problems

    def split(self, role: Role, name: str = "", *, strict: bool = False) -> Split:
        """Rows with the paths of their media; ``strict`` takes a row that cannot be read for an error.

        Raises:
            DataError: files are missing or unreadable, the split is empty, or media are missing and must not be.
        """
        rows, problems = self.read(role, name)
        if not rows:
            first = next(iter(problems), None)
            raise DataError(
                f"{self.annotations}: the {role} split of {self.benchmark.title} is empty"
                + (f"; the first bad row: {first}" if first else "")
            )
        if strict:
            problems.raise_if_any()
        located: Located[Any] = locate(rows, self.media, self.missing)
        unusable = self._counted_as_wrong(role, problems)
        return Split(
            name=name or self.split_name(role),
            records=located.records,
            num_published=self.benchmark.counts.get(role, 0) if not name else 0,
            unusable=unusable,
            num_damaged=sum(not problem.is_published for problem in problems),
            num_missing=len(located.missing),
            remarks=(*problems.notes, *problems.summary(unusable), *located.summary()),
        )

    def _counted_as_wrong(self, role: Role, problems: Problems) -> tuple[Problem, ...]:
        """The test's answers alone are counted, and none where rows are to be left out."""
        if role != "test" or self.missing == "drop" or self.benchmark.family == "retrieval":
            return ()
        return tuple(problem for problem in problems if problem.file.name not in _NOT_QUESTIONS)

    def training_answers(self) -> list[str]:
        """The answers of the training split, whether their media are here or not.

        Raises:
            DataError: the training split is missing or empty.
        """
        rows, _ = self.read("train")
        if not rows:
            raise DataError(f"{self.annotations}: the train split of {self.benchmark.title} is empty")
        return [record.answer for record in rows]


def count_remark(split: Split, num_rows: int) -> str | None:
    """A line where a split has another size than the published one; such results do not compare.

    Args:
        split: The split.
        num_rows: Its rows, those that could not be read included.
    """
    if not split.num_published or num_rows == split.num_published:
        return None
    return f"{counted(num_rows, 'row')} in {split.name}; the published split has {split.num_published:,}"


def media_of(records: Sequence[Any]) -> list[Path]:
    """Distinct media, in the order of the rows."""
    return list(dict.fromkeys(record.video for record in records))
