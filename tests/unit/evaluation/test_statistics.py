"""Means come with intervals that know about clusters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import mean_with_interval
from registry.errors import InvalidInput


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_the_interval_holds_the_mean_and_stays_in_range(values: list[float]) -> None:
    """The mean lies in its interval, and the interval within 0..1 when the scores do."""
    got = mean_with_interval(values, resamples=200)
    assert 0 <= got.low <= got.value + 1e-12
    assert got.value - 1e-12 <= got.high <= 1
    assert got.n == len(values)


def test_clusters_widen_the_interval() -> None:
    """Forty scores in four clusters that agree inside say less than forty on their own."""
    values = [0.0, 1.0, 0.0, 1.0] * 10
    alone = mean_with_interval(values)
    together = mean_with_interval(values, ["a", "b", "c", "d"] * 10)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_all_right_is_not_certainty() -> None:
    """Ten of ten right still leaves room down to the exact binomial limit."""
    got = mean_with_interval([1.0] * 10)
    assert got.high == 1
    assert got.low == pytest.approx(0.025 ** (1 / 10))


def test_coverage_is_near_nominal() -> None:
    """The 95 % interval of 25 clusters covers the true mean in at least 91 % of 400 draws."""
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        clusters = np.repeat(np.arange(25), 4)
        values = 0.5 + random.normal(0, 0.1, 25)[clusters] + random.normal(0, 0.1, 100)
        got = mean_with_interval(values, clusters.tolist(), resamples=500)
        covered += got.low <= 0.5 <= got.high
    assert covered >= 364


def test_one_cluster_knows_only_its_own_range() -> None:
    """With a single cluster the interval is the range of its scores."""
    got = mean_with_interval([0.2, 0.6], ["a", "a"])
    assert (got.low, got.high) == (0.2, 0.6)


@pytest.mark.parametrize(("values", "alpha"), [([], 0.05), ([1.0], 0.0), ([float("inf")], 0.05)])
def test_unusable_input_is_refused(values: list[float], alpha: float) -> None:
    """No scores, an infinite one or an impossible alpha is an error."""
    with pytest.raises(InvalidInput):
        mean_with_interval(values, alpha=alpha)
