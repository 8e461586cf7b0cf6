"""Numbers of NumPy in a PyTorch file, read as plain numbers by what is written here; NumPy itself is not called.

mmcv writes such a number into ``meta`` when it keeps the best checkpoint. PyTorch refuses it like all else that is not
its own; that NumPy's own functions are harmless whatever a file gives them nobody has promised.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

_FORMATS = {
    **{"f2": "e", "f4": "f", "f8": "d", "b1": "?"},
    **{"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"},
}
"""NumPy's code of a kind of number and that of `struct`; objects, texts, records and times are none."""
_ORDERS = "<>=|"
"""Signs of the order of bytes; the last means that there is but one byte."""


class NumberKind:
    """What stands for ``numpy.dtype`` while a file is read: a kind of number, and nothing else."""

    def __init__(self, code: Any, *_options: Any) -> None:
        if not isinstance(code, str) or code not in _FORMATS:
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype({str(code)[:20]!r})")  # as PyTorch says it of others
        self.format = _FORMATS[code]
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """The order of bytes is second of what NumPy writes; the rest is of records."""
        order = state[1]
        if not isinstance(order, str) or len(order) != 1 or order not in _ORDERS:
            raise pickle.UnpicklingError("a number whose bytes are in no known order")
        self.order = order.replace("|", "=")


def plain_number(kind: Any, content: Any) -> int | float | bool:
    """What stands for NumPy's ``scalar``: a number from its bytes."""
    if type(kind) is not NumberKind or not isinstance(content, bytes):
        raise pickle.UnpicklingError("GLOBAL numpy.core.multiarray.scalar")
    number: int | float | bool
    (number,) = struct.unpack(kind.order + kind.format, content)
    return number


STANDING_IN: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (NumberKind, "numpy.dtype"),
    (plain_number, "numpy.core.multiarray.scalar"),
    (plain_number, "numpy._core.multiarray.scalar"),  # from NumPy 2 on
]
"""For `torch.serialization.add_safe_globals`: what is called, and for what a file names."""
