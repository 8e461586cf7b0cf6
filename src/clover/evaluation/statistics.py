"""Two systems compared seed by seed and query by query: differences and their intervals. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

from clover.errors import DataError

Verdict = Literal["holds", "does not hold", "cannot be told"]

_NUM_DRAWS = 4000
_ENDS = (2.5, 97.5)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first system less the second, on the same queries with the same seeds; in the unit of the values."""

    mean: float
    by_seed: tuple[float, ...]
    interval: tuple[float, float]
    """95 % bootstrap interval over seeds and groups of queries, both redrawn (Owen, *The pigeonhole bootstrap*, 2007,
    which errs on the wide side)."""
    seed_interval: tuple[float, float]
    """95 % interval over seeds by Student's t, for these very queries; of one seed everything."""
    query_interval: tuple[float, float]
    """95 % bootstrap interval over groups of queries, for these very seeds."""
    num_queries: int

    @property
    def verdict(self) -> Verdict:
        """Whether the first is better.

        It holds, or it does not, where 0 lies outside both the interval over seeds and queries and the one of
        Student's t over seeds, which a handful of seeds needs; else it cannot be told.
        """
        ends = (self.interval, self.seed_interval)
        if all(low > 0 for low, _ in ends):
            return "holds"
        return "does not hold" if all(high < 0 for _, high in ends) else "cannot be told"


def paired_difference(
    first: Float[np.ndarray, "seeds queries"],
    second: Float[np.ndarray, "_ _"],
    groups: Shaped[np.ndarray, " _"],
    *,
    seed: int = 0,
) -> Difference:
    """Compare two systems.

    Args:
        first: What the first scored with every seed on every query.
        second: The same of the second, in the same order.
        groups: What each query is about; queries of one group are redrawn together.
        seed: Of the redrawing.

    Raises:
        DataError: there is nothing to compare, or the two are not of the same seeds and queries.
    """
    if first.shape != second.shape or not first.size or len(groups) != first.shape[1]:
        raise DataError(
            f"{first.shape} and {second.shape} values of {len(groups)} queries cannot be compared: "
            "both systems need the same seeds and queries"
        )
    differences = (first - second).astype(np.float64)
    sums, sizes = _by_group(differences, groups)
    num_seeds, num_groups = sums.shape
    generator = np.random.default_rng(seed)
    seeds = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=_NUM_DRAWS)
    drawn = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=_NUM_DRAWS)
    weight = drawn @ sizes
    both = (((seeds / num_seeds) @ sums) * drawn).sum(axis=1) / weight
    alone = (drawn @ sums.mean(axis=0)) / weight
    by_seed = differences.mean(axis=1)
    return Difference(
        mean=float(by_seed.mean()),
        by_seed=tuple(map(float, by_seed)),
        interval=_ends(both),
        seed_interval=mean_of_few(by_seed),
        query_interval=_ends(alone),
        num_queries=differences.shape[1],
    )


def mean_of_few(values: Sequence[float] | Float64[np.ndarray, " n"]) -> tuple[float, float]:
    """95 % interval of a mean by Student's t; of fewer than two values everything."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        return -math.inf, math.inf
    reach = student_quantile(len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found))
    return float(found.mean() - reach), float(found.mean() + reach)


def student_quantile(freedom: int, probability: float = 0.975) -> float:
    """Quantile of Student's t distribution above its middle, by bisection on its integral.

    Args:
        freedom: Degrees of freedom, 1 or more.
        probability: Above 0.5, below 1.
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom)
    scale /= math.sqrt(math.pi)
    # with t = sqrt(n) tan(a) the integral has a smooth, bounded integrand
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        angles = np.linspace(0.0, middle, 2001)
        area = scale * math.sqrt(freedom) * float(np.trapezoid(np.cos(angles) ** (freedom - 1), angles))
        low, high = (middle, high) if area < probability - 0.5 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _by_group(
    values: Float64[np.ndarray, "seeds queries"], groups: Shaped[np.ndarray, " queries"]
) -> tuple[Float64[np.ndarray, "seeds groups"], Int[np.ndarray, " groups"]]:
    _, place = np.unique(groups, return_inverse=True)
    sizes = np.bincount(place)
    sums = np.stack([np.bincount(place, weights=row, minlength=len(sizes)) for row in values])
    return sums, sizes


def _ends(draws: Float64[np.ndarray, " draws"]) -> tuple[float, float]:
    low, high = np.percentile(draws, _ENDS)
    return float(low), float(high)
