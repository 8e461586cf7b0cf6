"""clover index, clover search, clover ask."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from clover.commands.options import parse
from clover.commands.train import report_skipped
from clover.data.media_files import find_media
from clover.errors import CheckpointError, ConfigError, LibraryError
from clover.files import check_writable
from clover.pipeline import Clover
from clover.search.engine import WindowConfig, gone_videos, index_videos, open_library, prune, search
from clover.search.index import is_remote, open_index
from clover.training.logbook import progress


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """Make or extend a library of videos that can be searched; files already in it and unchanged are left alone."""

    videos: tyro.conf.Positional[tuple[str, ...]]
    """Video files, images, and folders of them."""
    checkpoint: str
    """Checkpoint folder."""
    out: str
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    windows: tyro.conf.OmitArgPrefixes[WindowConfig] = WindowConfig()
    """How videos are cut into moments."""
    prune: bool = False
    """Take videos out of the library whose files are gone."""
    strict: bool = False
    """Stop at a file that cannot be read instead of leaving it out."""


def index(arguments: Sequence[str]) -> None:
    """Run `clover index`."""
    options = parse(IndexOptions, arguments, command="index")
    if not options.videos:
        raise ConfigError("nothing to index; name video files or folders")
    videos = find_media([Path(name) for name in options.videos])
    if not videos:
        raise ConfigError(f"there are no videos or images in {', '.join(options.videos)}")
    if not is_remote(options.out):
        check_writable(Path(options.out))
    clover = Clover.from_pretrained(options.checkpoint)
    checkpoint = str(Path(options.checkpoint).resolve())
    library = open_library(options.out, clover, options.windows, checkpoint=checkpoint)
    with progress("indexing") as report:
        done = index_videos(library, clover, videos, options.windows, strict=options.strict, progress=report)
    print(f"{len(done.added)} added, {len(done.unchanged)} unchanged; {done.num_moments} moments in {options.out}")
    report_skipped(done.skipped)
    report_skipped(done.damaged, what="read {} of which parts are missing")
    if options.prune:
        print(f"{len(prune(library))} videos that are gone were taken out")
    elif gone := gone_videos(library):
        print(f"{len(gone)} videos of the library are gone (first: {gone[0]}); --prune takes them out")
    if not done.num_moments:
        raise LibraryError(f"none of {len(videos)} files can be read; {options.out} was not made")


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Find moments of a library by a sentence."""

    library: tyro.conf.Positional[str]
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    query: tyro.conf.Positional[str]
    """What to look for."""
    num_results: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10
    """Most results."""
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
    checkpoint = options.checkpoint or str(open_index(options.library).details.get("checkpoint", ""))
    if not checkpoint:
        raise LibraryError(f"{options.library} does not say which checkpoint made it; name it with --checkpoint")
    try:
        clover = Clover.from_pretrained(checkpoint)
    except CheckpointError as error:
        hint = "" if options.checkpoint else "; the library was made with it: name its new place with --checkpoint"
        raise CheckpointError(f"{error}{hint}") from error
    _note_cut(clover, options.query)
    library = open_library(options.library, clover)
    hits = search(library, clover, options.query, options.num_results)
    rows = [
        {
            "video": hit.moment.video,
            "start_seconds": round(hit.moment.start_seconds, 3),
            "end_seconds": round(hit.moment.end_seconds, 3),
            "score": round(hit.score, 4),
        }
        for hit in hits
    ]
    if options.json:
        print(json.dumps({"query": options.query, "results": rows}))
        return
    print(" score     from       to  video")
    for row in rows:  # no table: paths are long, and must not be folded or taken for markup
        print(f"{row['score']:6.3f}  {row['start_seconds']:5.1f} s  {row['end_seconds']:5.1f} s  {row['video']}")


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """Ask a question about a video."""

    checkpoint: tyro.conf.Positional[str]
    """Checkpoint folder of a model fine-tuned on questions."""
    video: tyro.conf.Positional[str]
    """Video or image file."""
    question: tyro.conf.Positional[str]
    """The question."""
    num_answers: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 3
    """Most answers."""
    json: bool = False
    """Print one JSON object."""


def ask(arguments: Sequence[str]) -> None:
    """Run `clover ask`."""
    options = parse(AskOptions, arguments, command="ask")
    if options.num_answers < 1:
        raise ConfigError(f"{options.num_answers} answers are no answers; ask for at least 1")
    if not options.question.strip():
        raise ConfigError("the question is blank; ask something")
    clover = Clover.from_pretrained(options.checkpoint)
    _note_cut(clover, options.question)
    answers = clover.answer(options.video, options.question, num_answers=options.num_answers)
    if options.json:
        rows = [{"answer": answer.text, "probability": round(answer.probability, 4)} for answer in answers]
        print(json.dumps({"question": options.question, "answers": rows}))
        return
    for answer in answers:
        print(f"{100 * answer.probability:5.1f} %  {answer.text}")


def _note_cut(clover: Clover, text: str) -> None:
    """Say so when the model reads only the beginning of a text."""
    longest = clover.config.inputs.max_text_length
    if clover.tokenizer.encode([text], max_length=longest + 1).token_ids.shape[1] > longest:
        print(f"clover: the text is long; only its first {longest - 2} word pieces are read", file=sys.stderr)
