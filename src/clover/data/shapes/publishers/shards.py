"""Tars of samples as video2dataset writes them of WebVid and img2dataset of CC3M, failed downloads included."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clover.data.shapes.captions import Wording, captions
from clover.data.shapes.media import jpeg_bytes, make_folder, write_media
from clover.data.shapes.publishers.conceptual import link
from clover.data.shapes.publishers.publisher import files_listed, jobs_of
from clover.data.shapes.publishers.webvid import FIRST_IDS, webvid_row
from clover.data.shapes.rendering import render
from clover.data.shapes.sampling import ShapesConfig, sample_scene
from clover.data.shapes.scene import Scene
from clover.data.shapes.stills import still
from clover.data.shapes.writing import Job, Made, Rows, chunks_of, is_there
from clover.files import written_aside

_SAMPLES_PER_SHARD = 100
_FAILED = 1
"""Position in every shard of a sample that could not be fetched; it comes on top of the scenes."""

_FAILED_ID = 990_000_001
_HTTP_ERROR = "HTTP Error 404: Not Found"
_FOLDERS = {"train": "train", "validation": "val"}

Members = list[tuple[str, bytes]]
"""Endings and contents of one sample's files."""


@dataclass(frozen=True)
class ShardLayout:
    """``webvid/<split>/NNNNN.tar`` and ``cc3m/<split>/NNNNN.tar`` of the same scenes, each with its statistics."""

    name: str

    def chunks(self, config: ShapesConfig) -> list[list[Job]]:
        """The videos of one tar each, training before validation."""
        return [chunk for split in FIRST_IDS for chunk in chunks_of(jobs_of(config, (split,)), size=_SAMPLES_PER_SHARD)]

    def make(self, folder: Path, config: ShapesConfig, jobs: list[Job]) -> Made:
        """Write the two tars of one chunk unless they are there."""
        split, shard = jobs[0][0], jobs[0][1] // _SAMPLES_PER_SHARD
        num_written = 0
        media, rows = [], {}
        for kind, samples in (("webvid", _videos), ("cc3m", _pictures)):
            stem = f"{kind}/{_FOLDERS[split]}/{shard:05d}"
            path = folder / f"{stem}.tar"
            media.append(f"{stem}.tar")
            if not is_there(path):
                make_folder(path.parent)
                _write_tar(path, samples(config, jobs, shard))
                num_written += 1
            rows[f"{stem}_stats.json"] = [_statistics(len(jobs), kind)]
        return Made(rows=[(jobs[0], rows)], media=media, num_written=num_written)

    def texts(self, config: ShapesConfig, rows: Sequence[tuple[Job, Rows]]) -> dict[str, str]:
        """The statistics of every tar."""
        return {name: json.dumps(some[0], indent=4) for _, shard_rows in rows for name, some in shard_rows.items()}

    def files(self, config: ShapesConfig, summary: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The files that corpus.json lists."""
        return files_listed(summary)

    def summary(self, annotations: list[str], media: list[str]) -> dict[str, Any]:
        """List the files."""
        return {"annotations": annotations, "media": media}


def _positions(jobs: list[Job]) -> list[int]:
    """Position in the shard of every scene: the failed sample's is left out."""
    return [place + (place >= _FAILED) for place in range(len(jobs))]


def _videos(config: ShapesConfig, jobs: list[Job], shard: int) -> Iterator[tuple[str, Members]]:
    """Samples of videos in the order in which they were ready, not in that of their keys; json, mp4, txt."""
    scenes = dict(zip(_positions(jobs), jobs, strict=True))
    places = [*scenes, _FAILED]
    order = sorted(places, key=lambda place: hashlib.blake2b(f"{shard} {place}".encode()).digest())
    for place in order:
        key = f"{shard:05d}{place:03d}"
        scene = sample_scene(config, *scenes.get(place, jobs[0]))
        row = webvid_row(scene, config)
        caption, url = str(row.pop("name")), row.pop("contentUrl")
        if place not in scenes:
            row["videoid"] = _FAILED_ID + shard
            caption, url = (
                captions(scene, Wording(seed=config.seed))[-1],
                f"https://videos.example/{row['videoid']}/preview.mp4",
            )
        described = {
            **row,
            "url": url,
            "caption": caption,
            "key": key,
            "status": "success" if place in scenes else "failed_to_download",
            "error_message": None if place in scenes else _HTTP_ERROR,
            "yt_meta_dict": None,
        }
        video = [("mp4", _video_bytes(scene))] if place in scenes else []
        yield key, [("json", _json_bytes(described)), *video, ("txt", caption.encode())]


def _pictures(config: ShapesConfig, jobs: list[Job], shard: int) -> Iterator[tuple[str, Members]]:
    """Samples of pictures by key; jpg, txt, json. What failed is not there at all."""
    for place, job in zip(_positions(jobs), jobs, strict=True):
        key = f"{shard:05d}{place:04d}"
        scene = sample_scene(config, *job)
        shown = still(scene, config.seed)
        picture = jpeg_bytes(render(scene, [shown.frame])[0])
        described = {
            "url": link(scene, config),
            "caption": shown.caption,
            "key": key,
            "status": "success",
            "error_message": None,
            "width": scene.size,
            "height": scene.size,
            "original_width": scene.size,
            "original_height": scene.size,
            "exif": "{}",
            "sha256": hashlib.sha256(picture).hexdigest(),
        }
        yield key, [("jpg", picture), ("txt", shown.caption.encode()), ("json", _json_bytes(described))]


def _video_bytes(scene: Scene) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_media(path, scene)
        return path.read_bytes()


def _json_bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=4).encode()


def _write_tar(path: Path, samples: Iterable[tuple[str, Members]]) -> None:
    """Write samples as a tar in which nothing tells the time or the writer."""
    with written_aside(path) as aside, tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, members in samples:
            for ending, content in members:
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _statistics(num_scenes: int, kind: str) -> dict[str, Any]:
    """What the program that fetched a shard says about it."""
    return {
        "count": num_scenes + 1,
        "successes": num_scenes,
        "failed_to_download": 1,
        "failed_to_subsample" if kind == "webvid" else "failed_to_resize": 0,
        "duration": 1.0,
        "start_time": 0.0,
        "end_time": 1.0,
        "status_dict": {"success": num_scenes, _HTTP_ERROR: 1},
    }
