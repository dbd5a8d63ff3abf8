"""Intervals of a proportion, and the form of every interval of a report."""

from statistics import NormalDist
from typing import TypedDict

import numpy as np

FEW = 20  # positives from which on resampling them says more than a formula


class Interval(TypedDict):
    """Two ends, and how they were found: `bootstrap` or `wilson`."""

    low: float
    high: float
    method: str


def normal_quantile(level: float) -> float:
    """Return how many standard deviations a two-sided interval reaches: 1.96 for .95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson_bound(rate: np.ndarray, n: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Solve `(rate - p)² = z² p (1 - p) / n` for p, above `rate` where z > 0 and below it where z < 0.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", J. Am. Stat.
    Assoc. 22, 1927. Arguments broadcast; `n` need not be whole.
    """
    half = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return np.clip((rate + z**2 / (2 * n) + half) / (1 + z**2 / n), 0, 1)


def wilson_interval(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """Return Wilson's score interval, without correction for continuity.

    Args:
        successes: of the trials, not necessarily whole.
        n: trials, positive; fewer than were made where they are correlated.
        level: nominal coverage.
    """
    z, rate = normal_quantile(level), successes / n
    low, high = wilson_bound(np.array(rate), np.array(n), np.array([-z, z])).tolist()
    # At a rate of 0 or 1 it is itself an end, but for rounding.
    return {"low": min(low, rate), "high": max(high, rate), "method": "wilson"}


def percentile_interval(values: np.ndarray, estimate: float, *, level: float = 0.95) -> Interval | None:
    """Return the middle `level` of resampled values, up to the estimate where that lies outside.

    Draws of a recall of 0 can only be larger. The mean of several such recalls then leaves out 0 in nearly every
    draw, though nothing speaks against it.

    Args:
        values: [B]; NaN, undefined in its resample, is left out.
        estimate: from the data as they are.
        level: nominal coverage.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return {"low": float(np.fmin(low, estimate)), "high": float(np.fmax(high, estimate)), "method": "bootstrap"}
