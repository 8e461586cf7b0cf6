"""clover corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from clover.commands.options import parse
from clover.data.shapes.corpus import ShapesConfig, write_corpus
from clover.data.shapes.publishers.formats import Format
from clover.errors import ConfigError
from clover.training.logbook import progress


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Write the generated corpus of moving shapes: videos, captions, questions, scene graphs."""

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """Where to write it."""
    format: Format = "clover"
    """Whose files to write: the corpus's own, or those that the publisher of a benchmark or pre-training set has."""
    shapes: tyro.conf.OmitArgPrefixes[ShapesConfig] = ShapesConfig()
    """What to generate."""


def corpus(arguments: Sequence[str]) -> None:
    """Run `clover corpus shapes DIR`."""
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: clover corpus shapes DIR [OPTIONS]    (clover corpus shapes --help lists the options)")
        return
    if not arguments or arguments[0] != "shapes":
        raise ConfigError(f"unknown corpus {arguments[0] if arguments else ''!r}; there is one: shapes")
    options = parse(CorpusOptions, arguments[1:], command="corpus shapes")
    with progress("writing videos") as report:
        num_written = write_corpus(Path(options.folder), options.shapes, format=options.format, progress=report)
    print(f"corpus: {options.folder}" + ("" if num_written else " (it was complete; nothing was written)"))
