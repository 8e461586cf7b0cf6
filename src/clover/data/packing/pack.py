"""A whole pack: claimed, made part by part in this process or on a cluster, and counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clover.data.packing.parts import Manifest, bad_file, pack_part, read_manifest
from clover.data.packing.ray_tasks import run_on_ray
from clover.data.packing.settings import PackingConfig, Part, claim
from clover.data.packing.sources import Source, SourceOptions, open_source
from clover.data.tagging import load_tagger
from clover.errors import ConfigError, DataError

_SAMPLES_PER_PART = 5_000
"""How large the parts for a cluster are when nobody says: WebVid makes 500 of them, of about 10 shards each."""


@dataclass(frozen=True, kw_only=True)
class PackSummary:
    """How far a pack is.

    Attributes:
        num_parts: How many parts it has.
        num_complete: How many of them are finished.
        num_samples: Samples in finished shards.
        num_shards: Finished shards.
        num_bytes: Their size.
        num_hours: Length of their videos.
        num_bad: Samples left out.
    """

    num_parts: int
    num_complete: int
    num_samples: int
    num_shards: int
    num_bytes: int
    num_hours: float
    num_bad: int


def pack_here(
    options: SourceOptions,
    out: Path,
    config: PackingConfig,
    part: Part,
    *,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Source, Manifest]:
    """Make one part on this machine; the arguments are those of `pack_part`.

    Returns:
        The opened source, and what was made of the part.

    Raises:
        ConfigError: there are fewer samples than parts, or an option of the source is not known.
        DataError: there is no source, the folder holds something else, or no sample of the part could be packed.
        TextError: the tagger is not known or not installed.
        WriteError: the folder cannot be written.
    """
    source = _opened(options, out, config, part.count)
    manifest = pack_part(source, out, config, part, num_workers=num_workers, progress=progress)
    refuse_nothing(out, [manifest])
    return source, manifest


def pack_on_ray(
    options: SourceOptions,
    out: Path,
    config: PackingConfig,
    address: str,
    *,
    num_parts: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Source, list[Manifest]]:
    """Make all parts as tasks of a Ray cluster, whose machines see the source and the folder at the same paths.

    Args:
        options: The source.
        out: Folder of the pack.
        config: What goes into the shards.
        address: Of the cluster, as `ray.init` takes it; ``local`` starts one on this machine.
        num_parts: How many parts; None makes one for every 5,000 samples.
        progress: Called with (parts done, parts).

    Returns:
        The opened source, and what was made of each part.

    Raises:
        ConfigError: Ray is not installed, no cluster answers, or as `pack_here`.
        DataError, TextError, WriteError: as `pack_here`; in any of the tasks.
    """
    count = -(-len(open_source(options)) // _SAMPLES_PER_PART) if num_parts is None else num_parts
    parts = [Part(index=index, count=count) for index in range(max(1, count))]
    source = _opened(options, out, config, count)
    calls = [(options, out.resolve(), config, part) for part in parts]
    manifests: list[Manifest] = run_on_ray(address, _pack_in_task, calls, progress)
    refuse_nothing(out, manifests)
    return source, manifests


def _pack_in_task(options: SourceOptions, out: Path, config: PackingConfig, part: Part) -> Manifest:
    return pack_part(open_source(options), out, config, part, num_workers=1)


def _opened(options: SourceOptions, out: Path, config: PackingConfig, num_parts: int) -> Source:
    source = open_source(options)
    if num_parts > len(source):
        raise ConfigError(f"{num_parts} parts of {len(source)} samples; use {len(source)} parts or fewer")
    load_tagger(config.tagger)  # fails here rather than at every sample
    claim(out, config, num_parts, source.about)
    return source


def refuse_nothing(out: Path, manifests: Sequence[Manifest]) -> None:
    """Take it for an error when samples were looked at and none could be packed.

    Raises:
        DataError: so it is; the first bad sample is named.
    """
    num_bad = sum(manifest.num_bad for manifest in manifests)
    if num_bad and not any(manifest.num_samples for manifest in manifests):
        first = first_bad(out, next(manifest for manifest in manifests if manifest.num_bad))
        raise DataError(f"none of {num_bad:,} samples could be packed; {first}")


def first_bad(out: Path, manifest: Manifest) -> str:
    """The first bad sample of a part, and where the others are listed."""
    path = bad_file(out, manifest.part)
    with path.open(encoding="utf-8") as lines:
        row = json.loads(next(lines))
    return f"{path.name} lists them, the first: {row['name']}: {row['reason']}"


def summarise(out: Path, num_parts: int) -> PackSummary:
    """Count what the parts have finished so far."""
    found = [read_manifest(out, Part(index=index, count=num_parts)) for index in range(num_parts)]
    manifests = [manifest for manifest in found if manifest is not None]
    shards = [shard for manifest in manifests for shard in manifest.shards]
    return PackSummary(
        num_parts=num_parts,
        num_complete=sum(manifest.is_complete for manifest in manifests),
        num_samples=sum(shard.num_samples for shard in shards),
        num_shards=len(shards),
        num_bytes=sum(shard.num_bytes for shard in shards),
        num_hours=sum(shard.num_seconds for shard in shards) / 3600,
        num_bad=sum(manifest.num_bad for manifest in manifests),
    )
