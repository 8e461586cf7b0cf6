"""Writes small tar shards, and says in short what was read of them."""

import io
import json
import tarfile
from pathlib import Path

FORMATS = Path(__file__).parents[2] / "formats/webdataset"
MEDIA = b"some bytes"


def make_shard(path, members, *, end=True):
    """Members as (name, content); content that is no bytes is written as JSON."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        size = archive.offset
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue() if end else file.getvalue()[:size])
    return path


def sample(key, caption="a caption", media=MEDIA, **about):
    members = [(f"{key}.mp4", media), (f"{key}.txt", caption.encode()), (f"{key}.json", {"status": "success", **about})]
    return [member for member in members if member[1] is not None]


def summary(corpus):
    return [(corpus.name(place), corpus.caption(place)) for place in range(len(corpus))]


def reasons(corpus):
    return [(problem.row, problem.expected, problem.found) for problem in corpus.problems]
