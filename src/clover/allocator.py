"""Options of glibc's allocator, for what its defaults cost long runs and servers of many threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large blocks instead of giving them back; returns whether this C library understands.

    Large tensors of every step otherwise cost a system call and fresh pages each. Changes speed only; memory stays at
    its peak until the process ends.
    """
    set_option = _options()
    return set_option is not None and bool(
        set_option(_MMAP_THRESHOLD, 1 << 30) and set_option(_TRIM_THRESHOLD, _LARGEST)
    )


def share_arenas(count: int = 2) -> bool:
    """Let all threads allocate from a few pools; returns whether this C library understands.

    Of a pool for each of a server's many threads, every one grows to the largest request it has ever answered.
    """
    set_option = _options()
    return set_option is not None and bool(set_option(_ARENA_MAX, count))


def _options() -> Callable[[int, int], int] | None:
    try:
        found: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return None
    return found
