"""Burn-rate alarms: what starts them, what ends them, and that their stated error rate holds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.burn_rate import ALPHA, BETS, EVERY_MIN, FALSE_ALARMS, OBJECTIVES, RULES, WINDOW_MIN, Burn, Floats, burn

BUDGET = 0.01
PAGE, SLOW_PAGE, TICKET = RULES


def now(failed: Floats, budget: float = BUDGET) -> tuple[Burn, ...]:
    """All rules at the end of these minutes."""
    return burn(failed, budget, np.array([len(failed)]))


def minutes(*pieces: tuple[int, float]) -> Floats:
    """So many minutes of each share."""
    return np.concatenate([np.full(length, share) for length, share in pieces])


def starting(failed: Floats) -> list[str]:
    """Rules that start an alarm at the end of these minutes."""
    return [str(each.rule) for each in now(failed) if each.starts[0]]


def test_an_outage_pages_within_a_quarter_of_an_hour() -> None:
    """Ten minutes of nothing but failures after good hours start the quick page and nothing else."""
    assert starting(minutes((WINDOW_MIN, 0.0), (10, 1.0))) == [str(PAGE)]


@pytest.mark.parametrize(
    ("failed", "rules"),
    [
        (minutes((WINDOW_MIN, 0.0)), []),
        (minutes((WINDOW_MIN, 0.009)), []),
        (minutes((WINDOW_MIN, 0.03)), [TICKET]),
        (minutes((WINDOW_MIN, 0.0), (60 * 12, 0.13)), [SLOW_PAGE, TICKET]),
        (minutes((WINDOW_MIN, 0.0), (60 * 4, 0.16), (61, 0.0)), []),
        (minutes((WINDOW_MIN, math.nan)), []),
        (np.array([]), []),
    ],
    ids=[
        "all good",
        "within the budget",
        "a leak",
        "twelve bad hours",
        "bad hours that are over",
        "no traffic",
        "nothing",
    ],
)
def test_which_rules_start(failed: Floats, rules: list[object]) -> None:
    """Each rule starts by what its windows saw."""
    assert starting(failed) == [str(rule) for rule in rules]


def test_few_attempts_do_not_page() -> None:
    """One failure among four minutes with traffic burns 25 times too fast and may well be chance."""
    page = now(minutes((57, math.nan), (1, 1.0), (2, 0.0)))[0]
    assert page.long[0] == pytest.approx(33.3, abs=0.1)
    assert not page.starts[0]


def test_a_quiet_provider_is_paged_once_chance_is_out_of_the_question() -> None:
    """Ten attempts an hour apart are enough when all of them fail: minutes without traffic prove nothing."""
    sparse = np.full(6 * 60, math.nan)
    sparse[::30] = 1.0
    assert str(SLOW_PAGE) in starting(sparse)


def test_how_much_was_asked_in_a_minute_does_not_matter() -> None:
    """A dead provider that a breaker spares from all but one probe a minute counts as dead for those minutes."""
    few_probes_after_much_traffic = minutes((50, 0.0), (10, 1.0))
    assert now(few_probes_after_much_traffic)[0].long[0] == pytest.approx(100 / 6)


@pytest.mark.parametrize(
    ("after", "lasts"),
    [((1, 1.0), True), ((20, math.nan), True), ((6, 0.0), False), ((61, math.nan), False)],
    ids=["it goes on", "nobody asks", "it works again", "nobody asked for an hour"],
)
def test_an_alarm_ends_with_its_short_window(after: tuple[int, float], lasts: bool) -> None:  # noqa: FBT001 - a parameter
    """It stays while there is no better news, and until the long window is empty at most."""
    assert bool(now(minutes((WINDOW_MIN, 0.0), (20, 1.0), after))[0].lasts[0]) is lasts


@given(
    st.lists(st.one_of(st.just(math.nan), st.floats(0, 1)), max_size=80),
    st.floats(0.0001, 0.1),
)
def test_many_moments_at_once_are_each_moment_alone(failed: list[float], budget: float) -> None:
    """Sums over windows are those of the windows cut out, and what starts an alarm also keeps it open."""
    array = np.array(failed, dtype=np.float64)
    ends = np.arange(len(failed) + 1)
    together = burn(array, budget, ends)
    for end in ends[:: max(1, len(ends) // 5)]:
        for all_, one in zip(together, now(array[:end], budget), strict=True):
            window = array[max(0, end - all_.rule.long_min) : end]
            seen = window[~np.isnan(window)]
            expected = math.nan if seen.size == 0 else float(seen.mean()) / budget
            assert all_.long[end] == pytest.approx(expected, nan_ok=True, abs=1e-6)
            assert all_.odds_log10[end] == pytest.approx(float(one.odds_log10[0]), abs=1e-6)
            assert all_.lasts[end] or not all_.starts[end]


@given(st.lists(st.floats(0, 0.01), max_size=60))
def test_a_provider_within_its_budget_gains_no_evidence(failed: list[float]) -> None:
    """When no minute fails more than the budget allows, every bet loses."""
    assert all(each.odds_log10[0] <= 1e-9 for each in now(np.array(failed, dtype=np.float64)))


@given(st.floats(0.0001, 0.1))
def test_every_bet_is_fair(budget: float) -> None:
    """At the budget's own failure rate a bet gains nothing on average, which the stated error rate rests on."""
    won, lost = 1 + BETS / budget * (1 - budget), 1 - BETS
    assert np.allclose(budget * won + (1 - budget) * lost, 1)
    assert (lost > 0).all()


def test_the_alpha_of_all_looks_adds_up_to_what_is_stated() -> None:
    """Looks in thirty days, rules and objectives, each at its alpha, make the stated probability."""
    assert 30 * 24 * 60 / EVERY_MIN * OBJECTIVES * len(RULES) * ALPHA == pytest.approx(FALSE_ALARMS)


@pytest.mark.parametrize("attempts", [0.05, 1, 100], ids=["three an hour", "one a minute", "hundred a minute"])
def test_a_provider_exactly_at_its_objective_raises_no_alarm(attempts: float) -> None:
    """Of 40 simulated months none has an alarm, where the burn rates alone would alarm in each of them."""
    chance = np.random.default_rng([20_261_123, round(100 * attempts)])
    ends = np.arange(WINDOW_MIN, WINDOW_MIN + 30 * 24 * 60 + 1, EVERY_MIN)
    alarms = by_rate_alone = 0
    for _ in range(40):
        asked = chance.poisson(attempts, ends[-1])
        failed = np.where(asked > 0, chance.binomial(asked, BUDGET) / np.maximum(asked, 1), math.nan)
        burns = burn(failed, BUDGET, ends)
        alarms += any(each.starts.any() for each in burns)
        by_rate_alone += any(
            ((each.long >= each.rule.factor) & (each.short >= each.rule.factor)).any() for each in burns
        )
    assert (alarms, by_rate_alone) == (0, 40)
