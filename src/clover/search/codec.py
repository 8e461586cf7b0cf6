"""A byte per dimension: vectors turned to their principal axes, each axis with as many digits as it deserves.

Reverse water-filling (Cover and Thomas, Elements of Information Theory, 10.3.3) in steps of four bits: the axis that
gains most by it gets the next half byte. Where all axes vary alike this is plain 8-bit scalar quantisation; embeddings
vary along few axes, and at the same size their error is several times smaller.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

_DIGITS_AT_MOST = 4
_BLOCK = 16_384


@dataclass(frozen=True, kw_only=True)
class Codec:
    """Vectors ``[n d]`` to codes ``[n c]`` and back; a code holds whole bytes first, then two half bytes in each.

    Attributes:
        mean: Subtracted first.
        axes: Principal axes as columns, the one of largest variance first.
        low: What level 0 stands for, along every axis.
        steps: Distance of two levels, along every axis.
        axis_of: The axis of every digit, whole bytes before half bytes.
        shifts: Bits of the level that follow a digit.
        num_bytes: How many of the digits are whole bytes.
    """

    mean: Float32[np.ndarray, " d"]
    axes: Float32[np.ndarray, "d d"]
    low: Float32[np.ndarray, " d"]
    steps: Float32[np.ndarray, " d"]
    axis_of: Int64[np.ndarray, " digits"]
    shifts: Int64[np.ndarray, " digits"]
    num_bytes: int

    @classmethod
    def fit(cls, sample: Float32[np.ndarray, "n d"]) -> Codec:
        """Choose axes and digits for vectors like these, at a byte per dimension."""
        width = sample.shape[1]
        mean = sample.mean(axis=0)
        centred = (sample - mean).astype(np.float64)
        _, axes = np.linalg.eigh(centred.T @ centred)
        axes = np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)
        along = (sample - mean) @ axes
        low, high = along.min(axis=0), along.max(axis=0)
        halves = _allotted(along.var(axis=0), high - low, num_halves=2 * width)
        steps = np.maximum((high - low) / (16.0**halves - 1).clip(1), 1e-12)
        bytes_first, bytes_second, half = (
            np.flatnonzero(chosen) for chosen in (halves >= 2, halves == 4, halves % 2 == 1)
        )
        shifts = [4 * (halves[bytes_first] - 2), np.zeros_like(bytes_second), np.zeros_like(half)]
        return cls(
            mean=mean,
            axes=axes,
            low=np.where(halves == 0, along.mean(axis=0), low).astype(np.float32),
            steps=steps.astype(np.float32),
            axis_of=np.concatenate([bytes_first, bytes_second, half]),
            shifts=np.concatenate(shifts),
            num_bytes=len(bytes_first) + len(bytes_second),
        )

    @property
    def size(self) -> int:
        """Bytes of a code."""
        return self.num_bytes + -(-(len(self.axis_of) - self.num_bytes) // 2)

    @cached_property
    def weights(self) -> Float32[np.ndarray, " digits"]:
        """What the unit of a digit stands for along its axis."""
        return (self.steps[self.axis_of] * 2.0**self.shifts).astype(np.float32)

    def turned(self, vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        """Vectors along the principal axes."""
        return np.ascontiguousarray((vectors - self.mean) @ self.axes)

    def encode(self, turned: Float32[np.ndarray, "n d"]) -> UInt8[np.ndarray, "n c"]:
        """Codes of vectors that were `turned`; what lies outside of the sample's range is moved to its border."""
        masks = np.where(np.arange(len(self.axis_of)) < self.num_bytes, 255, 15)
        top = np.zeros(turned.shape[1], dtype=np.int64)
        np.add.at(top, self.axis_of, masks << self.shifts)
        levels = np.rint((turned - self.low) / self.steps).clip(0, top).astype(np.int64)
        digits = ((levels[:, self.axis_of] >> self.shifts) & masks).astype(np.uint8)
        halves = digits[:, self.num_bytes :]
        if halves.shape[1] % 2:
            halves = np.concatenate([halves, np.zeros_like(halves[:, :1])], axis=1)
        return np.concatenate([digits[:, : self.num_bytes], halves[:, ::2] << 4 | halves[:, 1::2]], axis=1)

    def digits(self, codes: UInt8[np.ndarray, "n c"]) -> Float32[np.ndarray, "n digits"]:
        """The digits of codes."""
        packed = codes[:, self.num_bytes :]
        found = np.empty((len(codes), self.num_bytes + 2 * packed.shape[1]), dtype=np.float32)
        found[:, : self.num_bytes] = codes[:, : self.num_bytes]
        found[:, self.num_bytes :: 2] = packed >> 4
        found[:, self.num_bytes + 1 :: 2] = packed & 15
        return found[:, : len(self.axis_of)]

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
        np.savez(
            file,
            mean=self.mean,
            axes=self.axes,
            low=self.low,
            steps=self.steps,
            axis_of=self.axis_of,
            shifts=self.shifts,
            num_bytes=np.array(self.num_bytes),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Codec:
        """Read `to_bytes`.

        Raises:
            ValueError, KeyError, OSError: it is damaged.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            named = {name: arrays[name] for name in ("mean", "axes", "low", "steps", "axis_of", "shifts")}
            return cls(**named, num_bytes=int(arrays["num_bytes"]))


def _allotted(
    variances: Float[np.ndarray, " d"], ranges: Float[np.ndarray, " d"], *, num_halves: int
) -> Int64[np.ndarray, " d"]:
    """Half bytes of every axis, so that the sum of the squared errors is smallest."""
    levels = 16.0 ** np.arange(1, _DIGITS_AT_MOST + 1) - 1
    errors = np.concatenate([variances[:, None], (ranges[:, None] / levels) ** 2 / 12], axis=1)
    errors = np.minimum.accumulate(errors, axis=1)
    gains = errors[:, :-1] - errors[:, 1:]
    # errors fall by ever smaller steps, so taking the largest gains first keeps the order within an axis
    gains = np.minimum.accumulate(gains, axis=1)
    best = np.argsort(-gains, axis=None, kind="stable")[:num_halves]
    return np.bincount(best // _DIGITS_AT_MOST, minlength=len(variances)).astype(np.int64)
