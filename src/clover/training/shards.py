"""Tensors whose rows lie in several files: written by as many processes as there were, read by as many as there are."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset


def local_rows(value: Tensor) -> tuple[Tensor, int]:
    """The rows of a tensor that this process holds, and the number of the first."""
    if not isinstance(value, DTensor):
        return value, 0
    _, offset = compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)
    return value.to_local(), offset[0]


class ShardedTensors:
    """Reads tensors, whole or the rows that a process needs, from the files of all parts."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._stack = ExitStack()
        self._files = [self._stack.enter_context(safe_open(path, "pt")) for path in paths]
        self._pieces: dict[str, list[tuple[int, Any]]] = {}
        for file in self._files:
            starts = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118
                self._pieces.setdefault(name, []).append((int(starts[name]), file))

    def __enter__(self) -> ShardedTensors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """What can be read."""
        return list(self._pieces)

    def whole(self, name: str) -> Tensor:
        """A tensor with the rows of all files."""
        pieces = [file.get_tensor(name) for _, file in self._ordered(name)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def like(self, name: str, model: Tensor) -> Tensor:
        """A tensor laid out over the processes as another is."""
        if not isinstance(model, DTensor) or not model.ndim:
            return self.whole(name).to(model.device)
        shape, offset = compute_local_shape_and_global_offset(model.shape, model.device_mesh, model.placements)
        local = self._rows(name, offset[0], offset[0] + shape[0]).to(model.device)
        return DTensor.from_local(
            local,
            model.device_mesh,
            model.placements,
            run_check=False,
            shape=model.shape,
            stride=model.stride(),
        )

    def _rows(self, name: str, start: int, end: int) -> Tensor:
        pieces: list[Tensor] = []
        for first, file in self._ordered(name):
            piece = file.get_slice(name)
            last = first + piece.get_shape()[0]
            if (first < end and start < last) or not pieces:
                pieces.append(piece[max(start - first, 0) : max(min(end, last) - first, 0)])
        return torch.cat(pieces)

    def _ordered(self, name: str) -> list[tuple[int, Any]]:
        return sorted(self._pieces[name], key=lambda piece: piece[0])
