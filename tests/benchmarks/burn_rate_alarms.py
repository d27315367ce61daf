"""How often the burn-rate alarms are false, and how late they are when they are not, by simulation.

* A provider that fails exactly as often as its objective of 99 % allows: months with an alarm, over all rules. One
  objective is simulated, so at most half of what `monitoring.burn_rate` states for both. A rate counts as kept unless
  it lies more than 2.33 standard errors above. Beside it the same rules by their burn rates alone.
* An outage: minutes from its beginning to the look that opens an alarm, after three days of 0.1 % failures. Behind a
  breaker a dead provider is asked once a minute; beside it the same outage with rates counted by attempts.

The seed is fixed. In «bursts» all attempts of a minute fail together.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from monitoring.burn_rate import DAYS, EVERY_MIN, FALSE_ALARMS, OBJECTIVES, RULES, WINDOW_MIN, Floats, burn
from registry.alarms import Severity
from tests.benchmarks.measurement import Figure, percentile

SEED = 20_261_123
BUDGET = 0.01
GOOD_DAYS = 0.001
"""Share of failures before an outage."""
MONTHS, OUTAGES = 1_000, 200
STANDARD_ERRORS = 2.33
DAY_MIN = 24 * 60

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Something that ought to be found."""

    name: str
    asked: float
    """Attempts a minute."""
    failing: float
    """Share that fails."""
    severity: Severity = "page"
    asked_then: float | None = None
    """Attempts a minute once it has begun, exactly as many; None: as before."""
    days: int = 1
    """How long it is simulated."""
    at_most: float | None = None
    """Promised median in minutes."""


OUTAGES_TRIED = (
    Outage(name="dead, 1 attempt in 10 minutes", asked=0.1, failing=1.0),
    Outage(name="dead, 1 a minute", asked=1, failing=1.0, at_most=20),
    Outage(name="dead, 100 a minute, then a breaker", asked=100, failing=1.0, asked_then=1, at_most=15),
    Outage(name="20 % fail, 10 a minute", asked=10, failing=0.2),
    Outage(name="10 % fail, 10 a minute", asked=10, failing=0.1),
    Outage(name="2 % fail, 10 a minute", asked=10, failing=0.02, severity="ticket", days=6),
    Outage(name="1.5 % fail, 100 a minute", asked=100, failing=0.015, severity="ticket", days=6),
)
TRAFFIC = (("3 attempts an hour", 0.05, False), ("1 a minute", 1.0, False), ("100 a minute", 100.0, False))


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """False alarms first, then delays."""
    for name, asked, bursts in (*TRAFFIC, ("100 a minute, in bursts", 100.0, True)):
        yield from _false_alarms(progress, name, asked, bursts=bursts)
    for outage in OUTAGES_TRIED:
        yield from _delays(progress, outage)


def _shares(asked: Counts, failed: Counts) -> Floats:
    return np.where(asked > 0, failed / np.maximum(asked, 1), math.nan)


def _false_alarms(progress: Progress, name: str, asked: float, *, bursts: bool) -> Iterator[Figure]:
    """Months with an alarm though the objective is just kept."""
    chance = np.random.default_rng([SEED, round(100 * asked), bursts])
    ends = np.arange(WINDOW_MIN, WINDOW_MIN + DAYS * DAY_MIN + 1, EVERY_MIN)
    alarms = by_rate_alone = 0
    for _ in progress.track(range(MONTHS), description=f"burn_rate_alarms: at its objective, {name}"):
        counts = chance.poisson(asked, ends[-1])
        failed = counts * (chance.random(ends[-1]) < BUDGET) if bursts else chance.binomial(counts, BUDGET)
        burns = burn(_shares(counts, failed), BUDGET, ends)
        alarms += any(each.starts.any() for each in burns)
        by_rate_alone += any(
            ((each.long >= each.rule.factor) & (each.short >= each.rule.factor)).any() for each in burns
        )
    stated = FALSE_ALARMS / OBJECTIVES
    slack = STANDARD_ERRORS * math.sqrt(stated * (1 - stated) / MONTHS)
    yield Figure(
        name=f"months with a false alarm: {name}",
        value=100 * alarms / MONTHS,
        unit="%",
        n=MONTHS,
        promise=f"≤ {100 * stated:g} % + {100 * slack:.2f}",
        kept=alarms / MONTHS <= stated + slack,
    )
    yield Figure(name="  by burn rates alone", value=100 * by_rate_alone / MONTHS, unit="%", n=MONTHS)


def _delays(progress: Progress, outage: Outage) -> Iterator[Figure]:
    """Minutes until an outage opens an alarm; those that open none count with the whole time."""
    chance = np.random.default_rng([SEED, round(1_000 * outage.asked), round(1_000 * outage.failing)])
    length = WINDOW_MIN + outage.days * DAY_MIN
    ends = np.arange(WINDOW_MIN, length + 1, EVERY_MIN)
    found, by_attempts = list[float](), list[float]()
    for _ in progress.track(range(OUTAGES), description=f"burn_rate_alarms: {outage.name}"):
        start = WINDOW_MIN - int(chance.integers(EVERY_MIN))
        asked = chance.poisson(outage.asked, length)
        if outage.asked_then is not None:
            asked[start:] = outage.asked_then
        failed = chance.binomial(asked, np.where(np.arange(length) < start, GOOD_DAYS, outage.failing))
        burns = [each for each in burn(_shares(asked, failed), BUDGET, ends) if each.rule.severity == outage.severity]
        starts = np.logical_or.reduce([each.starts for each in burns])
        found.append(_first(starts, ends, start, length))
        by_attempts.append(_first(_by_attempts(asked, failed, ends, outage.severity), ends, start, length))
    middle = median(found)
    yield Figure(
        name=f"minutes to a {outage.severity}: {outage.name}",
        value=middle,
        unit="min",
        n=OUTAGES,
        quartiles=(percentile(found, 25), percentile(found, 75)),
        reference="that by attempts, without a test",
        ratio=middle / median(by_attempts),
        promise=None if outage.at_most is None else f"≤ {outage.at_most:g} min",
        kept=None if outage.at_most is None else middle <= outage.at_most,
    )
    yield Figure(name="  19 of 20 within", value=percentile(found, 95), unit="min", n=OUTAGES)


def _by_attempts(asked: Counts, failed: Counts, ends: NDArray[np.intp], severity: Severity) -> NDArray[np.bool_]:
    """The rules of one severity on all attempts of a window together, without a test."""
    all_, bad = (np.concatenate([[0], np.cumsum(each)]) for each in (asked, failed))
    burning = np.zeros(len(ends), np.bool_)
    for rule in RULES:
        if rule.severity == severity:
            rates = [
                (bad[ends] - bad[ends - length]) / np.maximum(all_[ends] - all_[ends - length], 1) / BUDGET
                for length in (rule.long_min, rule.short_min)
            ]
            burning |= np.minimum(*rates) >= rule.factor
    return burning


def _first(found: NDArray[np.bool_], ends: NDArray[np.intp], start: int, length: int) -> float:
    """Minutes from the start to the first look that finds something."""
    places = np.flatnonzero(found)
    return float((ends[places[0]] if places.size else length) - start)
