"""What a training loop needs to know of a corpus, wherever its media are."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, SupportsIndex, runtime_checkable


@runtime_checkable
class Corpus(Protocol):
    """Captioned videos or images, by their position from 0."""

    def __len__(self) -> int:
        """How many samples can be asked for."""

    def caption(self, position: SupportsIndex) -> str:
        """The text, stripped and not empty."""

    def media(self, position: SupportsIndex) -> Path | bytes:
        """What `clover.data.video.read_frames` takes: a path, which need not exist, or the bytes of a file."""

    def name(self, position: SupportsIndex) -> str:
        """What messages call the sample: a name within the corpus, not necessarily unique."""
