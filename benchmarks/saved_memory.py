"""Bytes that autograd holds for the backward pass: exact, the same on every machine, blind to allocators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class SavedMemory(saved_tensors_hooks):
    """Counts, while entered, the storages of saved tensors; one that is saved twice is there once.

    Hooks entered inside take precedence: what they let go is not counted.

    Args:
        besides: What is there anyway (weights, a batch's values) and is not counted; what is no tensor is passed over.
    """

    def __init__(self, besides: Iterable[object]) -> None:
        self._besides = {value.untyped_storage().data_ptr() for value in besides if isinstance(value, Tensor)}
        self._holders: Counter[int] = Counter()
        self.num_bytes = 0
        """Held now."""
        self.peak = 0
        """Most that was held at a time."""
        super().__init__(lambda tensor: _Held(tensor, self), lambda held: held.tensor)

    def __enter__(self) -> SavedMemory:
        super().__enter__()
        return self

    def hold(self, address: int, num_bytes: int) -> None:
        """A tensor was saved."""
        if address not in self._besides:
            self.num_bytes += 0 if self._holders[address] else num_bytes
            self._holders[address] += 1
            self.peak = max(self.peak, self.num_bytes)

    def let_go(self, address: int, num_bytes: int) -> None:
        """A saved tensor was freed."""
        if address not in self._besides:
            self._holders[address] -= 1
            self.num_bytes -= 0 if self._holders[address] else num_bytes


class _Held:
    """One saved tensor, detached: the output of a node that holds itself would never be freed."""

    def __init__(self, tensor: Tensor, memory: SavedMemory) -> None:
        self.tensor, self._memory = tensor.detach(), memory
        storage = tensor.untyped_storage()
        self._place = storage.data_ptr(), storage.nbytes()
        memory.hold(*self._place)

    def __del__(self) -> None:
        self._memory.let_go(*self._place)
