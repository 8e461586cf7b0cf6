"""clover library info, verify, compact, remove, migrate."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from clover.commands.options import parse
from clover.commands.searching import open_with_model
from clover.commands.train import report_skipped
from clover.errors import ConfigError, LibraryError
from clover.pipeline import Clover
from clover.search.index import open_index
from clover.search.migration import migrate
from clover.search.upkeep import compact
from clover.training.devices import choose_device
from clover.training.logbook import progress


def library(arguments: Sequence[str]) -> None:
    """Run `clover library info`, `verify`, `compact`, `remove` or `migrate`."""
    commands: dict[str, Callable[[Sequence[str]], None]] = {
        "info": _info,
        "verify": _verify,
        "compact": _compact,
        "remove": _remove,
        "migrate": _migrate,
    }
    usage = f"usage: clover library {'|'.join(commands)} LIBRARY ...    (--help lists the options of each)"
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage)
    elif arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
    else:
        raise ConfigError(f"unknown library command {arguments[0] if arguments else ''!r}; {usage}")


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """What is in a library: model, windows, videos, moments, and how they are searched."""

    library: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LIBRARY")]
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    json: bool = False
    """Print one JSON object."""


def _info(arguments: Sequence[str]) -> None:
    options = parse(InfoOptions, arguments, command="library info")
    index = open_index(options.library)
    found = asdict(index.information()) | {"options": asdict(index.options)}
    # long lists of the program's own are of no use to a reader
    found["details"] = {name: value for name, value in found["details"].items() if not isinstance(value, dict)}
    if options.json:
        print(json.dumps(found))
        return
    print(f"library     {found['place']}")
    print(f"model       {found['fingerprint']}, vectors of width {found['width']}")
    for name, value in found["details"].items():
        print(f"{name:11} {value}")
    print(f"videos      {found['num_videos']}")
    print(f"moments     {found['num_moments']}")
    for part in found["search"]:
        print(f"searched    {_search_line(part, found['width'])}")


def _search_line(part: dict[str, Any], width: int) -> str:
    """How a part of a library is searched, in words."""
    words = [f"{part['moments']} moments {'compressed' if part['kind'] == 'compressed' else 'exactly'}"]
    if "recall_at_10" in part:
        words.append(f"recall of the ten nearest {part['recall_at_10']:.3f} looking into {part['num_lists']} lists")
    if part.get("removed"):
        words.append(f"{part['removed']} removed ones still there")
    sizes: dict[str, int] = part.get("bytes", {})
    if sizes and part["moments"]:
        vectors = sum(size for name, size in sizes.items() if not name.startswith(("videos-", "moments-")))
        per_dimension = vectors / (part["moments"] + part.get("removed", 0)) / width
        words.append(f"{sum(sizes.values()) / 1e6:.1f} MB, of vectors {per_dimension:.2f} bytes per dimension")
    if "why" in part:
        words.append(part["why"])
    return "; ".join(words)


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Read everything in a library and compare it with the checksums taken when it was written."""

    library: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LIBRARY")]
    """Folder of the library, or milvus://HOST:PORT/NAME."""


def _verify(arguments: Sequence[str]) -> None:
    options = parse(VerifyOptions, arguments, command="library verify")
    index = open_index(options.library)
    found = index.verify()
    if found.problems:
        more = f" (and {len(found.problems) - 1} more problems)" if len(found.problems) > 1 else ""
        raise LibraryError(f"{options.library} is damaged: {found.problems[0]}{more}; index again in another folder")
    if found.num_unproven:
        raise LibraryError(
            f"{options.library} has no checksums of {found.num_unproven} moments: an early version wrote it; "
            "clover library compact writes it anew, with checksums"
        )
    print(
        f"{options.library} is whole: {found.num_moments} vectors in {found.num_files} files are as they were written"
    )


@dataclass(frozen=True, kw_only=True)
class CompactOptions:
    """Let go of what was removed, and compress a library that has grown; done by itself while indexing, too."""

    library: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LIBRARY")]
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    exact_up_to: int | None = None
    """Up to so many moments each is compared; above, they are compressed."""
    target_recall: float | None = None
    """Share of the ten exact nearest that a compressed search must find, measured on the library's own vectors."""
    checkpoint: str = ""
    """Checkpoint folder, when it is no longer where it was while indexing."""


def _compact(arguments: Sequence[str]) -> None:
    options = parse(CompactOptions, arguments, command="library compact")
    clover, index = open_with_model(options.library, options.checkpoint)
    asked = {"exact_up_to": options.exact_up_to, "target_recall": options.target_recall}
    given = {name: value for name, value in asked.items() if value is not None}
    index.options = replace(index.options, **given) if given else index.options  # type: ignore[arg-type]
    compact(index, clover)
    for part in index.information().search:
        print(_search_line(part, index.width))


@dataclass(frozen=True, kw_only=True)
class RemoveOptions:
    """Take videos out of a library; the files stay."""

    library: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LIBRARY")]
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    videos: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="VIDEO ...")]
    """Video files, and folders of them, there or gone."""


def _remove(arguments: Sequence[str]) -> None:
    options = parse(RemoveOptions, arguments, command="library remove")
    if not options.videos:
        raise ConfigError("nothing to remove; name video files or folders")
    index = open_index(options.library)
    chosen: set[str] = set()
    there = index.videos()
    for name in options.videos:
        path = str(Path(name).resolve())
        found = {video for video in there if video in (name, path) or video.startswith(f"{path.rstrip('/')}/")}
        if not found:
            raise LibraryError(f"{options.library} has no video {path}, and none below it; nothing was removed")
        chosen |= found
    with index.locked():
        num_moments = index.remove_all(chosen)
        index.save()
    print(f"{len(chosen)} videos ({num_moments} moments) were taken out; {len(index)} moments remain")


@dataclass(frozen=True, kw_only=True)
class MigrateOptions:
    """Embed a library's moments anew with another model; meanwhile it answers as before. Interrupted, it goes on."""

    library: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LIBRARY")]
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    checkpoint: str
    """Checkpoint folder of the model that takes over."""
    device: str = "auto"
    """auto (a GPU where there is one, else the processor), cpu, cuda, or a GPU by number as in cuda:1."""
    drop_missing: bool = False
    """Leave videos out that can no longer be read."""


def _migrate(arguments: Sequence[str]) -> None:
    options = parse(MigrateOptions, arguments, command="library migrate")
    index = open_index(options.library)
    clover = Clover.from_pretrained(options.checkpoint, device=choose_device(options.device))
    with progress("migrating") as report:
        done = migrate(
            index,
            clover,
            checkpoint=str(Path(options.checkpoint).resolve()),
            drop_missing=options.drop_missing,
            progress=report,
        )
    before = f", {done.num_before} had been" if done.num_before else ""
    print(f"{done.num_videos} videos embedded anew{before}; {options.library} is now of model {clover.fingerprint}")
    report_skipped(done.missing)
