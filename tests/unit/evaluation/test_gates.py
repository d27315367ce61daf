"""The gate states its error rates, and here they hold."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.gates import decide
from evaluation.rare_moves import most_gained
from registry.errors import InvalidInput

binom: Any = stats.binom
chi2: Any = stats.chi2
SEED = 20_261_123


def paired(lost: int, won: int, same: int) -> tuple[list[int], list[int]]:
    """Binary scores with so many losses, wins and unchanged pairs."""
    return [1] * lost + [0] * won + [1] * same, [0] * lost + [1] * won + [1] * same


@given(st.integers(0, 15), st.integers(0, 15), st.integers(2, 60))
def test_binary_p_sums_all_tables(lost: int, won: int, same: int) -> None:
    """The p-value is the null probability of a statistic as large, with the observed share of pairs that differ."""
    n = lost + won + same
    statistic = (lost - won) / math.sqrt(max(lost + won, 1))
    expected = 0.0
    for count in range(n + 1):
        losses = np.arange(count + 1)
        as_large = (2 * losses - count) / math.sqrt(max(count, 1)) >= statistic - 1e-9
        expected += binom.pmf(count, n, (lost + won) / n) * binom.pmf(losses, count, 0.5)[as_large].sum()
    assert decide(*paired(lost, won, same), margin=0.05).p == pytest.approx(expected, abs=1e-9)


def test_many_differing_pairs_are_as_the_normal_distribution_has_it() -> None:
    """Where the exact sum ends, the p-value goes on without a step."""
    exact, normal = (decide(*paired(lost, 480, 4_000), margin=0.05).p for lost in (520, 521))
    assert 0 < exact - normal < 0.01


@pytest.mark.parametrize("n", [5, 12, 30, 100])
def test_false_alarms_of_binary_scores_are_exactly_counted(n: int) -> None:
    """Over all tables, and whatever share of pairs differs, equals are refused in 5.4 % of decisions at most."""
    refused = [
        (lost + won, lost)
        for lost in range(n + 1)
        for won in range(min(lost, n - lost) + 1)
        if decide(*paired(lost, won, n - lost - won), margin=0.05).verdict == "FAIL"
    ]
    counts, losses = map(np.array, zip(*refused, strict=True))
    for share in np.linspace(0.01, 1, 60):
        assert (binom.pmf(counts, n, share) * binom.pmf(losses, counts, 0.5)).sum() <= 0.054


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
@pytest.mark.parametrize("margin", [0.05, 0.5])
def test_no_drop_beyond_the_margin_ever_passes(alpha: float, margin: float) -> None:
    """In every binary table of up to twelve pairs, PASS comes with a drop of the margin at most."""
    for n in range(2, 13):
        for lost in range(n + 1):
            for won in range(n - lost + 1):
                result = decide(*paired(lost, won, n - lost - won), margin=margin, alpha=alpha)
                assert result.verdict != "PASS" or result.difference >= -margin - 1e-9
                assert result.mde > 0
                assert result.verdict != "UNDERPOWERED" or result.n_needed > n


@pytest.mark.parametrize("drop", [0.6, 0.8])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_equal_drops_tell_nothing(n: int, drop: float) -> None:
    """The same drop in four clusters or fewer is chance in one of sixteen cases: neither PASS nor, at 5 %, FAIL."""
    result = decide([drop + 0.1] * n, [0.1] * n, margin=0.05)
    assert (result.verdict, result.mde > drop) == ("UNDERPOWERED", True)


def test_a_drop_that_two_wins_would_undo_is_not_known() -> None:
    """A hundredth lost everywhere is a FAIL in 400 questions; among 40 it is less than two unseen wins may be."""
    few, many = (decide([0.6] * n, [0.59] * n, margin=0.05) for n in (40, 400))
    assert (few.verdict, many.verdict) == ("UNDERPOWERED", "FAIL")
    assert few.p <= few.alpha
    assert 200 < few.n_needed < 260


def test_a_few_wins_leave_room_for_more() -> None:
    """Thirty losses of a tenth outweigh one win of a tenth, and not one of a whole point, which may be three."""
    for win, verdict in ((0.1, "FAIL"), (1.0, "UNDERPOWERED")):
        differences = np.array([-0.1] * 30 + [win] + [0.0] * 69)
        result = decide(
            np.full(100, 0.5) - differences.clip(0) / 2, 0.5 + differences - differences.clip(0) / 2, margin=0.9
        )
        assert (result.p <= 0.05, result.verdict) == (True, verdict)


def test_a_drop_in_rare_large_losses_is_not_passed_over() -> None:
    """One whole point lost among a hundred small gains: as likely three, which is beyond a margin of two points."""
    after = np.array([0.0] + [0.502] * 99)
    result = decide(np.array([1.0] + [0.5] * 99), after, margin=0.02)
    assert result.mde <= 0.02
    assert (result.difference >= -0.02, result.verdict) == (True, "UNDERPOWERED")


def test_rare_large_wins_against_small_losses_keep_alpha() -> None:
    """Whole clusters won beside single questions lost, in balance: FAIL no more often than alpha (2.33 SE)."""
    random = np.random.default_rng(SEED)
    clusters, runs = np.repeat(np.arange(32), 5), 300
    failed = 0
    for _ in range(runs):
        drawn = random.random(32)
        before = np.zeros((32, 5))
        before[(drawn >= 0.04) & (drawn < 0.24), 0] = 1
        after = np.zeros((32, 5))
        after[drawn < 0.04] = 1
        failed += decide(before.ravel(), after.ravel(), margin=0.15, clusters=clusters.tolist()).verdict == "FAIL"
    assert failed / runs <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / runs)


@given(st.integers(0, 200), st.floats(0.001, 0.3))
def test_wins_of_one_size_are_a_poisson_number(wins: int, alpha: float) -> None:
    """What may be won is the exact Poisson limit (Garwood 1936) of their number, times their size."""
    exact = chi2.ppf(1 - alpha, 2 * (wins + 1)) / 2
    assert most_gained(np.array([0.2] * wins + [-0.1] * 5), 0.2, alpha) == pytest.approx(0.2 * exact, rel=0.03)


def test_a_clear_drop_fails() -> None:
    """Twenty losses against two wins in 300 pairs is a FAIL with its interval below zero."""
    result = decide(*paired(20, 2, 278), margin=0.05)
    assert (result.verdict, result.n, result.method) == ("FAIL", 300, "mcnemar-unconditional")
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


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 1), (0, 2)])
def test_three_pairs_may_differ_where_fewer_did(lost: int, won: int) -> None:
    """The mde of binary scores is that of three differing pairs, and shrinks with n and not with its root."""
    result = decide(*paired(lost, won, 100 - lost - won), margin=0.001)
    least = (NormalDist().inv_cdf(0.95) + NormalDist().inv_cdf(0.8)) * math.sqrt(3) / 100
    assert result.mde >= least
    assert result.mde == pytest.approx(least, rel=0.15)
    assert result.n_needed == math.ceil(100 * result.mde / 0.001)


def test_a_few_small_differences_are_no_proof_that_there_are_no_large_ones() -> None:
    """Three clusters of 32 that moved a little say hardly more than none: what could be missed shrinks by a third."""
    before = [0.5] * 32
    none, three, all_of_them = (
        decide(before, [0.5 + 0.001 * (-1) ** place * (place < moved) for place in range(32)], margin=0.05)
        for moved in (0, 3, 32)
    )
    assert none.mde == pytest.approx(three.mde * math.sqrt(2), rel=1e-3)
    assert (three.verdict, all_of_them.verdict) == ("UNDERPOWERED", "PASS")
    assert all_of_them.mde > 0.03


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
    random = np.random.default_rng(SEED)
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
        ([1, 0], [1, 0], 0.05, [["x"], ["y"]], "plain names"),
        ([1e308, -1e308], [-1e308, 1e308], 0.05, None, "within 1e[+]100"),
        ([1, 0], [1, 0], 1e-300, None, "margin"),
    ],
)
def test_unusable_input_is_refused(
    baseline: list[float], candidate: list[float], margin: float, clusters: Any, message: str
) -> None:
    """Unequal, short, unclean or shapeless input is an error that says what to change."""
    with pytest.raises(InvalidInput, match=message):
        decide(baseline, candidate, margin=margin, clusters=clusters)
