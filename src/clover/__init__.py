"""Clover: one video-language model that retrieves videos by text and answers questions about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clover.errors import CloverError as CloverError
    from clover.pipeline import Answer as Answer
    from clover.pipeline import Clover as Clover

_HOMES = {"Answer": "clover.pipeline", "Clover": "clover.pipeline", "CloverError": "clover.errors"}

__all__ = ["Answer", "Clover", "CloverError"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first asked for: importing the package stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clover' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
