"""clover index, clover join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from clover.commands.options import parse
from clover.commands.train import report_skipped
from clover.data.media_files import find_media
from clover.data.packing.settings import Part
from clover.errors import ConfigError, LibraryError
from clover.files import check_writable
from clover.pipeline import Clover
from clover.search.engine import gone_videos, open_library, prune
from clover.search.index import is_remote
from clover.search.indexing import in_part, index_videos
from clover.search.joining import join_libraries, part_folder
from clover.search.windows import WindowConfig
from clover.training.devices import choose_device
from clover.training.logbook import progress


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """Make or extend a library of videos that can be searched; files already in it and unchanged are left alone."""

    videos: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="VIDEO ...")]
    """Video files, images, and folders of them; in folders, names that begin with a dot are passed over."""
    checkpoint: str
    """Checkpoint folder."""
    out: str
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    windows: tyro.conf.OmitArgPrefixes[WindowConfig] = WindowConfig()
    """How videos are cut into moments."""
    device: str = "auto"
    """auto (a GPU where there is one, else the processor), cpu, cuda, or a GPU by number as in cuda:1."""
    tags: tuple[str, ...] = ()
    """Words to file the videos under."""
    part: str = ""
    """i/n takes part i of n of the videos, from 0/n to n-1/n, for a job on each of several machines: into a folder of
    its own beside --out, for clover join to put together. Everything when empty."""
    prune: bool = False
    """Take videos out of the library whose files are gone."""
    strict: bool = False
    """Stop at a file that cannot be read instead of leaving it out."""


def index(arguments: Sequence[str]) -> None:
    """Run `clover index`."""
    options = parse(IndexOptions, arguments, command="index")
    if not options.videos:
        raise ConfigError("nothing to index; name video files or folders")
    unread: dict[str, str] = {}
    videos = find_media([Path(name) for name in options.videos], unread=None if options.strict else unread)
    if not videos:
        raise ConfigError(f"there are no videos or images in {', '.join(options.videos)}")
    out = options.out
    if options.part:
        if is_remote(out):
            raise ConfigError(
                "--part makes a folder for every part: give a folder with --out, and then clover join --out "
                f"{options.out}"
            )
        part = Part.parse(options.part)
        videos = [video for video in videos if in_part(video, part.index, part.count)]
        out = str(part_folder(Path(out), part.index, part.count))
    if not is_remote(out):
        check_writable(Path(out))
    clover = Clover.from_pretrained(options.checkpoint, device=choose_device(options.device))
    checkpoint = str(Path(options.checkpoint).resolve())
    library = open_library(out, clover, options.windows, checkpoint=checkpoint)
    with progress("indexing") as report:
        done = index_videos(
            library, clover, videos, options.windows, tags=options.tags, strict=options.strict, progress=report
        )
    pruned = prune(library) if options.prune else []
    if done.num_moments or not videos:
        print(f"{len(done.added)} added, {len(done.unchanged)} unchanged; {len(library)} moments in {out}")
    report_skipped(done.skipped)
    report_skipped(unread, noun="folder")
    report_skipped(done.damaged, what="read {} of which parts are missing")
    if options.prune:
        print(f"{len(pruned)} videos that are gone were taken out")
    elif gone := gone_videos(library):
        print(f"{len(gone)} videos of the library are gone (first: {gone[0]}); --prune takes them out")
    if videos and not done.num_moments:
        raise LibraryError(f"none of {len(videos)} files can be read; {out} was not made")


@dataclass(frozen=True, kw_only=True)
class JoinOptions:
    """Join libraries of one model, such as the parts that several machines made, into one."""

    libraries: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="LIBRARY ...")]
    """Folders of the libraries; they stay as they are."""
    out: str
    """The library that gets their moments, new or there already: a folder, or milvus://HOST:PORT/NAME."""


def join(arguments: Sequence[str]) -> None:
    """Run `clover join`."""
    options = parse(JoinOptions, arguments, command="join")
    if not is_remote(options.out):
        check_writable(Path(options.out))
    joined = join_libraries(options.libraries, options.out)
    print(f"{len(joined)} moments of {len(joined.videos())} videos in {options.out}")
