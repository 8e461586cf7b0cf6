"""Decode once: evenly spread frames of every video, small, in one memory-mapped file.

Worth it where epochs are many and videos small; a training clip then draws one of the kept frames in each segment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from clover.data.sampling import sample_indices
from clover.data.transforms import resize_square
from clover.data.video import read_frames
from clover.errors import DataError, MediaError
from clover.files import write_folder


@dataclass(frozen=True, kw_only=True)
class SkippedMedia:
    """A video that could not be used, and why."""

    video: str
    reason: str


class FrameCache:
    """Frames ``[videos kept h w 3]`` of a list of videos, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        """Open a cache that `build` made."""
        index = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        self.frames: UInt8[np.ndarray, "videos kept h w 3"] = np.load(
            folder / "frames.npy", mmap_mode="r", allow_pickle=False
        )
        self.skipped = [SkippedMedia(**row) for row in index["skipped"]]
        self.row_of = {video: row for row, video in enumerate(index["videos"])}

    @classmethod
    def build(
        cls,
        folder: Path,
        videos: Sequence[Path],
        *,
        num_kept: int,
        size: int,
        strict: bool = False,
        num_threads: int = 2,
        tries_again: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> FrameCache:
        """Decode videos, or open the cache when these very files were decoded before.

        Args:
            folder: Where the caches are; this one gets a folder below it, named after its content.
            videos: Files, without repeats.
            num_kept: Frames kept per video, evenly spread.
            size: Height and width they are resized to, without regard to the aspect.
            strict: Stop at the first file that cannot be read instead of leaving it out.
            num_threads: Files decoded at a time.
            tries_again: Decode once more where an earlier cache lacks files that could not be read.
            progress: Called with (done, total).

        Raises:
            MediaError: with `strict`, the first file that cannot be read.
            DataError: no file could be read.
        """
        stamps = [(str(video), video.stat().st_size, video.stat().st_mtime_ns) for video in videos if video.exists()]
        key = hashlib.sha256(json.dumps([stamps, [str(v) for v in videos], num_kept, size]).encode()).hexdigest()[:16]
        target = folder / key
        if not (target / "cache.json").is_file() or (tries_again and cls(target).skipped):
            write_folder(target, lambda aside: _decode(aside, videos, num_kept, size, strict, num_threads, progress))
        return cls(target)

    def clip(self, video: Path, num_frames: int, generator: np.random.Generator | None) -> UInt8[np.ndarray, "t h w 3"]:
        """One kept frame from each of ``num_frames`` equal segments; the middle one without a generator."""
        kept = self.frames[self.row_of[str(video)]]
        return kept[sample_indices(len(kept), num_frames, generator=generator)]


def _decode(
    folder: Path,
    videos: Sequence[Path],
    num_kept: int,
    size: int,
    strict: bool,
    num_threads: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Fill the folder of a cache; rows of files that cannot be read are left out."""

    def read(video: Path) -> np.ndarray | SkippedMedia:
        try:
            return resize_square(read_frames(video, num_kept).images, size)
        except MediaError as error:
            if strict:
                raise
            return SkippedMedia(video=str(video), reason=str(error))

    kept: list[str] = []
    skipped: list[SkippedMedia] = []
    with (folder / "frames.npy").open("wb") as file, ThreadPoolExecutor(num_threads) as pool:
        _write_header(file, (0, num_kept, size, size, 3))
        for done, (video, frames) in enumerate(zip(videos, pool.map(read, videos), strict=True), start=1):
            if isinstance(frames, SkippedMedia):
                skipped.append(frames)
            else:
                file.write(np.ascontiguousarray(frames).data)
                kept.append(str(video))
            if progress is not None:
                progress(done, len(videos))
        file.seek(0)
        _write_header(file, (len(kept), num_kept, size, size, 3))
    if not kept:
        raise DataError(f"none of {len(videos)} videos can be read; the first: {skipped[0].reason}")
    rows = [{"video": item.video, "reason": item.reason} for item in skipped]
    (folder / "cache.json").write_text(json.dumps({"videos": kept, "skipped": rows}), encoding="utf-8")


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The head of a .npy file; it has the same length for any number of rows, so it can be written again."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
