"""The difference between two arms at one moment, and how wide a normal mixture makes it safe at every moment."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.statistics import Floats, checked_scores
from registry.errors import InvalidInput

PLANNED_MIN: Final = 100
"""Units in each arm; with fewer the normal distribution may be far off."""
VALUE_MAX: Final = 1e100
"""Larger values have no squares that a computer can add up."""
ALPHA_MIN: Final = 1e-9
UNITS_MIN: Final = 200
"""In each arm, for values other than 0 and 1: what one unit of 67 shows has then been seen in 95 of 100 arms."""
SKEWNESS_MAX: Final = 1 / 8
"""Of the estimate; 64 skewness^2 units where one arm brings all of it. Cochran's 25 (1977, section 2.15) serve a single
look with an even error; with looks at any time they let through two to three times too many false alarms."""
ROUNDING: Final = 1e-12
"""Relative spread that means of floats may show where there is none."""

Covariates = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """mean(b) - mean(a) with the variances of single values."""

    value: float
    variances: tuple[float, float]
    sizes: tuple[int, int]
    skewness: float
    """Of the estimate; that of equal laws in equal arms cancels out. Values of 0 and 1 are adjusted instead."""

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return math.sqrt(self.variances[0] / self.sizes[0] + self.variances[1] / self.sizes[1])

    def lower(self, reach: float) -> float:
        """Lower limit; -inf where the large losses that make it uncertain may not have been seen.

        An arm of skewed values that happened to miss its rare large ones has too low a mean and too small a spread,
        both at once. So only the limit towards the tail is unsafe; the other one is safer than stated.
        """
        return self.value - reach if self.skewness >= -SKEWNESS_MAX else -math.inf

    def upper(self, reach: float) -> float:
        """Upper limit; inf where the large gains that make it uncertain may not have been seen."""
        return self.value + reach if self.skewness <= SKEWNESS_MAX else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Both arms' values so far, with what was known of each unit beforehand or without."""

    a: Floats
    b: Floats
    known: tuple[Floats, Floats] | None

    @property
    def plain_difference(self) -> float | None:
        """Difference of the means, where there are two."""
        return float(self.b.mean() - self.a.mean()) if self.a.size and self.b.size else None

    def first(self, planned: tuple[int, int]) -> "Arms | None":
        """What there was at the planned look; None before it."""
        at_a, at_b = planned
        if self.a.size < at_a or self.b.size < at_b:
            return None
        return Arms(a=self.a[:at_a], b=self.b[:at_b], known=self.known and (self.known[0][:at_a], self.known[1][:at_b]))

    def difference(self) -> Difference | None:
        """The estimate; None with too few values, or when nothing varies.

        Values of 0 and 1 get one success and one failure added to each arm (Agresti & Caffo 2000). Others need
        UNITS_MIN in each arm, and an arm's variance is taken to be at least that of both arms together: a small arm of
        skewed values, such as costs, that happened to miss the large ones looks cheap and certain at once, three times
        too often. Spread is around the middle of both means, so that two arms that were constant so far prove nothing.
        """
        a, b = self.a, self.b
        if min(a.size, b.size) < 2:  # noqa: PLR2004 - a spread needs two
            return None
        if self.known:
            a, b = _adjusted(a, b, *self.known)
        binary = self.known is None and _binary(a) and _binary(b)
        if binary:
            a, b = np.append(a, (0.0, 1.0)), np.append(b, (0.0, 1.0))
        elif min(a.size, b.size) < UNITS_MIN:
            return None
        middle = float(a.mean() + b.mean()) / 2
        spreads = _spread(a, middle), _spread(b, middle)
        least = 0.0 if binary else (spreads[0] * a.size + spreads[1] * b.size) / (a.size + b.size)
        error = math.sqrt(spreads[0] / a.size + spreads[1] / b.size)
        if error <= ROUNDING * abs(middle):
            return None
        return Difference(
            value=float(b.mean() - a.mean()),
            variances=(max(spreads[0], least), max(spreads[1], least)),
            sizes=(a.size, b.size),
            skewness=0.0 if binary else _skewness(b, error) - _skewness(a, error),
        )


def checked_arms(
    a: ArrayLike, b: ArrayLike, covariates: Covariates | None, alpha: float, planned: tuple[int, int]
) -> Arms:
    """The arguments of a comparison as arrays.

    Raises:
        InvalidInput: one of them is out of its range; the message names it.
    """
    check_alpha(alpha)
    if min(planned) < PLANNED_MIN:
        raise InvalidInput(f"the planned look needs at least {PLANNED_MIN} units in each arm, not {planned}")
    arms = Arms(
        a=checked_scores(a, "values of arm a"),
        b=checked_scores(b, "values of arm b"),
        known=covariates
        and (
            checked_scores(covariates[0], "covariates of arm a"),
            checked_scores(covariates[1], "covariates of arm b"),
        ),
    )
    if arms.known and (arms.known[0].size, arms.known[1].size) != (arms.a.size, arms.b.size):
        raise InvalidInput("covariates must be one a value, in each arm")
    for values in (arms.a, arms.b, *(arms.known or ())):
        if values.size and np.abs(values).max() > VALUE_MAX:
            raise InvalidInput(f"values must lie within {VALUE_MAX:g} of 0; no metric needs more")
    return arms


def check_alpha(alpha: float) -> None:
    """Refuse a rate of errors that makes no sense.

    Raises:
        InvalidInput: it is outside 1e-9 to 0.5.
    """
    if not ALPHA_MIN <= alpha < 0.5:  # noqa: PLR2004 - wrong in every second
        raise InvalidInput(f"alpha must be 1e-9 to 0.5, not {alpha}")


def mixture_reach(now: Difference, planned: tuple[int, int], alpha: float) -> float:
    """Half the width of a two-sided confidence sequence at level 1 - alpha, narrowest at the planned look.

    Robbins' normal mixture, as Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024 use it for estimated variances. Time
    runs as one over the variance of the difference, which makes the difference a Brownian motion over its time however
    units are split.
    """
    time = _time(now, planned, alpha)
    return now.error * math.sqrt((1 + 1 / time) * (math.log1p(time) - 2 * math.log(alpha)))


def one_sided_reach(now: Difference, planned: tuple[int, int], alpha: float) -> float:
    """Distance of a one-sided limit: the one-sided normal mixture of Howard, Ramdas, McAuliffe & Sekhon 2021."""
    time = _time(now, planned, 2 * alpha)
    return now.error * math.sqrt((1 + 1 / time) * 2 * math.log1p(math.sqrt(1 + time) / (2 * alpha)))


def _time(now: Difference, planned: tuple[int, int], alpha: float) -> float:
    """Time in units of the mixture's own."""
    at_look = now.variances[0] / planned[0] + now.variances[1] / planned[1]
    return best_time(alpha) * at_look / now.error**2


@lru_cache(maxsize=256)
def best_time(alpha: float) -> float:
    """Time at which a normal mixture is narrowest, in its own units: the root of x - log(1 + x) = -2 log(alpha)."""
    time = -2 * math.log(alpha)
    for _ in range(60):  # each step divides the error by 1 + x
        time = math.log1p(time) - 2 * math.log(alpha)
    return time


def _binary(values: Floats) -> bool:
    return bool(np.isin(values, (0, 1)).all())


def _spread(values: NDArray[np.float64], middle: float) -> float:
    return float(((values - middle) ** 2).sum()) / (values.size - 1)


def _skewness(values: Floats, error: float) -> float:
    """An arm's part in the skewness of the difference: third central moment of its mean over `error` cubed."""
    parts = (values - values.mean()) / (values.size * error)
    return float((parts * parts) @ parts)


def _adjusted(a: Floats, b: Floats, known_a: Floats, known_b: Floats) -> tuple[Floats, Floats]:
    """Values without what the covariate explains; the slope is fitted inside the arms, one for both."""
    off_a, off_b = known_a - known_a.mean(), known_b - known_b.mean()
    spread = float(off_a @ off_a + off_b @ off_b)
    slope = float(off_a @ a + off_b @ b) / spread if spread > 0 else 0.0
    middle = float(known_a.sum() + known_b.sum()) / (known_a.size + known_b.size)
    return a - slope * (known_a - middle), b - slope * (known_b - middle)
