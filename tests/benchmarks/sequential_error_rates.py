"""How often experiments that are looked at every 50 units are wrong, and how soon they are right, by simulation.

All decisions are those of `evaluation.comparison`, with the looks that a person takes: every 50 units in each arm up to
5,000.

* A winner, or harm, though nothing differs: at most alpha, 5 %; rates of 2, 10, 50 and 85 %, skewed costs (lognormal,
  sigma 1.5), and such costs in arms of 90 and 10 %.
* The same though the means are equal and all else is not: costs of unequal spread in arms of 50 to 90 %, and durations
  of which 2 % are ten times as long. Events of 1 % and twenty times the size, which two hundred units miss in one of
  seven cases, are shown without a promise.
* A rate that rises by five points is found, and one that falls is stopped, at a median of at most 1,000 units an arm.
  Beside it the least number at which any test of this alpha could do so in half of all experiments, had it a single
  look (Neyman & Pearson 1933): no rule can have a smaller median.
* A split of 52 to 48 instead of halves is flagged at a median of at most 5,000 units an arm; equal halves: 5 %.

A rate is taken to be as stated unless the simulated one lies more than 2.33 standard errors on the wrong side, which
chance does once in a hundred. The seed is fixed. The naive interval of a fixed sample, looked at as often, stands in
the first line for comparison.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from evaluation.comparison import harmed, sample_ratio_mismatch, sequential_difference
from tests.benchmarks.measurement import Figure

SEED = 20_261_211
RUNS = 2_000
LOOKS = range(50, 5_001, 50)
NEVER = 10**9
ALPHA, POINTS = 0.05, 0.05
STANDARD_ERRORS = 2.33
MEDIAN_MAX = 1_000
RATIO_MAX = 5_000
BASE_RATES = (0.1, 0.3, 0.475, 0.5, 0.7, 0.8, 0.85, 0.9)

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]
Judge = Callable[[Values, Values], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Equals:
    """Two arms without a difference in their means."""

    name: str
    draw: Draw
    draw_b: Draw | None = None
    """None: as in arm a."""
    share: float = 0.5
    """Part of the units that goes to arm b."""
    stated: float | None = ALPHA
    """None: no rate is stated."""

    @property
    def planned(self) -> tuple[int, int]:
        """The planned look: 2,000 units in both arms together."""
        return round(2_000 * (1 - self.share)), round(2_000 * self.share)


def _rate_of(rate: float) -> Draw:
    return lambda chance, n: (chance.random(n) < rate).astype(float)


def _costs(chance: np.random.Generator, n: int) -> Values:
    return chance.lognormal(0, 1.5, n)


def _unit_costs(sigma: float) -> Draw:
    """Lognormal with mean 1."""
    return lambda chance, n: chance.lognormal(-(sigma**2) / 2, sigma, n)


def _sometimes(share: float, value: float, sigma: float) -> Draw:
    """This share has one large value, the others are lognormal; the mean is 1."""
    usual = (1 - share * value) / (1 - share)
    return lambda chance, n: np.where(chance.random(n) < share, value, usual * _unit_costs(sigma)(chance, n))


EQUALS = (
    *(Equals(name=f"rate {rate:g}", draw=_rate_of(rate)) for rate in (0.02, 0.1, 0.5, 0.85)),
    Equals(name="costs", draw=_costs),
    Equals(name="costs, arms of 90 and 10 %", draw=_costs, share=0.1),
    *(
        Equals(
            name=f"costs, sigma {a:g} and {b:g}, arms of {1 - share:.0%} and {share:.0%}",
            draw=_unit_costs(a),
            draw_b=_unit_costs(b),
            share=share,
        )
        for a, b, share in ((0.2, 1.5, 0.5), (0.5, 1.5, 0.25), (0.5, 1.0, 0.1), (1.0, 1.5, 0.1), (0.01, 1.5, 0.1))
    ),
    Equals(name="2 % take ten times as long", draw=_unit_costs(0.3), draw_b=_sometimes(0.02, 10.0, 0.3)),
    Equals(name="1 % cost twenty times", draw=_unit_costs(0.01), draw_b=_sometimes(0.01, 20.0, 0.01), stated=None),
)


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """False alarms, then how soon differences are found, then the split."""
    half = EQUALS[2]
    yield _alarms(progress, "naive 95 % interval, rate 0.5: winner between equals", half, lambda _: _naive, None)
    for equals in EQUALS:
        yield _alarms(progress, f"{equals.name}: winner between equals", equals, _winner, equals.stated)
        yield _alarms(progress, f"{equals.name}: harm between equals", equals, _harm, equals.stated)
    for rate in BASE_RATES:
        yield from _found(progress, rate, rate + POINTS, "found", _winner(half), sides=2)
    for rate in BASE_RATES:
        yield from _found(progress, rate, rate - POINTS, "stopped", _harm(half), sides=1)
    yield from _splits(progress)


def _winner(equals: Equals) -> Judge:
    return lambda a, b: sequential_difference(a, b, alpha=ALPHA, planned=equals.planned).decided


def _harm(equals: Equals) -> Judge:
    return lambda a, b: harmed(a, b, alpha=ALPHA, planned=equals.planned).harmed


def _naive(a: Values, b: Values) -> bool:
    """What a person does who takes a test for a fixed sample at every look."""
    error = math.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
    return abs(b.mean() - a.mean()) > NormalDist().inv_cdf(1 - ALPHA / 2) * error


def _stopped_at(judge: Judge, a: Values, b: Values, share: float = 0.5) -> int:
    """The look that calls something, in units an arm where both get half."""
    for look in LOOKS:
        if judge(a[: round(2 * look * (1 - share))], b[: round(2 * look * share)]):
            return look
    return NEVER


def _alarms(
    progress: Progress, name: str, equals: Equals, judge_of: Callable[[Equals], Judge], at_most: float | None
) -> Figure:
    """How often something was called that is not there."""
    chance = np.random.default_rng(SEED)
    judge, most = judge_of(equals), 2 * LOOKS[-1]
    called = 0
    for _ in progress.track(range(RUNS), description=f"sequential_error_rates: {name}"):
        a = equals.draw(chance, round(most * (1 - equals.share)))
        b = (equals.draw_b or equals.draw)(chance, round(most * equals.share))
        called += _stopped_at(judge, a, b, equals.share) < NEVER
    rate = called / RUNS
    if at_most is None:
        return Figure(name=name, value=100 * rate, unit="%", n=RUNS)
    slack = STANDARD_ERRORS * math.sqrt(at_most * (1 - at_most) / RUNS)
    promise = f"≤ {at_most:.0%} + {100 * slack:.2f}"
    return Figure(name=name, value=100 * rate, unit="%", n=RUNS, promise=promise, kept=rate <= at_most + slack)


def _found(progress: Progress, a: float, b: float, verb: str, judge: Judge, *, sides: int) -> Iterator[Figure]:
    """Units an arm until a difference is called, beside the least that any rule needs, and how often by 5,000."""
    chance = np.random.default_rng(SEED)
    name = f"rate {a:g} to {b:g}"
    looks = [
        _stopped_at(judge, _rate_of(a)(chance, LOOKS[-1]), _rate_of(b)(chance, LOOKS[-1]))
        for _ in progress.track(range(RUNS), description=f"sequential_error_rates: {name}")
    ]
    middle, least = median(looks), _least_median(a, b, sides)
    yield Figure(
        name=f"{name}: {verb}, median",
        value=middle,
        unit="units an arm",
        n=RUNS,
        reference=f"least of any rule: {least:.0f}",
        ratio=middle / least,
        promise=f"≤ {MEDIAN_MAX}",
        kept=middle <= MEDIAN_MAX,
    )
    for until in (MEDIAN_MAX, LOOKS[-1]):
        share = sum(look <= until for look in looks) / RUNS
        yield Figure(name=f"{name}: {verb} by {until:,} an arm", value=100 * share, unit="%", n=RUNS)


def _least_median(a: float, b: float, sides: int) -> float:
    """Units an arm at which a test with one look has power one half."""
    return NormalDist().inv_cdf(1 - ALPHA / sides) ** 2 * (a * (1 - a) + b * (1 - b)) / (b - a) ** 2


def _splits(progress: Progress) -> Iterator[Figure]:
    """A wrong split and a sound one."""
    wrong, total = _flagged_at(progress, 0.52), 2 * RATIO_MAX
    name = "52/48 instead of halves: flagged"
    middle = median(wrong)
    yield Figure(
        name=f"{name}, median",
        value=middle / 2,
        unit="units an arm",
        n=RUNS,
        promise=f"≤ {RATIO_MAX}",
        kept=middle <= total,
    )
    for until in (RATIO_MAX, total):
        share = sum(units <= until for units in wrong) / RUNS
        yield Figure(name=f"{name} by {until:,} units in both arms", value=100 * share, unit="%", n=RUNS)
    rate = sum(units < NEVER for units in _flagged_at(progress, 0.5)) / RUNS
    slack = STANDARD_ERRORS * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
    promise, kept = f"≤ {ALPHA:.0%} + {100 * slack:.2f}", rate <= ALPHA + slack
    yield Figure(name="halves: flagged", value=100 * rate, unit="%", n=RUNS, promise=promise, kept=kept)


def _flagged_at(progress: Progress, share: float) -> list[int]:
    """Units in both arms at which the split is flagged, with a look every 100."""
    chance = np.random.default_rng(SEED)
    found: list[int] = []
    for _ in progress.track(range(RUNS), description=f"sequential_error_rates: split {share:g}"):
        firsts = chance.binomial(100, share, len(LOOKS)).cumsum()
        found.append(
            next(
                (
                    total
                    for total, first in zip(range(100, 10_001, 100), map(int, firsts), strict=True)
                    if sample_ratio_mismatch([first, total - first], [1, 1], alpha=ALPHA).mismatch
                ),
                NEVER,
            )
        )
    return found
