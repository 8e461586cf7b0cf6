"""clover search."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from clover.commands.options import parse
from clover.errors import CheckpointError, ConfigError, LibraryError
from clover.pipeline import Clover
from clover.search.engine import SearchConfig, open_library, search
from clover.search.index import Index, open_index
from clover.search.spans import Span


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Find moments of a library by a sentence."""

    library: tyro.conf.Positional[str]
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    query: tyro.conf.Positional[str]
    """What to look for."""
    num_results: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10
    """Most results."""
    results: tyro.conf.OmitArgPrefixes[SearchConfig] = SearchConfig()
    """What counts as a result."""
    checkpoint: str = ""
    """Checkpoint folder, when it is no longer where it was while indexing."""
    json: bool = False
    """Print one JSON object."""


def search_library(arguments: Sequence[str]) -> None:
    """Run `clover search`."""
    options = parse(SearchOptions, arguments, command="search")
    if options.num_results < 1:
        raise ConfigError(f"{options.num_results} results are no results; ask for at least 1")
    if not options.query.strip():
        raise ConfigError("the query is blank; say what to look for")
    clover, library = open_with_model(options.library, options.checkpoint)
    note_unread(clover, options.query)
    spans = search(library, clover, options.query, options.num_results, options.results)
    rows = [span_row(span) for span in spans]
    if options.json:
        print(json.dumps({"query": options.query, "results": rows}))
        return
    print(" score     from       to  video")
    for row in rows:  # no table: paths are long, and must not be folded or taken for markup
        print(f"{row['score']:6.3f}  {row['start_seconds']:5.1f} s  {row['end_seconds']:5.1f} s  {row['video']}")


def span_row(span: Span) -> dict[str, Any]:
    """What is said of a result, rounded."""
    return {
        "video": span.video,
        "start_seconds": round(span.start_seconds, 3),
        "end_seconds": round(span.end_seconds, 3),
        "score": round(span.score, 4),
    }


def open_with_model(place: str, checkpoint: str) -> tuple[Clover, Index]:
    """A library and the model that made it, from ``checkpoint`` or, if that is empty, from where the library says.

    Raises:
        LibraryError: the library is missing or broken, or does not say which model made it.
        CheckpointError: the model is not there.
    """
    model = checkpoint or str(open_index(place).details.get("checkpoint", ""))
    if not model:
        raise LibraryError(f"{place} does not say which checkpoint made it; name it with --checkpoint")
    try:
        clover = Clover.from_pretrained(model)
    except CheckpointError as error:
        hint = "" if checkpoint else "; the library was made with it: name its new place with --checkpoint"
        raise CheckpointError(f"{error}{hint}") from error
    return clover, open_library(place, clover)


def note_unread(clover: Clover, text: str) -> None:
    """Say so when the model reads only the beginning of a text, or knows none of its words."""
    longest = clover.config.inputs.max_text_length
    token_ids = clover.tokenizer.encode([text], max_length=longest + 1).token_ids
    if token_ids.shape[1] > longest:
        print(f"clover: the text is long; only its first {longest - 2} word pieces are read", file=sys.stderr)
    if (token_ids[0, 1:-1] == clover.tokenizer.unk_id).all():
        print("clover: the model knows none of these words, so what it finds means nothing", file=sys.stderr)
