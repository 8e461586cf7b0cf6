"""clover search."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import tyro

from clover.commands.options import parse
from clover.commands.train import report_skipped
from clover.data.annotations.problems import counted
from clover.errors import CheckpointError, ConfigError, LibraryError
from clover.files import check_writable
from clover.pipeline import Clover
from clover.search.engine import SearchConfig, open_library, search
from clover.search.export import export_clips
from clover.search.index import Filter, Index, open_index
from clover.search.notes import unread_notes
from clover.search.rerank import RerankConfig
from clover.search.spans import Span
from clover.training.devices import choose_device


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Which videos of a library are looked at."""

    folder: str = ""
    """Only videos below this folder."""
    since: str = ""
    """Only files changed on this day or later, such as 2026-01-31."""
    until: str = ""
    """Only files changed on this day or earlier."""
    min_seconds: float | None = None
    """Only videos of this length or longer."""
    max_seconds: float | None = None
    """Only videos of this length or shorter."""
    tags: tuple[str, ...] = ()
    """Only videos with all of these tags."""

    def as_filter(self) -> Filter | None:
        """What an index understands; None admits everything.

        Raises:
            ConfigError: a day is not written as one, a length is none, or the days are in the wrong order.
            LibraryError: the shortest length is above the longest.
        """
        if self == FilterOptions():
            return None
        since, until = _day("since", self.since), _day("until", self.until, days=1)
        if since is not None and until is not None and since > until:
            raise ConfigError(f"--since {self.since} is after --until {self.until}; give the earlier day first")
        for name, seconds in (("min", self.min_seconds), ("max", self.max_seconds)):
            if seconds is not None and not seconds >= 0:
                raise ConfigError(f"--{name}-seconds is {seconds:g}; use 0 or more")
        return Filter(
            folder=str(Path(self.folder).resolve()) if self.folder else "",
            since=since,
            until=until,
            min_seconds=self.min_seconds,
            max_seconds=self.max_seconds,
            tags=self.tags,
        )


def _day(name: str, text: str, *, days: int = 0) -> float | None:
    """Beginning of a day, or of one so many days later, in seconds since 1970."""
    if not text:
        return None
    try:
        return (datetime.fromisoformat(text) + timedelta(days=days)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(f"--{name} {text!r} is no day; write it as 2026-01-31") from error


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Find moments of a library by a sentence."""

    library: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LIBRARY")]
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    query: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="QUERY")]
    """What to look for."""
    num_results: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10
    """Most results."""
    results: tyro.conf.OmitArgPrefixes[SearchConfig] = SearchConfig()
    """What counts as a result."""
    again: tyro.conf.OmitArgPrefixes[RerankConfig] = RerankConfig()
    """Re-ranking by the fusion encoder."""
    where: tyro.conf.OmitArgPrefixes[FilterOptions] = FilterOptions()
    """Which videos are looked at."""
    export: str = ""
    """Folder for the results as MP4 clips, copied without loss from the key frame before each."""
    exact: bool = False
    """With --export, begin and end clips exactly, by encoding them anew."""
    checkpoint: str = ""
    """Checkpoint folder, when it is no longer where it was while indexing."""
    device: str = "auto"
    """auto (a GPU where there is one, else the processor), cpu, cuda, or a GPU by number as in cuda:1."""
    json: bool = False
    """Print one JSON object."""


def search_library(arguments: Sequence[str]) -> None:
    """Run `clover search`."""
    options = parse(SearchOptions, arguments, command="search")
    if options.num_results < 1:
        raise ConfigError(f"{options.num_results} results are no results; ask for at least 1")
    if not options.query.strip():
        raise ConfigError("the query is blank; say what to look for")
    if options.exact and not options.export:
        raise ConfigError("--exact is for clips; name their folder with --export")
    where = options.where.as_filter()
    if options.export:
        check_writable(Path(options.export))
    clover, library = open_with_model(options.library, options.checkpoint, options.device)
    note_unread(clover, options.query)
    spans = search(
        library, clover, options.query, options.num_results, options.results, where=where, rerank=options.again
    )
    if options.again.rerank and spans and all(span.reranked is None for span in spans):
        note = "nothing was re-ranked: the files of what was found are gone or have changed, or the time ran out"
        print(f"clover: {note}", file=sys.stderr)
    if options.json:
        print(json.dumps({"query": options.query, "results": [span_row(span) for span in spans]}))
    elif spans:
        _print(spans)
    else:
        print(_nothing(library, options.results, where))
    if options.export and spans:
        _export(spans, Path(options.export), exact=options.exact)


def _print(spans: Sequence[Span]) -> None:
    is_reranked = any(span.reranked is not None for span in spans)
    print(f"{'reranked  ' if is_reranked else ''} score  confidence     from       to  video")
    for span in spans:  # no table: paths are long, and must not be folded or taken for markup
        again = "       -  " if span.reranked is None else f"{span.reranked:8.3f}  "
        row = span_row(span)
        print(
            f"{again if is_reranked else ''}{row['score']:6.3f}  {100 * row['confidence']:8.1f} %  "
            f"{row['start_seconds']:5.1f} s  {row['end_seconds']:5.1f} s  {row['video']}"
        )


def _nothing(library: Index, config: SearchConfig, where: Filter | None) -> str:
    if not len(library):
        return "nothing: the library is empty"
    if config.min_confidence:
        return f"nothing matches with a confidence of {100 * config.min_confidence:g} % or more"
    return "nothing: no video of the library is as asked for" if where is not None else "nothing matches"


def _export(spans: Sequence[Span], folder: Path, *, exact: bool) -> None:
    before = {path.name for path in folder.glob("*.mp4")}
    done = export_clips(spans, folder, exact=exact)
    num_copied = sum(clip.is_copied for clip in done.clips)
    num_encoded = len(done.clips) - num_copied
    # standard output may be one JSON object
    written = counted(len(done.clips), "clip")
    print(f"{written} in {folder}: {num_copied} copied, {num_encoded} encoded anew", file=sys.stderr)
    others = before - {clip.path.name for clip in done.clips}
    if others:
        print(f"beside {counted(len(others), 'other MP4')} that lay there before", file=sys.stderr)
    report_skipped(done.skipped, beside=True)


def span_row(span: Span) -> dict[str, Any]:
    """What is said of a result, rounded."""
    row: dict[str, Any] = {
        "video": span.video,
        "start_seconds": round(span.start_seconds, 3),
        "end_seconds": round(span.end_seconds, 3),
        "score": round(span.score, 4),
        "confidence": round(span.confidence or 0.0, 4),
    }
    return row if span.reranked is None else {**row, "reranked": round(span.reranked, 4)}


def open_with_model(place: str, checkpoint: str, device: str = "auto") -> tuple[Clover, Index]:
    """A library and the model that made it, from ``checkpoint`` or, if that is empty, from where the library says.

    Raises:
        LibraryError: the library is missing or broken, or does not say which model made it.
        CheckpointError: the model is not there.
    """
    model = checkpoint or str(open_index(place).details.get("checkpoint", ""))
    if not model:
        raise LibraryError(f"{place} does not say which checkpoint made it; name it with --checkpoint")
    try:
        clover = Clover.from_pretrained(model, device=choose_device(device))
    except CheckpointError as error:
        hint = "" if checkpoint else "; the library was made with it: name its new place with --checkpoint"
        raise CheckpointError(f"{error}{hint}") from error
    return clover, open_library(place, clover)


def note_unread(clover: Clover, text: str) -> None:
    """Say so when the model reads only the beginning of a text, or knows none of its words."""
    for note in unread_notes(clover, text):
        print(f"clover: {note}", file=sys.stderr)
