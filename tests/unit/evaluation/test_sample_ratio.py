"""A split of units that is not as the weights want it is noticed, and a fair one is left alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.comparison import sample_ratio_mismatch
from registry.errors import InvalidInput

SEED = 20_261_205


def test_a_wrong_split_is_noticed() -> None:
    """A split of 52 to 48 instead of halves is flagged by 5,000 units an arm, one of 50.5 to 49.5 is not yet."""
    assert sample_ratio_mismatch([5_200, 4_800], [1, 1]).mismatch
    assert not sample_ratio_mismatch([5_050, 4_950], [1, 1]).mismatch
    assert sample_ratio_mismatch([1_100, 8_900], [10, 90]).mismatch


def test_a_sound_split_keeps_alpha_at_every_look() -> None:
    """Fair assignment to three arms, looked at every 50 units, is flagged in at most 5 % of experiments."""
    chance = np.random.default_rng(SEED)
    runs = 400
    flagged = 0
    for _ in range(runs):
        counts = chance.multinomial(50, [0.5, 0.3, 0.2], 100).cumsum(axis=0)
        flagged += any(sample_ratio_mismatch(list(map(int, seen)), [5, 3, 2]).mismatch for seen in counts)
    assert flagged / runs <= 0.05


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=5), st.floats(0.1, 10))
def test_only_the_proportion_of_weights_counts(counts: list[int], factor: float) -> None:
    """Weights may be shares, percent or parts."""
    weights = [float(place + 1) for place in range(len(counts))]
    one = sample_ratio_mismatch(counts, weights)
    other = sample_ratio_mismatch(counts, [factor * weight for weight in weights])
    assert 0 < one.p <= 1 or math.isclose(one.p, 0, abs_tol=1e-300)
    assert one.p == pytest.approx(other.p, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "weights"), [([1], [1.0]), ([1, 2], [1.0]), ([1, -1], [1, 1]), ([1, 1], [1, 0]), ([1, 1], [1, math.nan])]
)
def test_impossible_counts_are_refused(counts: list[int], weights: list[float]) -> None:
    """Counts and weights come in pairs, two or more, none negative."""
    with pytest.raises(InvalidInput):
        sample_ratio_mismatch(counts, weights)
