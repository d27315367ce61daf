"""The gate states its error rates, and here they hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from evaluation.gates import decide
from registry.errors import InvalidInput


def paired(lost: int, won: int, same: int) -> tuple[list[int], list[int]]:
    """Binary scores with so many losses, wins and unchanged pairs."""
    return [1] * lost + [0] * won + [1] * same, [0] * lost + [1] * won + [1] * same


@given(st.integers(0, 60), st.integers(0, 60))
def test_binary_p_is_mcnemars_mid_p(lost: int, won: int) -> None:
    """The p-value equals the binomial mid-p of the discordant pairs."""
    expected = binom.sf(lost, lost + won, 0.5) + binom.pmf(lost, lost + won, 0.5) / 2
    assert decide(*paired(lost, won, 2), margin=0.05).p == pytest.approx(expected, abs=1e-9)


def test_a_clear_drop_fails() -> None:
    """Twenty losses against two wins in 300 pairs is a FAIL with its interval below zero."""
    result = decide(*paired(20, 2, 278), margin=0.05)
    assert (result.verdict, result.n, result.method) == ("FAIL", 300, "mcnemar-mid-p")
    assert result.difference == pytest.approx(-0.06)
    assert result.ci[0] < -0.06 < result.ci[1] < 0


def test_no_drop_among_enough_pairs_passes() -> None:
    """Losses and wins in balance, and enough pairs for the margin: PASS."""
    result = decide(*paired(15, 16, 469), margin=0.05)
    assert result.verdict == "PASS"
    assert result.mde <= 0.05


def test_too_few_pairs_are_underpowered_and_say_how_many_are_needed() -> None:
    """Forty pairs cannot exclude a five-point drop; at the number named the mde meets the margin."""
    result = decide(*paired(3, 3, 34), margin=0.05)
    assert result.verdict == "UNDERPOWERED"
    assert result.mde > 0.05
    scale = result.n_needed / 40
    assert result.mde / math.sqrt(scale) == pytest.approx(0.05, rel=0.01)


def test_identical_scores_of_few_pairs_prove_nothing() -> None:
    """Five equal pairs are no evidence that nothing changed, in either method."""
    assert decide([1] * 5, [1] * 5, margin=0.05).verdict == "UNDERPOWERED"
    assert decide([0.5] * 5, [0.5] * 5, margin=0.05).verdict == "UNDERPOWERED"


def test_a_pass_means_that_the_margin_was_in_reach() -> None:
    """Whatever the scores, PASS never comes with an mde above the margin."""
    random = np.random.default_rng(3)
    for _ in range(300):
        n = int(random.integers(2, 200))
        before, after = random.random((2, n)).round(int(random.integers(0, 3)))
        result = decide(before, after, margin=0.1)
        assert result.verdict != "PASS" or result.mde <= 0.1
        assert math.isfinite(result.mde)
        assert all(map(math.isfinite, result.ci))


def test_one_cluster_never_fails_a_candidate() -> None:
    """When all pairs belong together there is one observation, and one proves nothing."""
    assert decide([1.0] * 50, [0.5] * 50, margin=0.05, clusters=["a"] * 50).verdict == "UNDERPOWERED"


def test_the_same_scores_get_the_same_verdict() -> None:
    """The bootstrap is seeded: two decisions on the same scores are equal to the last digit."""
    before, after = np.random.default_rng(1).random((2, 60))
    assert decide(before, after, margin=0.2) == decide(before, after, margin=0.2)


def alarms_without_a_drop(pairs: str, runs: int) -> int:
    """How many of `runs` comparisons of equals end in FAIL."""
    random = np.random.default_rng(20261123)
    failed = 0
    for _ in range(runs):
        if pairs == "clustered":
            clusters = np.repeat(np.arange(15), random.integers(1, 6, 15))
            before = random.random(clusters.size)
            after = before + random.normal(0, 0.1, 15)[clusters] + random.normal(0, 0.1, clusters.size)
            result = decide(before, after, margin=0.05, clusters=clusters.tolist())
        else:
            before = random.random(200) < 0.7
            after = np.where(random.random(200) < 0.15, random.random(200) < 0.7, before)
            result = decide(before, after, margin=0.05)
        failed += result.verdict == "FAIL"
    return failed


@pytest.mark.parametrize(("pairs", "runs"), [("alone", 2000), ("clustered", 500)])
def test_false_alarms_stay_within_alpha(pairs: str, runs: int) -> None:
    """Comparing a version with its equal ends in FAIL no more often than alpha, but for chance (2.33 SE)."""
    allowed = 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / runs)
    assert alarms_without_a_drop(pairs, runs) / runs <= allowed


def test_a_drop_of_the_margin_rarely_passes() -> None:
    """A true drop of five points among 500 pairs with 15 % discordance passes in at most one of five decisions."""
    random = np.random.default_rng(7)
    passed = 0
    for _ in range(1000):
        lost, won, same = random.multinomial(500, [0.10, 0.05, 0.85])
        passed += decide(*paired(int(lost), int(won), int(same)), margin=0.05).verdict == "PASS"
    assert passed / 1000 <= 0.2


@pytest.mark.parametrize(
    ("baseline", "candidate", "margin", "clusters", "message"),
    [
        ([1, 0], [1], 0.05, None, "pair them"),
        ([1], [1], 0.05, None, "at least 2"),
        ([1, math.nan], [1, 0], 0.05, None, "finite"),
        ([1, 0], [1, 0], 0.0, None, "margin"),
        ([[1, 0]], [[1, 0]], 0.05, None, "flat"),
        (["a", "b"], [1, 0], 0.05, None, "numbers"),
        ([1, 0], [1, 0], 0.05, ["x"], "clusters"),
    ],
)
def test_unusable_input_is_refused(
    baseline: list[float], candidate: list[float], margin: float, clusters: list[str] | None, message: str
) -> None:
    """Unequal, short, unclean or shapeless input is an error that says what to change."""
    with pytest.raises(InvalidInput, match=message):
        decide(baseline, candidate, margin=margin, clusters=clusters)
