"""How long an experiment has to run for what it shall find, and what it finds in that time."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.comparison import plan, sequential_difference
from evaluation.two_arms import best_time
from registry.errors import InvalidInput

SEED = 20_261_205


def test_a_plan_keeps_its_power() -> None:
    """An effect as planned for is called by the planned look in four of five experiments (2.33 SE)."""
    chance = np.random.default_rng(SEED)
    planned = plan(spread=1.0, effect=0.2, units_per_day=100, weights=(0.75, 0.25)).planned
    runs = 300
    called = sum(
        sequential_difference(
            chance.normal(0, 1, planned[0]), chance.normal(0.2, 1, planned[1]), planned=planned
        ).decided
        for _ in range(runs)
    )
    assert called / runs >= 0.8 - 2.33 * math.sqrt(0.8 * 0.2 / runs)


@given(st.floats(0.01, 10), st.floats(0.01, 1), st.floats(1, 10_000), st.floats(0.05, 0.5))
def test_in_the_days_that_an_effect_takes_it_is_the_least_found(
    spread: float, effect: float, per_day: float, share: float
) -> None:
    """Duration and smallest effect are two ways to say the same, unless the least size of a look decides."""
    weights = (1 - share, share)
    first = plan(spread=spread, effect=effect, units_per_day=per_day, weights=weights)
    again = plan(spread=spread, effect=effect, units_per_day=per_day, weights=weights, days=first.days)
    assert again.mde <= effect * (1 + 1e-9)
    if min(first.planned) > 201:  # rounded up
        assert again.mde == pytest.approx(effect, rel=1e-6)
    assert math.isclose(sum(first.planned), first.days * per_day, abs_tol=2 + 1e-6 * sum(first.planned))


def test_a_covariate_shortens_the_plan() -> None:
    """A correlation of 0.6 takes 36 % off the units."""
    plain = plan(spread=1, effect=0.1, units_per_day=500)
    helped = plan(spread=1, effect=0.1, units_per_day=500, correlation=0.6)
    assert helped.days / plain.days == pytest.approx(0.64)


@given(st.floats(1e-9, 0.49))
def test_the_mixture_is_narrowest_at_its_best_time(alpha: float) -> None:
    """A little earlier or later than the planned look the sequence is wider, in standard errors."""
    best = best_time(alpha)

    def squared(time: float) -> float:
        return (1 + 1 / time) * (math.log1p(time) - 2 * math.log(alpha))

    assert squared(best) == pytest.approx(1 + best)
    assert squared(best) <= min(squared(best * 0.9), squared(best * 1.1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"spread": 0.0},
        {"effect": -1.0},
        {"units_per_day": math.inf},
        {"days": math.nan},
        {"weights": (0.7, 0.7)},
        {"weights": (0.0, 1.0)},
        {"correlation": 1.0},
        {"power": 0.2},
        {"alpha": 0.0},
    ],
)
def test_impossible_plans_are_refused(wrong: dict[str, Any]) -> None:
    """A plan needs numbers that can be."""
    sound: dict[str, Any] = {"spread": 1.0, "effect": 0.1, "units_per_day": 100.0}
    with pytest.raises(InvalidInput):
        plan(**(sound | wrong))
