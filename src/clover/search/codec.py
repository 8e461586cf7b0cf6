"""A byte per dimension: vectors turned to their principal axes, each axis with as many bits as it deserves.

Bits are shared out so that the squared error of scores is least (Cover and Thomas, Elements of Information Theory,
10.3.3), two at a time, none to 16 of them. Where all axes vary alike this is plain scalar quantisation; embeddings
vary along few axes, and at the same size their error is three times smaller.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

_SIZES = (8, 4, 2)
"""Bits of a digit."""
_CHOICES = np.arange(0, 17, 2)
"""Bits of an axis."""
_BITS_PER_DIMENSION = 8
_NOTHING = 63
"""The shift of a digit that only fills a byte up."""
_LEAST_COST = 0.01
"""Of an axis that queries leave alone, beside that of the others: not all queries are like the sample."""
_BLOCK = 16_384


@dataclass(frozen=True, kw_only=True)
class Codec:
    """Vectors ``[n d]`` to codes ``[n c]`` and back.

    Along an axis a vector has a level, written in digits of eight, four and two bits. A code holds the digits of eight
    bits of all axes, then those of four, two in a byte, then those of two.

    Attributes:
        mean: Subtracted first.
        axes: Principal axes as columns, the one of largest variance first.
        low: What level 0 stands for, along every axis.
        steps: Distance of two levels, along every axis.
        axis_of: The axis of every digit.
        shifts: Bits of the level that follow a digit, or `_NOTHING`.
        counts: How many digits of eight, four and two bits there are; they fill whole bytes.
    """

    mean: Float32[np.ndarray, " d"]
    axes: Float32[np.ndarray, "d d"]
    low: Float32[np.ndarray, " d"]
    steps: Float32[np.ndarray, " d"]
    axis_of: Int64[np.ndarray, " digits"]
    shifts: Int64[np.ndarray, " digits"]
    counts: Int64[np.ndarray, " 3"]

    @classmethod
    def fit(cls, sample: Float32[np.ndarray, "n d"], sample_queries: Float32[np.ndarray, "q d"] | None = None) -> Codec:
        """Choose axes and digits for vectors like these, at a byte per dimension.

        What an error along an axis costs a score grows with what queries have along it: they count as the vectors
        themselves do and, where sample queries are given, as those do, half each.
        """
        mean = sample.mean(axis=0)
        centred = (sample - mean).astype(np.float64)
        _, axes = np.linalg.eigh(centred.T @ centred)
        axes = np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)
        along = (sample - mean) @ axes
        low, high = along.min(axis=0), along.max(axis=0)
        asked = [sample @ axes] if sample_queries is None else [sample @ axes, sample_queries @ axes]
        costs = np.mean([(queries**2).mean(axis=0) for queries in asked], axis=0)
        bits = _allotted(along.var(axis=0), high - low, costs + _LEAST_COST * costs.mean())
        axis_of: list[np.ndarray] = []
        shifts: list[np.ndarray] = []
        counts: list[int] = []
        rest = bits.copy()
        for size in _SIZES:
            before = sum(len(axes_) for axes_ in axis_of)
            while (chosen := np.flatnonzero(rest >= size)).size:
                rest[chosen] -= size
                axis_of.append(chosen)
                shifts.append(rest[chosen])
            padding = -(sum(len(axes_) for axes_ in axis_of) - before) % (8 // size)
            axis_of.append(np.zeros(padding, dtype=np.int64))
            shifts.append(np.full(padding, _NOTHING))
            counts.append(sum(len(axes_) for axes_ in axis_of) - before)
        return cls(
            mean=mean,
            axes=axes,
            low=np.where(bits == 0, along.mean(axis=0), low).astype(np.float32),
            steps=np.maximum((high - low) / (2.0**bits - 1).clip(1), 1e-12).astype(np.float32),
            axis_of=np.concatenate(axis_of),
            shifts=np.concatenate(shifts),
            counts=np.array(counts, dtype=np.int64),
        )

    @property
    def size(self) -> int:
        """Bytes of a code."""
        return int(self.counts @ _SIZES) // 8

    @cached_property
    def weights(self) -> Float32[np.ndarray, " digits"]:
        """What the unit of a digit stands for along its axis."""
        return np.where(self.shifts < _NOTHING, self.steps[self.axis_of] * 2.0**self.shifts, 0).astype(np.float32)

    def turned(self, vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        """Vectors along the principal axes."""
        return np.ascontiguousarray((vectors - self.mean) @ self.axes)

    def encode(self, turned: Float32[np.ndarray, "n d"]) -> UInt8[np.ndarray, "n c"]:
        """Codes of vectors that were `turned`; what lies outside of the sample's range is moved to its border."""
        masks = np.repeat([2**size - 1 for size in _SIZES], self.counts)
        is_used = self.shifts < _NOTHING
        top = np.zeros(turned.shape[1], dtype=np.int64)
        np.add.at(top, self.axis_of[is_used], masks[is_used] << self.shifts[is_used])
        levels = np.rint((turned - self.low) / self.steps).clip(0, top).astype(np.int64)
        digits = ((levels[:, self.axis_of] >> self.shifts) & masks).astype(np.uint8)
        bytes_, halves, quarters = np.split(digits, np.cumsum(self.counts)[:-1], axis=1)
        packed_quarters = quarters[:, ::4] << 6 | quarters[:, 1::4] << 4 | quarters[:, 2::4] << 2 | quarters[:, 3::4]
        return np.concatenate([bytes_, halves[:, ::2] << 4 | halves[:, 1::2], packed_quarters], axis=1)

    def digits(self, codes: UInt8[np.ndarray, "n c"]) -> Float32[np.ndarray, "n digits"]:
        """The digits of codes."""
        found = np.empty((len(codes), len(self.axis_of)), dtype=np.float32)
        first, byte = 0, 0
        for size, count in zip(_SIZES, self.counts.tolist(), strict=True):
            share = 8 // size
            packed = codes[:, byte : byte + count // share]
            for place in range(share):
                shift = 8 - size * (place + 1)
                found[:, first + place : first + count : share] = (packed >> shift) & (2**size - 1)
            first, byte = first + count, byte + count // share
        return found

    def scores(
        self, codes: UInt8[np.ndarray, "n c"], queries: Float32[np.ndarray, "q d"]
    ) -> Float32[np.ndarray, "n q"]:
        """Dot products of coded vectors with queries, which are not `turned`."""
        along = queries @ self.axes
        offset = queries @ self.mean + along @ self.low
        weighted = (along[:, self.axis_of] * self.weights).T
        parts = [
            self.digits(codes[start : start + _BLOCK]) @ weighted + offset for start in range(0, len(codes), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(queries)), dtype=np.float32)

    def decode(self, codes: UInt8[np.ndarray, "n c"]) -> Float32[np.ndarray, "n d"]:
        """The vectors that codes stand for."""
        turned = np.tile(self.low, (len(codes), 1))
        np.add.at(turned.T, self.axis_of, (self.digits(codes) * self.weights).T)
        return turned @ self.axes.T + self.mean

    def to_bytes(self) -> bytes:
        """Everything, as an npz file."""
        file = io.BytesIO()
        np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Codec:
        """Read `to_bytes`.

        Raises:
            ValueError, KeyError, OSError: it is damaged.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def _allotted(
    variances: Float[np.ndarray, " d"], ranges: Float[np.ndarray, " d"], costs: Float[np.ndarray, " d"]
) -> Int64[np.ndarray, " d"]:
    """Bits of every axis, so that the sum of the squared errors, each at its cost, is least."""
    levels = (2.0**_CHOICES - 1).clip(1)
    errors = (ranges[:, None] / levels) ** 2 / 12
    errors[:, 0] = variances
    errors *= costs[:, None] / costs.mean()
    budget = _BITS_PER_DIMENSION * len(variances)
    # bits are worth a price in error: the lowest at which all can be paid
    low, high = 1e-30, 1.0 + float(errors.max())
    for _ in range(100):
        price = (low * high) ** 0.5
        if _CHOICES[(errors + price * _CHOICES).argmin(axis=1)].sum() > budget:
            low = price
        else:
            high = price
    bits = _CHOICES[(errors + high * _CHOICES).argmin(axis=1)].astype(np.int64)
    # axes that vary alike are raised all at once or not at all: what is left over goes to them one by one
    while budget - bits.sum() >= 2 and (bits < _CHOICES[-1]).any():
        place = bits // 2
        gains = errors[np.arange(len(bits)), place] - errors[np.arange(len(bits)), np.minimum(place + 1, 8)]
        bits[np.argmax(np.where(bits < _CHOICES[-1], gains, -1))] += 2
    return bits
