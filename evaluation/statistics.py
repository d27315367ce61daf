"""Estimates with their uncertainty, for scores that come in clusters (questions about one document fall together)."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from registry.errors import InvalidInput

RESAMPLES = 2_000
"""Bootstrap repetitions; the Monte Carlo error of a 95 % limit is then about 1 % of the interval's width."""
CELLS_MAX = 4_000_000
"""Numbers held at once while resampling (32 MB)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float
    n: int
    """Scores behind it."""


def checked_scores(values: ArrayLike, what: str = "scores") -> Floats:
    """Scores as a flat array of finite numbers.

    Raises:
        InvalidInput: for another shape, or a value that is not a finite number.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what} must be numbers") from error
    if array.ndim != 1:
        raise InvalidInput(f"{what} must be one flat list of numbers, not an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{what} must be finite; leave unscored rows out, on both sides of a pair")
    return array


def cluster_numbers(clusters: Sequence[Hashable] | None, length: int) -> NDArray[np.intp]:
    """Number clusters from 0 in order of appearance; without clusters every row is its own.

    Raises:
        InvalidInput: when there is not one cluster a row, or one is a list or another thing without a hash.
    """
    if clusters is None:
        return np.arange(length)
    if len(clusters) != length:
        raise InvalidInput(f"{len(clusters)} clusters for {length} scores; give one a score")
    numbers: dict[Hashable, int] = {}
    try:
        return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.intp)
    except TypeError as error:
        raise InvalidInput("clusters must be plain names or numbers, one a score") from error


def mean_with_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean with a two-sided interval at level 1 - alpha: cluster bootstrap, percentiles.

    Deviations are widened by sqrt(G / (G - 1)) for G clusters (Davison & Hinkley 1997, ch. 2 and 3.8) and the interval
    never leaves the range of the values. When every value is 0, or every one 1, a bootstrap knows nothing; then the
    exact binomial limit for G draws stands (Clopper & Pearson 1934).

    Raises:
        InvalidInput: without values, or with an alpha outside 0..1.
    """
    scores = checked_scores(values)
    if scores.size == 0:
        raise InvalidInput("no scores; a mean needs at least one")
    if not 0 < alpha < 1:
        raise InvalidInput(f"alpha must lie between 0 and 1, not {alpha}")
    groups = cluster_numbers(clusters, scores.size)
    count = int(groups.max()) + 1
    mean = float(scores.mean())
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        slack = 1 - (alpha / 2) ** (1 / count)
        low, high = (low - slack if low == 1 else low), (high + slack if high == 0 else high)
    else:
        means = _resampled_means(scores, groups, resamples, seed)
        widened = mean + (means - mean) * (count / max(count - 1, 1)) ** 0.5
        limits = cast("Floats", np.quantile(widened, [alpha / 2, 1 - alpha / 2]))
        low, high = max(low, float(limits[0])), min(high, float(limits[1]))
        if count == 1:  # one cluster says nothing about others
            low, high = float(scores.min()), float(scores.max())
    return Estimate(value=mean, low=low, high=high, n=scores.size)


def _resampled_means(scores: Floats, groups: NDArray[np.intp], resamples: int, seed: int) -> Floats:
    """Means of `resamples` draws of whole clusters with replacement."""
    sums, sizes = np.bincount(groups, scores), np.bincount(groups)
    count = sums.size
    random = np.random.default_rng(seed)
    means: list[Floats] = []
    block = max(1, CELLS_MAX // count)
    for start in range(0, resamples, block):
        drawn = random.integers(0, count, (min(block, resamples - start), count))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(means)
