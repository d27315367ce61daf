"""An experiment may be looked at whenever one likes: its error rates hold, and it finds what it should."""

import math
from collections.abc import Callable
from statistics import NormalDist, median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluation.comparison import harmed, sequential_difference
from evaluation.two_arms import best_time
from registry.errors import InvalidInput

SEED = 20_261_205
LOOKS = range(50, 2_001, 50)
NEVER = 10**9

Values = NDArray[np.float64]
Judge = Callable[[Values, Values], bool]

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40).map(lambda drawn: np.resize(drawn, 240).tolist())
"""One a unit in 240 units, over and over."""


def decided(a: Values, b: Values) -> bool:
    """Whether a winner is called."""
    return sequential_difference(a, b).decided


def harm(a: Values, b: Values) -> bool:
    """Whether harm is called."""
    return harmed(a, b).harmed


def stopped_at(judge: Judge, a: Values, b: Values) -> int:
    """Units in each arm at the first look that calls something."""
    return next((n for n in LOOKS if judge(a[:n], b[:n])), NEVER)


def rates(chance: np.random.Generator, a: float, b: float) -> tuple[Values, Values]:
    """Right or wrong in both arms, with these probabilities."""
    return (chance.random(2_000) < a).astype(float), (chance.random(2_000) < b).astype(float)


@pytest.mark.parametrize("judge", [decided, harm])
@pytest.mark.parametrize("kind", ["half", "rare", "skewed"])
def test_equal_arms_keep_alpha_at_every_look(judge: Judge, kind: str) -> None:
    """With a look every 50 units, equals are told apart in at most 5 % of experiments, but for chance (2.33 SE)."""
    chance = np.random.default_rng(SEED)
    runs, called = 200, 0
    for _ in range(runs):
        if kind == "skewed":
            a, b = chance.lognormal(0, 1.5, (2, 2_000))
        else:
            a, b = rates(chance, *[{"half": 0.5, "rare": 0.02}[kind]] * 2)
        called += stopped_at(judge, a, b) < NEVER
    assert called / runs <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("worse", ["lower", "higher"])
def test_a_small_arm_of_skewed_costs_keeps_alpha(worse: Any) -> None:
    """Costs in arms of 95 and 5 % raise a false alarm in at most 5 % of experiments, in either direction."""
    chance = np.random.default_rng(SEED)
    runs, called = 200, 0
    for _ in range(runs):
        a, b = chance.lognormal(0, 1.5, 3_800), chance.lognormal(0, 1.5, 200)
        looks = (harmed(a[: 19 * n], b[:n], worse=worse, planned=(1_900, 100)) for n in range(10, 201, 10))
        called += any(look.harmed for look in looks)
    assert called / runs <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / runs)


UNEQUAL = {"3:1, sigma 0.5 and 1.5": (0.5, 1.5, 3), "9:1, sigma 0.01 and 1.5": (0.01, 1.5, 9)}


@pytest.mark.parametrize("kind", UNEQUAL)
def test_a_wilder_arm_of_the_same_mean_keeps_alpha(kind: str) -> None:
    """Costs with one mean and unequal spreads raise a false alarm in at most 5 % of experiments (2.33 SE)."""
    tame, wild, times = UNEQUAL[kind]
    chance = np.random.default_rng(SEED)
    runs, called = 150, 0
    b = 1_000
    for _ in range(runs):
        a = chance.lognormal(-(tame**2) / 2, tame, times * b)
        cheap = chance.lognormal(-(wild**2) / 2, wild, b)
        looks = (harmed(a[: times * n], cheap[:n], planned=(times * 500, 500)) for n in range(50, b + 1, 50))
        called += any(look.harmed for look in looks)
    assert called / runs <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / runs)


def test_the_limit_towards_unseen_large_values_is_left_open() -> None:
    """One unit of 400 with a large value: that b is dearer can be stated, that it is cheaper cannot, and in reverse."""
    even, wild = [0.9, 1.1] * 200, [0.5] * 399 + [60.0]
    there, back = sequential_difference(even, wild), sequential_difference(wild, even)
    assert (math.isfinite(there.low), there.high) == (True, math.inf)
    assert (back.low, math.isfinite(back.high)) == (-math.inf, True)
    assert harmed(even, wild, worse="lower").bound == -math.inf
    assert math.isfinite(harmed(even, wild, worse="higher").bound)


def test_equal_skew_in_both_arms_cancels_out() -> None:
    """Arms of one law and size have limits on both sides, however skewed."""
    skewed = [0.5] * 399 + [60.0]
    found = sequential_difference(skewed, skewed)
    assert -math.inf < found.low < 0 < found.high < math.inf


def standard_error(n: int) -> float:
    """Of the difference of two arms of `n` units, half of them 1, with a success and a failure added to each."""
    return math.sqrt(2 * 0.25 / (n + 1))


def test_a_quarter_of_alpha_pays_for_the_sequence() -> None:
    """Before the planned look the interval is the normal mixture's at a quarter of alpha, two- or one-sided."""
    a = [0.0, 1.0] * 300
    two, one = 0.05 / 4, 2 * 0.05 / 4
    found, bound = sequential_difference(a, a), harmed(a, a).bound
    time = best_time(two) * (standard_error(998) / standard_error(600)) ** 2 * 1_002 / 1_000
    wide = math.sqrt((1 + 1 / time) * (math.log1p(time) - 2 * math.log(two)))
    assert (found.low, found.high) == pytest.approx((-wide * standard_error(600), wide * standard_error(600)), rel=2e-3)
    time *= best_time(one) / best_time(two)
    wide = math.sqrt((1 + 1 / time) * 2 * math.log1p(math.sqrt(1 + time) / one))
    assert bound == pytest.approx(-wide * standard_error(600), rel=2e-3)


def test_three_quarters_of_alpha_pay_for_the_planned_look() -> None:
    """At the planned look the interval is that of a fixed sample at three quarters of alpha, two- or one-sided."""
    a = [0.0, 1.0] * 500
    found, error = sequential_difference(a, a), standard_error(1_000)
    assert found.high == pytest.approx(NormalDist().inv_cdf(1 - 0.0375 / 2) * error)
    assert found.low == pytest.approx(-found.high)
    assert harmed(a, a).bound == pytest.approx(-NormalDist().inv_cdf(1 - 0.0375) * error)


def test_five_points_are_found_with_a_thousand_units() -> None:
    """A rate that rises from 0.8 to 0.85 is called at a median of at most 1,000 units in each arm."""
    chance = np.random.default_rng(SEED)
    assert median(stopped_at(decided, *rates(chance, 0.8, 0.85)) for _ in range(100)) <= 1_000


def test_harm_of_five_points_is_stopped_as_fast() -> None:
    """A rate that falls from 0.8 to 0.75 is called harm at a median of at most 1,000 units in each arm."""
    chance = np.random.default_rng(SEED)
    assert median(stopped_at(harm, *rates(chance, 0.8, 0.75)) for _ in range(100)) <= 1_000


def test_the_sequence_covers_the_true_difference_at_all_looks() -> None:
    """The interval holds the true difference at every look at once in at least 95 % of experiments (2.33 SE)."""
    chance = np.random.default_rng(SEED)
    runs, left = 200, 0
    for _ in range(runs):
        a, b = rates(chance, 0.3, 0.4)
        looks = (sequential_difference(a[:n], b[:n]) for n in LOOKS)
        left += any(not look.low <= 0.1 <= look.high for look in looks)
    assert left / runs <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / runs)


def test_a_covariate_narrows_the_interval() -> None:
    """A covariate that explains three quarters of the variance halves the width."""
    chance = np.random.default_rng(SEED)
    known = chance.normal(0, math.sqrt(3), (2, 800))
    scored = known + chance.normal(0, 1, (2, 800))
    plain = sequential_difference(*scored)
    helped = sequential_difference(*scored, covariates=(known[0], known[1]))
    assert (helped.high - helped.low) / (plain.high - plain.low) == pytest.approx(0.5, abs=0.03)


@given(values, values)
def test_swapping_the_arms_turns_the_interval_round(a: list[float], b: list[float]) -> None:
    """What is known of b minus a is what is known of a minus b, with the sign changed."""
    there, back = sequential_difference(a, b), sequential_difference(b, a)
    assert there.low == pytest.approx(-back.high, rel=1e-6, abs=1e-6)
    assert there.decided == back.decided


@given(values, values, st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_units_of_measurement_do_not_matter(a: list[float], b: list[float], factor: float, shift: float) -> None:
    """Cents or dollars, from zero or from a base: the difference only changes its unit."""
    a, b = [round(value, 3) + 2 for value in a], [round(value, 3) + 2 for value in b]
    there = sequential_difference(a, b)
    scaled = sequential_difference(np.array(a) * factor + shift, np.array(b) * factor + shift)
    if math.isfinite(there.low):
        assert scaled.low == pytest.approx(there.low * factor, rel=1e-3, abs=1e-3 * factor)


@given(values, values)
def test_the_difference_lies_within_its_limits(a: list[float], b: list[float]) -> None:
    """Before the planned look the estimate is in the middle, and a bound of harm never exceeds it."""
    found, worse = sequential_difference(a, b), harmed(a, b, worse="higher")
    assert found.difference is not None
    assert found.low <= found.difference + 1e-6
    assert found.high >= found.difference - 1e-6
    assert worse.bound <= found.difference + 1e-6


@pytest.mark.parametrize(("a", "b"), [([], []), ([], [1.0]), ([1.0], [0.0]), ([0.4] * 60, [0.4] * 60)])
def test_too_little_to_know_is_no_limit(a: list[float], b: list[float]) -> None:
    """Empty arms, single units and values that never varied give no limit, no winner and no harm."""
    found = sequential_difference(a, b)
    assert (found.low, found.high, found.decided) == (-math.inf, math.inf, False)
    assert not harmed(a, b).harmed


def test_two_constant_arms_do_not_decide_at_once() -> None:
    """Up to 199 units of 0.3 beside as many of 0.7 are no proof; two hundred of each are."""
    assert not sequential_difference([0.3] * 199, [0.7] * 200).decided
    assert sequential_difference([0.3] * 200, [0.7] * 200).decided


def test_no_event_yet_is_not_certainty() -> None:
    """Arms without a single event still leave room on both sides."""
    found = sequential_difference([0] * 300, [0] * 300)
    assert found.low < -0.01
    assert found.high > 0.01


def test_what_the_planned_look_found_stays() -> None:
    """A winner of the planned look is still one a unit later, where the sequence alone would not say so."""
    a, b = np.array([1.0, 0.0] * 1_000), np.array(([1.0] * 111 + [0.0] * 89) * 10)
    assert not sequential_difference(a[:999], b[:999]).decided
    assert sequential_difference(a[:1_000], b[:1_000]).decided
    assert sequential_difference(a[:1_001], b[:1_001]).decided


def test_a_difference_that_turned_round_is_not_decided() -> None:
    """When later units contradict the planned look, the interval keeps both and calls nobody."""
    good, bad = [1.0] * 1_000, [0.0] * 1_000
    found = sequential_difference(good + bad * 5, bad + good * 5)
    assert not found.decided
    assert found.low < 0 < found.high


def test_harm_within_what_is_tolerated_is_none() -> None:
    """A certain drop of ten points is harm, and none when fifteen are tolerated."""
    a, b = [1.0] * 4_500 + [0.0] * 500, [1.0] * 4_000 + [0.0] * 1_000
    assert harmed(a, b).harmed
    assert not harmed(a, b, tolerated=0.15).harmed
    assert not harmed(a, b, worse="higher").harmed


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"a": [math.nan], "b": [1.0]}, "arm a must be finite"),
    ({"a": [1.0], "b": [[1.0]]}, "arm b must be one flat list"),
    ({"a": [1e200, 0], "b": [1.0, 0.0]}, "within 1e[+]100"),
    ({"a": [1.0], "b": [1.0], "alpha": 0.7}, "alpha"),
    ({"a": [1.0], "b": [1.0], "planned": (20, 2_000)}, "at least 100"),
    ({"a": [1.0], "b": [1.0], "covariates": ([1.0], [])}, "one a value"),
]


@pytest.mark.parametrize(("arguments", "message"), UNUSABLE)
def test_unusable_arms_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Unclean values, covariates that do not fit and impossible plans are errors that say what to change."""
    with pytest.raises(InvalidInput, match=message):
        sequential_difference(**arguments)
    with pytest.raises(InvalidInput, match=message):
        harmed(**arguments)


@pytest.mark.parametrize("tolerated", [-0.1, math.nan, math.inf])
def test_impossible_tolerance_is_refused(tolerated: float) -> None:
    """What is tolerated is a number, 0 or more."""
    with pytest.raises(InvalidInput, match="tolerated"):
        harmed([1.0], [1.0], tolerated=tolerated)
