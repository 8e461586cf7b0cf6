"""What kind of file a video is, and whether a browser plays it as it is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import av

_MEDIA_TYPES = {
    ".3g2": "video/3gpp2",
    ".3gp": "video/3gpp",
    ".avi": "video/x-msvideo",
    ".flv": "video/x-flv",
    ".gif": "image/gif",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".ogv": "video/ogg",
    ".ts": "video/mp2t",
    ".webm": "video/webm",
    ".wmv": "video/x-ms-wmv",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
_PLAYED = {
    "video/mp4": (frozenset({"h264", "av1", "vp9"}), frozenset({"aac", "mp3", "opus", "flac"})),
    "video/webm": (frozenset({"vp8", "vp9", "av1"}), frozenset({"opus", "vorbis"})),
}
"""Codecs of pictures and of sound that browsers play, by the kind of file."""

_PIXELS = frozenset({"yuv420p", "yuvj420p"})


def media_type(path: str) -> str:
    """The media type by the name's ending; one that no browser shows for unknown ones."""
    return _MEDIA_TYPES.get(Path(path).suffix.lower(), "application/octet-stream")


@lru_cache(maxsize=20_000)
def is_playable(path: str, signature: str) -> bool:
    """Whether browsers play a file as it is; kept for each ``signature``. Images and what cannot be read are not."""
    codecs = _PLAYED.get(media_type(path))
    if codecs is None or not Path(path).is_file():
        return False
    try:
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            pictures, sound = container.streams.video, container.streams.audio
            return (
                bool(pictures)
                and pictures[0].codec_context.name in codecs[0]
                and pictures[0].codec_context.pix_fmt in _PIXELS
                and all(stream.codec_context is None or stream.codec_context.name in codecs[1] for stream in sound)
            )
    except (av.FFmpegError, OSError, ValueError):
        return False
