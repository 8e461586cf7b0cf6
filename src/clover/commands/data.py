"""clover data check and clover data pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from clover.commands.options import parse
from clover.data.packing.pack import first_bad, pack_here, pack_on_ray, summarise
from clover.data.packing.parts import Manifest
from clover.data.packing.settings import PackingConfig, Part
from clover.data.packing.sources import SourceFormat, SourceOptions
from clover.data.processes import num_usable_cores
from clover.errors import ConfigError
from clover.evaluation.benchmarks import benchmark
from clover.training.logbook import progress


def data(arguments: Sequence[str]) -> None:
    """Run `clover data check BENCHMARK` or `clover data pack SOURCE OUT`."""
    usage = (
        "usage: clover data check BENCHMARK --annotations DIR --videos DIR    counts beside the published ones\n"
        "       clover data pack SOURCE OUT [--part i/n | --ray ADDRESS]      any corpus to shards for training\n"
        "       (clover data check --help and clover data pack --help list the options)"
    )
    commands = {"check": check, "pack": pack}
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage)
        return
    if not arguments or arguments[0] not in commands:
        asked = repr(arguments[0]) if arguments else "''"
        raise ConfigError(f"unknown data command {asked}; choose check or pack, see clover data --help")
    commands[arguments[0]](arguments[1:])


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Compare a benchmark's files with the published ones, and list what is missing or unreadable."""

    benchmark: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="BENCHMARK")]
    """One of the eleven (clover benchmarks lists them)."""
    annotations: str
    """Folder of the publisher's annotation files."""
    videos: str
    """Folder of the videos, at any depth below it."""
    probe: bool = True
    """Open every video, to find those that cannot be read."""
    limit: int = 20
    """Most lines shown of each kind."""


def check(arguments: Sequence[str]) -> None:
    """Run `clover data check BENCHMARK`."""
    from clover.evaluation.check import check_benchmark

    options = parse(CheckOptions, arguments, command="data check")
    row = benchmark(options.benchmark)
    with progress("opening videos") as report:
        found = check_benchmark(
            row, Path(options.annotations), Path(options.videos), probe_media=options.probe, progress=report
        )
    for line in found.counts:
        print(line)
    for heading, lines in found.groups.items():
        print(f"\n{heading}: {len(lines):,}")
        for line in lines[: options.limit]:
            print(f"  {line}")
        if len(lines) > options.limit:
            print(f"  and {len(lines) - options.limit:,} more")
    if found.is_as_published:
        print("\neverything is as published")
        return
    raise SystemExit(1)


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """Write any corpus as shards for training: small videos with many key frames, captions and their tags in tars.

    Interrupted, the same command goes on behind the last finished shard.
    """

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """A caption file (WebVid's CSV, CC3M's TSV), a generated corpus, or tars: a file, folder or pattern in quotes."""
    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """Folder of the shards."""
    media: str = ""
    """Folder of the videos or images that a caption file names; the file's own folder when empty."""
    format: SourceFormat = "auto"
    """How to read the source; auto goes by the ending: .csv is WebVid, .tsv CC3M, .tar tars, a folder what it holds."""
    split: str = "train"
    """Split of a generated corpus."""
    part: str = ""
    """i/n makes part i of n, from 0/n to n-1/n: for a job on each of several machines. Everything when empty."""
    ray: str = ""
    """Address of a Ray cluster that makes all parts (auto, HOST:PORT); local starts one on this machine."""
    parts: int = 0
    """With --ray, the number of parts; 0 makes one for every 5,000 samples."""
    workers: int = 0
    """Processes that encode; 0 takes one per core. The shards are the same whatever their number."""
    packing: tyro.conf.OmitArgPrefixes[PackingConfig] = PackingConfig()
    """What goes into the shards."""


def pack(arguments: Sequence[str]) -> None:
    """Run `clover data pack SOURCE OUT`."""
    options = parse(PackOptions, arguments, command="data pack")
    _refuse_contradictions(options)
    source_options = SourceOptions(path=options.source, media=options.media, format=options.format, split=options.split)
    out, part = Path(options.out), Part.parse(options.part or "0/1")
    with progress("packing") as report:
        if options.ray:
            source, manifests = pack_on_ray(
                source_options, out, options.packing, options.ray, num_parts=options.parts or None, progress=report
            )
        else:
            num_workers = options.workers or num_usable_cores()
            source, manifest = pack_here(
                source_options, out, options.packing, part, num_workers=num_workers, progress=report
            )
            manifests = [manifest]
    print(f"source: {source.about['format']}, {len(source):,} samples")
    for line in source.remarks:
        print(f"note: {line}")
    _report(out, manifests)


def _refuse_contradictions(options: PackOptions) -> None:
    if options.ray and options.part:
        raise ConfigError("--part and --ray contradict each other: Ray makes all parts; give one of them")
    if options.ray and options.workers:
        raise ConfigError("--workers and --ray contradict each other: the cluster's cores are used; give one of them")
    if options.parts and not options.ray:
        raise ConfigError(f"--parts {options.parts} is for --ray; one of several parts is made with --part i/n")
    if options.parts < 0 or options.workers < 0:
        raise ConfigError("--parts and --workers are numbers from 0 on")


def _report(out: Path, manifests: Sequence[Manifest]) -> None:
    for manifest in manifests:
        name = f"part {manifest.part.index}/{manifest.part.count}"
        bad = f"; {manifest.num_bad:,} bad: {first_bad(out, manifest)}" if manifest.num_bad else ""
        if bad or len(manifests) == 1:
            print(f"{name}: {manifest.num_samples:,} samples in {len(manifest.shards):,} shards{bad}")
    summary = summarise(out, manifests[0].part.count)
    is_complete = summary.num_complete == summary.num_parts
    state = "complete" if is_complete else f"{summary.num_complete:,} of {summary.num_parts:,} parts, so far"
    print(
        f"pack {out}: {state}: {summary.num_samples:,} samples in {summary.num_shards:,} shards, "
        f"{summary.num_bytes / 1e9:,.3f} GB, {summary.num_hours:,.2f} hours of video, {summary.num_bad:,} bad"
    )
