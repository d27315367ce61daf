"""Estimates with 95 % intervals out of sums: shares, means and quantiles of what was recorded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scipy.special import bdtr, stdtrit

Z: Final = 1.959964
"""Two-sided 95 %."""
TAIL: Final = 0.025
"""Probability left out on either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its two-sided 95 % interval; a limit that the data do not set is infinite."""

    value: float
    low: float
    high: float
    n: int
    """What it was counted over: attempts, calls, claims or ratings."""


def wilson(hits: int, n: int, effective: float | None = None) -> Estimate:
    """The share hits / n with its interval (Wilson 1927); n at least 1.

    Args:
        hits: 0..n.
        n: trials.
        effective: independent trials that they are worth, above 0; None: all of them.
    """
    share, worth = hits / n, n if effective is None else effective
    middle = (share + Z * Z / (2 * worth)) / (1 + Z * Z / worth)
    half = Z * math.sqrt(share * (1 - share) / worth + Z * Z / (4 * worth * worth)) / (1 + Z * Z / worth)
    return Estimate(value=share, low=max(0.0, min(middle - half, share)), high=min(1.0, max(middle + half, share)), n=n)


def clustered_share(
    *, hits: int, n: int, hits_squared: int, n_squared: int, hits_times_n: int, clusters: int
) -> Estimate:
    """The share of hits among trials that come in clusters, e.g. of grounded claims: those of one answer hang together.

    Wilson's interval with the trials that the clusters are worth (Korn & Graubard 1998): the variance of a ratio over
    clusters against that of independent trials, and Student's t for few clusters. Where every trial ended alike, the
    trials of a cluster count as one.

    Args:
        hits: 0..n.
        n: trials, at least 1.
        hits_squared: sum over clusters of their hits, squared.
        n_squared: sum over clusters of their trials, squared.
        hits_times_n: sum over clusters of hits times trials.
        clusters: with at least one trial.
    """
    share = hits / n
    alone = n * n / n_squared
    if clusters == 1 or hits in {0, n}:
        return wilson(hits, n, alone)
    residual = hits_squared - 2 * share * hits_times_n + share * share * n_squared
    variance = clusters / (clusters - 1) * max(residual, 0.0) / (n * n)
    worth = n if variance == 0 else share * (1 - share) / variance
    few = (Z / float(stdtrit(clusters - 1, 1 - TAIL))) ** 2
    return wilson(hits, n, min(worth, n) * few)


def mean(total: float, squares: float, n: int) -> Estimate:
    """The mean of independent values with Student's interval; one value sets no limits.

    Args:
        total: sum of the values.
        squares: sum of their squares.
        n: how many, at least 1.
    """
    value = total / n
    if n == 1:
        return Estimate(value=value, low=-math.inf, high=math.inf, n=1)
    variance = max(squares - n * value * value, 0.0) / (n - 1)
    half = float(stdtrit(n - 1, 1 - TAIL)) * math.sqrt(variance / n)
    return Estimate(value=value, low=value - half, high=value + half, n=n)


def quantile(counts: Mapping[int, int], share: float) -> Estimate:
    """A quantile of independent values with the interval between two of them (order statistics), free of any shape.

    Args:
        counts: value → how often; at least one.
        share: above 0 and below 1, e.g. 0.95; with few values the upper limit of a high one is infinite.
    """
    n = sum(counts.values())
    low, high = _binomial_quantile(TAIL, n, share), _binomial_quantile(1 - TAIL, n, share) + 1
    return Estimate(
        value=_ranked(counts, math.ceil(share * n)),
        low=_ranked(counts, low) if low >= 1 else -math.inf,
        high=_ranked(counts, high) if high <= n else math.inf,
        n=n,
    )


def _ranked(counts: Mapping[int, int], rank: int) -> float:
    """The value with this rank, from 1."""
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= rank:
            return float(value)
    raise AssertionError(rank)


def _binomial_quantile(probability: float, n: int, share: float) -> int:
    """Least k with P(K <= k) >= probability, K binomial."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if float(bdtr(middle, n, share)) >= probability:
            high = middle
        else:
            low = middle + 1
    return low
