"""Which arm a unit gets: uniform, independent, in proportion, and for ever the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chi2_contingency

from registry.prompts.assignment import assignment_key, chosen, draw

KEY = assignment_key(b"k" * 32)
UNITS = [f"unit-{number}" for number in range(20_000)]


def buckets(values: list[float], count: int) -> list[int]:
    """How many values fall into each of so many equal parts of [0, 1)."""
    return np.bincount((np.asarray(values) * count).astype(int), minlength=count).tolist()


def statistic(counts: list[int]) -> float:
    """Pearson's chi-squared against equal counts."""
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


@pytest.mark.parametrize("which", ["exposure", "arm"])
def test_draws_are_uniform(which: str) -> None:
    """Both draws fill a hundred buckets evenly."""
    counts = buckets([getattr(draw(KEY, "exp_1", unit), which) for unit in UNITS], 100)
    assert statistic(counts) < chi2.ppf(0.999, 99)


def test_the_two_draws_of_a_unit_are_independent() -> None:
    """Whether a unit takes part says nothing about its arm: a ramp opens all arms alike."""
    draws = [draw(KEY, "exp_1", unit) for unit in UNITS]
    table, _, _ = np.histogram2d([each.exposure for each in draws], [each.arm for each in draws], bins=8)
    assert chi2_contingency(table).pvalue > 0.001


def test_two_experiments_are_independent() -> None:
    """The arm of one experiment says nothing about the arm of another."""
    first, second = ([draw(KEY, name, unit).arm for unit in UNITS] for name in ("exp_1", "exp_2"))
    table, _, _ = np.histogram2d(first, second, bins=8)
    assert chi2_contingency(table).pvalue > 0.001


def test_the_same_unit_gets_the_same_draws() -> None:
    """In every process and at any time; another key, unit or experiment draws anew."""
    assert draw(KEY, "exp_1", "ada") == draw(assignment_key(b"k" * 32), "exp_1", "ada")
    others = {draw(KEY, "exp_1", "bob"), draw(KEY, "exp_2", "ada"), draw(assignment_key(b"j" * 32), "exp_1", "ada")}
    assert len({draw(KEY, "exp_1", "ada"), *others}) == 4


def test_names_that_run_together_are_kept_apart() -> None:
    """The hash knows where the experiment ends and the unit begins."""
    assert draw(KEY, "exp_1", "2a") != draw(KEY, "exp_12", "a")


@given(st.text(max_size=50), st.text(max_size=50))
def test_draws_lie_in_the_unit_interval(experiment: str, unit: str) -> None:
    """Never 1, which would fall behind the last arm."""
    found = draw(KEY, experiment, unit)
    assert 0 <= found.exposure < 1
    assert 0 <= found.arm < 1


@given(st.lists(st.floats(0.001, 1_000), min_size=1, max_size=4), st.floats(0, 1, exclude_max=True))
def test_every_draw_falls_on_an_arm(weights: list[float], at: float) -> None:
    """Also where the weights add up with rounding."""
    assert 0 <= chosen(weights, at) < len(weights)


def test_arms_get_units_in_proportion() -> None:
    """Weights of 2, 1 and 1 give a half and two quarters, laid end to end."""
    assert [chosen((2, 1, 1), at) for at in (0.0, 0.49, 0.5, 0.74, 0.75, 0.999)] == [0, 0, 1, 1, 2, 2]
