"""Intervals out of sums: they hold the value, and cover what they state."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.intervals import Z, clustered_share, mean, quantile, wilson

RUNS = 600
SEED = 20_261_123
LEAST_COVERED = 0.95 - 2.33 * math.sqrt(0.95 * 0.05 / RUNS)


@given(n=st.integers(1, 500), data=st.data())
def test_wilson_keeps_the_shares_that_a_score_test_keeps(n: int, data: st.DataObject) -> None:
    """At either limit the share that was seen lies 1.96 standard errors of that limit away."""
    found = wilson(data.draw(st.integers(0, n)), n)
    for limit in (found.low, found.high):
        if 0 < limit < 1:
            assert (found.value - limit) ** 2 * n == pytest.approx(Z * Z * limit * (1 - limit), rel=1e-6)


def test_one_value_sets_no_limits() -> None:
    """The mean of a single value may lie anywhere."""
    found = mean(3.0, 9.0, 1)
    assert (found.value, found.low, found.high) == (3.0, -math.inf, math.inf)


def test_a_high_quantile_of_few_values_has_no_upper_limit() -> None:
    """Ten values do not bound a 95th percentile from above."""
    assert quantile(Counter(range(10)), 0.95).high == math.inf


def test_claims_that_hang_together_are_not_counted_as_independent() -> None:
    """Where an answer's claims stand or fall together, the interval covers the truth in 95 of 100 cases."""
    random = np.random.default_rng(SEED)
    covered = naive = 0
    for _ in range(RUNS):
        sizes = random.integers(1, 6, 60)
        hits = np.where(random.random(60) < 0.7, sizes, 0)
        found = clustered_share(
            hits=int(hits.sum()),
            n=int(sizes.sum()),
            hits_squared=int((hits**2).sum()),
            n_squared=int((sizes**2).sum()),
            hits_times_n=int((hits * sizes).sum()),
            clusters=60,
        )
        alone = wilson(int(hits.sum()), int(sizes.sum()))
        covered += found.low <= 0.7 <= found.high
        naive += alone.low <= 0.7 <= alone.high
    assert covered / RUNS >= LEAST_COVERED > naive / RUNS


def test_the_interval_of_a_median_covers_it() -> None:
    """Whatever the shape of the values, here a skewed one."""
    random = np.random.default_rng(SEED)
    covered = 0
    for _ in range(RUNS):
        found = quantile(Counter(int(value) for value in random.lognormal(6, 1, 80)), 0.5)
        covered += found.low <= math.exp(6) <= found.high
    assert covered / RUNS >= LEAST_COVERED
