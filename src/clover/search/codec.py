"""About a byte per dimension: vectors turned to their principal axes, each axis with as many bits as it deserves.

Bits are shared out so that the squared error of scores is least (Cover and Thomas, Elements of Information Theory,
10.3.3), none to 16 of them. Where all axes vary alike this is plain scalar quantisation; embeddings
vary along few axes, and at the same size their error is three times smaller.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, UInt8

_SIZES = (8, 4, 2, 1)
"""Bits of a digit; codes of early versions have none of one bit."""
_CHOICES = np.arange(17)
"""Bits of an axis."""
_NOTHING = 63
"""The shift of a digit that only fills a byte up."""
_LEAST_COST = 0.01
"""Of an axis that queries leave alone, beside that of the others: not all queries are like the sample."""
_NUM_TRIED = 8_192
"""Vectors of the sample that ranges are tried on."""
_REACHES = (0.0, 0.9, 1.6, 2.2, 2.7, 3.15, 3.55, 3.9)
"""How far levels reach, in deviations, by their bits: 8 % beyond what is best for a Gaussian (Max, 1960)."""
_BLOCK = 16_384


@dataclass(frozen=True, kw_only=True)
class Codec:
    """Vectors ``[n d]`` to codes ``[n c]`` and back.

    Along an axis a vector has a level, written in digits of eight, four, two and one bits. A code holds the digits of
    eight bits of all axes, those of the first axes first, then those of four, two in a byte, and so on.

    Attributes:
        mean: Subtracted first.
        axes: Principal axes as columns, the one of largest variance first.
        low: What level 0 stands for, along every axis.
        steps: Distance of two levels, along every axis.
        axis_of: The axis of every digit.
        shifts: Bits of the level that follow a digit, or `_NOTHING`.
        counts: How many digits of eight, four, two and one bits there are; they fill whole bytes.
    """

    mean: Float32[np.ndarray, " d"]
    axes: Float32[np.ndarray, "d d"]
    low: Float32[np.ndarray, " d"]
    steps: Float32[np.ndarray, " d"]
    axis_of: Int64[np.ndarray, " digits"]
    shifts: Int64[np.ndarray, " digits"]
    counts: Int64[np.ndarray, " sizes"]

    @classmethod
    def fit(
        cls,
        sample: Float32[np.ndarray, "n d"],
        sample_queries: Float32[np.ndarray, "q d"] | None = None,
        *,
        bits_per_dimension: float = 8.0,
    ) -> Codec:
        """Choose axes and digits for vectors like these.

        What an error along an axis costs a score grows with what queries have along it: they count as the vectors
        themselves do and, where sample queries are given, as those do, half each.
        """
        mean = sample.mean(axis=0)
        centred = (sample - mean).astype(np.float64)
        _, axes = np.linalg.eigh(centred.T @ centred)
        axes = np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)
        along = (sample - mean) @ axes
        lows, highs, errors = _ranges(along)
        asked = [sample @ axes] if sample_queries is None else [sample @ axes, sample_queries @ axes]
        costs = np.mean([(queries**2).mean(axis=0) for queries in asked], axis=0)
        bits = _allotted(errors, costs + _LEAST_COST * costs.mean(), int(bits_per_dimension * len(mean)))
        each = bits, np.arange(len(bits))
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
            low=lows[each],
            steps=np.maximum((highs[each] - lows[each]) / (2.0**bits - 1).clip(1), 1e-12).astype(np.float32),
            axis_of=np.concatenate(axis_of),
            shifts=np.concatenate(shifts),
            counts=np.array(counts, dtype=np.int64),
        )

    @property
    def size(self) -> int:
        """Bytes of a code."""
        return int(self.counts @ _SIZES[: len(self.counts)]) // 8

    @cached_property
    def weights(self) -> Float32[np.ndarray, " digits"]:
        """What the unit of a digit stands for along its axis."""
        return np.where(self.shifts < _NOTHING, self.steps[self.axis_of] * 2.0**self.shifts, 0).astype(np.float32)

    def turned(self, vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        """Vectors along the principal axes."""
        return np.ascontiguousarray((vectors - self.mean) @ self.axes)

    def encode(self, turned: Float32[np.ndarray, "n d"]) -> UInt8[np.ndarray, "n c"]:
        """Codes of vectors that were `turned`; what lies outside of the sample's range is moved to its border."""
        masks = np.repeat([2**size - 1 for size in _SIZES[: len(self.counts)]], self.counts).astype(np.uint16)
        is_used = self.shifts < _NOTHING
        top = np.zeros(turned.shape[1], dtype=np.float32)
        np.add.at(top, self.axis_of[is_used], masks[is_used] * 2.0 ** self.shifts[is_used])
        levels = np.rint((turned - self.low) / self.steps).clip(0, top).astype(np.uint16)
        shifts = np.where(is_used, self.shifts, 0).astype(np.uint16)
        digits = (levels[:, self.axis_of] >> shifts & np.where(is_used, masks, 0).astype(np.uint16)).astype(np.uint8)
        packed = []
        for size, some in zip(_SIZES, np.split(digits, np.cumsum(self.counts)[:-1], axis=1), strict=False):
            share = 8 // size
            parts = [some[:, place::share] << (8 - size * (place + 1)) for place in range(share)]
            packed.append(functools.reduce(np.bitwise_or, parts))
        return np.concatenate(packed, axis=1)

    @cached_property
    def _features(self) -> _Features:
        shifts: list[tuple[int, int, int]] = []
        digits: list[np.ndarray] = []
        following: list[np.ndarray] = []
        factors: list[np.ndarray] = []
        place = byte = 0
        for size, count in zip(_SIZES, self.counts.tolist(), strict=False):
            share = 8 // size
            num_bytes = count // share
            for number in range(share):
                is_last = number == share - 1
                shifts.append((byte, byte + num_bytes, 8 - size * (number + 1)))
                digits.append(place + number + share * np.arange(num_bytes))
                following.append(digits[-1] + (not is_last))
                factors.append(np.full(num_bytes, 0.0 if is_last else 2.0**size, dtype=np.float32))
            place, byte = place + count, byte + num_bytes
        return _Features(
            shifts=shifts,
            digits=np.concatenate(digits),
            following=np.concatenate(following),
            factors=np.concatenate(factors),
        )

    def scores(
        self, codes: UInt8[np.ndarray, "n c"], queries: Float32[np.ndarray, "q d"]
    ) -> Float32[np.ndarray, "n q"]:
        """Dot products of coded vectors with queries, which are not `turned`."""
        along = queries @ self.axes
        offset = queries @ self.mean + along @ self.low
        weighted = self._features.weighted(along[:, self.axis_of] * self.weights).T
        parts = [
            self._features.of(codes[start : start + _BLOCK]) @ weighted + offset
            for start in range(0, len(codes), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(queries)), dtype=np.float32)

    def rough_scores(
        self, codes: UInt8[np.ndarray, "n b"], query: Float32[np.ndarray, " d"]
    ) -> Float32[np.ndarray, " n"]:
        """Dot products by the first bytes of codes alone, less what is the same for all: digits of eight bits."""
        first = slice(0, codes.shape[1])
        return codes.astype(np.float32) @ ((query @ self.axes)[self.axis_of[first]] * self.weights[first])

    def decode(self, codes: UInt8[np.ndarray, "n c"]) -> Float32[np.ndarray, "n d"]:
        """The vectors that codes stand for."""
        of_digits = np.zeros((len(self.low), len(self.axis_of)), dtype=np.float32)
        of_digits[self.axis_of, np.arange(len(self.axis_of))] = self.weights
        turned = self._features.of(codes) @ self._features.weighted(of_digits).T + self.low
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


@dataclass(frozen=True, kw_only=True)
class _Features:
    """Bytes of codes shifted to the right, which stand for their digits: that takes half as long as taking them apart.

    A digit is what is left of its byte behind it, less what is left behind the one before; as all is added up with
    weights, the weights can be those of what is left.
    """

    shifts: list[tuple[int, int, int]]
    """First and last byte and shift of every group of features."""
    digits: Int64[np.ndarray, " features"]
    following: Int64[np.ndarray, " features"]
    """The next digit of the same byte, if there is one."""
    factors: Float32[np.ndarray, " features"]
    """What the digit counts in units of the following one; 0 where there is none."""

    def of(self, codes: UInt8[np.ndarray, "n c"]) -> Float32[np.ndarray, "n features"]:
        """The features of codes."""
        features = np.empty((len(codes), len(self.digits)), dtype=np.float32)
        place = 0
        for first, last, shift in self.shifts:
            np.right_shift(codes[:, first:last], shift, out=features[:, place : place + last - first], casting="unsafe")
            place += last - first
        return features

    def weighted(self, weights: Float32[np.ndarray, "q digits"]) -> Float32[np.ndarray, "q features"]:
        """Weights of features that add up as those of digits do."""
        return weights[:, self.digits] - self.factors * weights[:, self.following]


def _ranges(
    along: Float32[np.ndarray, "n d"],
) -> tuple[Float32[np.ndarray, "choices d"], Float32[np.ndarray, "choices d"], Float64[np.ndarray, "choices d"]]:
    """The lowest and the highest level of every axis by its bits, and the squared error with them.

    All levels cover the range; with few bits, they go only as far as is best for a Gaussian, if that is better.
    """
    mean, deviation = along.mean(axis=0), along.std(axis=0)
    low, high = along.min(axis=0), along.max(axis=0)
    tried = along[:: max(1, len(along) // _NUM_TRIED)]
    lows, highs = np.tile(mean, (2, len(_CHOICES), 1))
    errors = np.full(lows.shape, np.inf)
    errors[0] = along.var(axis=0)
    for bits in _CHOICES[1:].tolist():
        borders = [
            (np.maximum(low, mean - reach * deviation), np.minimum(high, mean + reach * deviation))
            for reach in _REACHES[bits : bits + 1]
        ]
        for first, last in [(low, high), *borders]:
            step = np.maximum((last - first) / np.float32(2**bits - 1), 1e-12)
            levels = np.rint((tried - first) / step).clip(0, 2**bits - 1)
            error = ((levels * step + first - tried) ** 2).mean(axis=0)
            is_better = error < errors[bits]
            lows[bits, is_better], highs[bits, is_better] = first[is_better], last[is_better]
            errors[bits, is_better] = error[is_better]
    return lows, highs, errors


def _allotted(
    errors: Float64[np.ndarray, "choices d"], costs: Float[np.ndarray, " d"], budget: int
) -> Int64[np.ndarray, " d"]:
    """Bits of every axis, so that the sum of the squared errors, each at its cost, is least."""
    errors = errors.T * (costs[:, None] / costs.mean())
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
    while bits.sum() < budget and (bits < _CHOICES[-1]).any():
        gains = errors[np.arange(len(bits)), bits] - errors[np.arange(len(bits)), np.minimum(bits + 1, _CHOICES[-1])]
        bits[np.argmax(np.where(bits < _CHOICES[-1], gains, -1))] += 1
    return bits
