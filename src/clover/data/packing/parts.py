"""One part of a pack: shards, a manifest and a list of bad samples, the same however often it was interrupted."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from clover.data.packing.samples import BadSample, PackedSample, sample_jobs
from clover.data.packing.settings import PackingConfig, Part
from clover.data.packing.sources import Source
from clover.data.packing.workers import pack_samples
from clover.files import write_text, written_aside

_FORMAT = {"format": "clover-pack-part", "version": 1}


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What the manifest says of a finished shard.

    Attributes:
        name: Its file.
        end: Position in the source after the last sample that was looked at for it.
        num_samples: Samples in it.
        num_bytes: Size of the file.
        num_seconds: Length of its videos.
        num_bad: Bad samples of the part up to ``end``.
    """

    name: str
    end: int
    num_samples: int
    num_bytes: int
    num_seconds: float
    num_bad: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is finished of a part.

    Attributes:
        part: Which one.
        shards: Its finished shards, in order.
        is_complete: Whether all samples were looked at.
        num_bad: How many of those looked at so far are bad.
    """

    part: Part
    shards: tuple[Shard, ...] = ()
    is_complete: bool = False
    num_bad: int = 0

    @property
    def num_samples(self) -> int:
        """Samples in its shards."""
        return sum(shard.num_samples for shard in self.shards)


def manifest_file(out: Path, part: Part) -> Path:
    """Where a part's manifest is."""
    return out / f"part-{part.index:04d}.json"


def bad_file(out: Path, part: Part) -> Path:
    """Where a part's bad samples are listed: a JSON object a line, with index, name and reason."""
    return out / f"bad-{part.index:04d}.jsonl"


def pack_part(
    source: Source,
    out: Path,
    config: PackingConfig,
    part: Part,
    *,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Make one part, or what is missing of it; the bytes do not depend on interruptions or processes.

    Args:
        source: All samples.
        out: Folder of the pack, claimed by `clover.data.packing.settings.claim`.
        config: What goes into the shards.
        part: Which samples.
        num_workers: Processes that encode; None encodes in this one.
        progress: Called with (samples looked at, samples of the part).

    Raises:
        WriteError: the folder cannot be written, or is full; what was finished stays.
        DataError: the source's media folder is gone.
    """
    positions = part.positions(len(source))
    manifest, bad = _resume(out, part)
    if manifest.is_complete:
        return manifest
    for name in ("shard-{:04d}-*", "bad-{:04d}.jsonl", "part-{:04d}.json"):
        for left in out.glob(f".{name.format(part.index)}.*.part"):  # of a process that was killed
            left.unlink(missing_ok=True)
    start = manifest.shards[-1].end if manifest.shards else positions.start
    jobs = sample_jobs(source, range(start, positions.stop))
    with _ShardWriter(out, part) as shard, closing(pack_samples(jobs, config, num_workers)) as outcomes:
        for position, outcome in zip(range(start, positions.stop), outcomes, strict=True):
            if isinstance(outcome, BadSample):
                bad.append(outcome.as_json())
            else:
                shard.add(outcome, len(manifest.shards))
                if config.is_full(shard.num_samples, shard.num_bytes):
                    finished = shard.finish(position + 1, len(bad))
                    manifest = replace(manifest, shards=(*manifest.shards, finished), num_bad=len(bad))
                    _write(out, manifest, bad)
            if progress is not None:
                progress(position + 1 - positions.start, len(positions))
        if shard.num_samples:
            manifest = replace(manifest, shards=(*manifest.shards, shard.finish(positions.stop, len(bad))))
    manifest = replace(manifest, num_bad=len(bad), is_complete=True)
    _write(out, manifest, bad)
    return manifest


class _ShardWriter:
    """Writes one shard after the other, each aside until it is finished."""

    def __init__(self, out: Path, part: Part) -> None:
        self._out, self._part = out, part
        self._open = ExitStack()
        self.num_samples = self.num_bytes = 0

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, sample: PackedSample, number: int) -> None:
        """Write a sample, the first of a shard into a new one of this number."""
        if not self.num_samples:
            self._path = self._out / f"shard-{self._part.index:04d}-{number:05d}.tar"
            self._file = self._open.enter_context(self._open.enter_context(written_aside(self._path)).open("wb"))
            self._tar = self._open.enter_context(
                tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.GNU_FORMAT)
            )
            self._num_seconds = 0.0
        for ending, content in sample.members:
            member = tarfile.TarInfo(f"{sample.key}.{ending}")  # time and owner stay 0: the same bytes every time
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))
        self.num_samples += 1
        self.num_bytes = self._tar.offset
        self._num_seconds += sample.duration_seconds

    def finish(self, end: int, num_bad: int) -> Shard:
        """Put the shard in its place; the arguments are those of `Shard`."""
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())  # before the manifest says that it is there
        self._open.close()
        finished = Shard(
            name=self._path.name,
            end=end,
            num_samples=self.num_samples,
            num_bytes=self._path.stat().st_size,
            num_seconds=round(self._num_seconds, 6),
            num_bad=num_bad,
        )
        self.num_samples = self.num_bytes = 0
        return finished


def _write(out: Path, manifest: Manifest, bad: list[str]) -> None:
    """The manifest goes last: what it says is there."""
    write_text(bad_file(out, manifest.part), "".join(f"{line}\n" for line in bad))
    content = {**_FORMAT, **asdict(manifest)}
    write_text(manifest_file(out, manifest.part), json.dumps(content, indent=1) + "\n")


def _resume(out: Path, part: Part) -> tuple[Manifest, list[str]]:
    """What is finished and still whole, and the bad samples up to there."""
    kept = read_manifest(out, part)
    bad_path = bad_file(out, part)
    bad = bad_path.read_text(encoding="utf-8").splitlines() if bad_path.is_file() else []
    if kept is None or len(bad) < kept.num_bad:
        return Manifest(part=part), []
    whole: list[Shard] = []
    for shard in kept.shards:
        path = out / shard.name
        if not path.is_file() or path.stat().st_size != shard.num_bytes:
            break
        whole.append(shard)
    if len(whole) == len(kept.shards) and kept.is_complete:
        return kept, bad
    num_bad = whole[-1].num_bad if whole else 0
    return Manifest(part=part, shards=tuple(whole), num_bad=num_bad), bad[:num_bad]


def read_manifest(out: Path, part: Part) -> Manifest | None:
    """What is finished of a part; None when nothing is, or the manifest is damaged."""
    try:
        content: dict[str, Any] = json.loads(manifest_file(out, part).read_text(encoding="utf-8"))
        if {name: content.pop(name) for name in _FORMAT} != _FORMAT or content.pop("part") != asdict(part):
            return None
        shards = tuple(Shard(**shard) for shard in content.pop("shards"))
        return Manifest(part=part, shards=shards, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
