"""Compare two arms of an experiment while it runs: whoever looks, however often, keeps the stated error rates.

An interval of a fixed sample that is read every day calls a winner in a third of all experiments between equals. Here
a quarter of alpha pays for reading at any time (a normal-mixture confidence sequence) and the rest for one look, fixed
beforehand, at the first `planned` units of each arm. By the union bound both together are wrong in at most alpha of all
experiments. Without the planned look the same difference would take up to 1.6 times as many units.

Values come one a unit (a person or session, not a call), in the order in which the units came, and stay as they are.
For several comparisons in one experiment divide alpha by their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

from numpy.typing import ArrayLike

from evaluation.two_arms import (
    UNITS_MIN,
    Covariates,
    Difference,
    best_time,
    check_alpha,
    checked_arms,
    mixture_reach,
    one_sided_reach,
)
from registry.errors import InvalidInput

PLANNED: Final = (1_000, 1_000)
"""Units in arm a and b at the planned look; there the sequence is narrowest, too."""
LOOK_SHARE: Final = 3 / 4
"""Part of alpha that pays for the planned look; it finds most, and the sequence is only a little wider for it."""
RATIO_PLANNED: Final = 5_000
"""Units in all arms at which the sample-ratio check sees best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceSequence:
    """Where the difference of the means, b minus a, lies: at every look so far at once, at level 1 - alpha."""

    low: float
    """-inf while too little is known to state a limit."""
    high: float
    """inf while too little is known."""
    decided: bool
    """0 is outside: b is better or worse than a."""
    difference: float | None
    """The estimate; None while an arm is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What is known against an arm."""

    harmed: bool
    """b is worse than a by more than is tolerated."""
    bound: float
    """How much worse b is at least, b against a in the bad direction, at level 1 - alpha; -inf while unknown."""
    difference: float | None
    """The estimate, b minus a; None while an arm is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatio:
    """Whether units came to the arms as they should."""

    mismatch: bool
    p: float
    """Always-valid p-value: at most alpha at any look in at most alpha of all sound experiments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long an experiment takes, and what it can find."""

    planned: tuple[int, int]
    """Units in arm a and b at which `effect` is found with the power asked for: the planned look."""
    days: float
    """Until both arms have them."""
    mde: float
    """Smallest difference that the days on hand would show with the same power, in units of the metric."""


def sequential_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    alpha: float = 0.05,
    planned: tuple[int, int] = PLANNED,
    covariates: Covariates | None = None,
) -> ConfidenceSequence:
    """Interval of mean(b) - mean(a) that may be read at any time.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024 (Robbins' normal mixture),
    cut with the interval of the planned look. Values of 0 and 1 get one success and one failure added to each arm
    (Agresti & Caffo 2000), so that rare events do not look certain.

    Args:
        a: values of the arm compared with, one a unit, in the order in which they came.
        b: values of the arm in question.
        alpha: rate of false winners over the whole life of the experiment, 1e-9 to 0.5.
        planned: units in arm a and b at the planned look, fixed before the experiment; at least 100 each.
        covariates: what was known of each unit before it came to its arm, for a and b; takes what it explains out of
            the values (CUPED, Deng, Xu, Kohavi & Walker 2013).

    Raises:
        InvalidInput: values that are not flat lists of finite numbers within 1e100, covariates of another length, an
            alpha or plan out of range.
    """
    arms = checked_arms(a, b, covariates, alpha, planned)
    now = arms.difference()
    if now is None:
        return ConfidenceSequence(low=-math.inf, high=math.inf, decided=False, difference=arms.plain_difference)
    reach = mixture_reach(now, planned, (1 - LOOK_SHARE) * alpha)
    low, high = now.lower(reach), now.upper(reach)
    then = arms.first(planned)
    if then is not None and (look := then.difference()) is not None:
        reach = _z(1 - LOOK_SHARE * alpha / 2) * look.error
        low_then, high_then = look.lower(reach), look.upper(reach)
        if low_then <= high and low <= high_then:
            low, high = max(low, low_then), min(high, high_then)
        else:  # they contradict each other, as they do when the difference itself has moved: keep both
            low, high = min(low, low_then), max(high, high_then)
    return ConfidenceSequence(low=low, high=high, decided=not low <= 0 <= high, difference=now.value)


def harmed(
    a: ArrayLike,
    b: ArrayLike,
    *,
    worse: Literal["lower", "higher"] = "lower",
    tolerated: float = 0.0,
    alpha: float = 0.05,
    planned: tuple[int, int] = PLANNED,
    covariates: Covariates | None = None,
) -> Harm:
    """Ask whether arm b does harm on a guardrail metric; may be asked at any time.

    One-sided, so it knows sooner than `sequential_difference`: the one-sided normal mixture of Howard, Ramdas,
    McAuliffe & Sekhon 2021 (section 3.2) and a one-sided planned look share alpha as there.

    Args:
        a: values of the arm compared with, one a unit, in the order in which they came.
        b: values of the arm in question.
        worse: which direction is bad: `lower` for ratings, `higher` for cost or latency.
        tolerated: how much worse is no harm yet, in units of the metric; 0 or more.
        alpha: rate of false alarms over the whole life of the experiment, 1e-9 to 0.5.
        planned: as in `sequential_difference`.
        covariates: as in `sequential_difference`.

    Raises:
        InvalidInput: as in `sequential_difference`; a negative or infinite `tolerated`.
    """
    if not 0 <= tolerated < math.inf:
        raise InvalidInput(f"tolerated must be 0 or a positive number, not {tolerated}")
    arms = checked_arms(a, b, covariates, alpha, planned)
    now = arms.difference()
    if now is None:
        return Harm(harmed=False, bound=-math.inf, difference=arms.plain_difference)
    bound = _worse_by(now, one_sided_reach(now, planned, (1 - LOOK_SHARE) * alpha), worse)
    then = arms.first(planned)
    if then is not None and (look := then.difference()) is not None:
        bound = max(bound, _worse_by(look, _z(1 - LOOK_SHARE * alpha) * look.error, worse))
    return Harm(harmed=bound > tolerated, bound=bound, difference=now.value)


def _worse_by(found: Difference, reach: float, worse: Literal["lower", "higher"]) -> float:
    return found.lower(reach) if worse == "higher" else -found.upper(reach)


def sample_ratio_mismatch(counts: Sequence[int], weights: Sequence[float], *, alpha: float = 0.05) -> SampleRatio:
    """Ask whether the units that came fit the weights; may be asked at any time.

    The sequential multinomial test of Lindon & Malek 2022: a Dirichlet mixture around the weights. Exact: it needs no
    large numbers. A mismatch means that assignment or logging is broken and no result of the experiment counts.

    Args:
        counts: units in each arm so far.
        weights: share that each arm should get, in any unit; all above 0.
        alpha: rate of false alarms over the whole life of the experiment, 1e-9 to 0.5.

    Raises:
        InvalidInput: fewer than two arms, unequal lengths, negative counts, weights or alpha out of range.
    """
    check_alpha(alpha)
    if len(counts) != len(weights) or len(counts) < 2:  # noqa: PLR2004 - a ratio needs two
        raise InvalidInput(f"{len(counts)} counts and {len(weights)} weights; give one of each an arm, for 2 or more")
    if not all(0 < weight < math.inf for weight in weights) or not all(count >= 0 for count in counts):
        raise InvalidInput("weights must be positive numbers and counts 0 or more")
    concentration = RATIO_PLANNED / best_time(alpha)
    shares = [weight / math.fsum(weights) for weight in weights]
    evidence = math.lgamma(concentration) - math.lgamma(concentration + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        prior = concentration * share
        evidence += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    p = math.exp(-max(evidence, 0.0))
    return SampleRatio(mismatch=p <= alpha, p=p)


def plan(
    *,
    spread: float,
    effect: float,
    units_per_day: float,
    days: float = 14.0,
    weights: tuple[float, float] = (0.5, 0.5),
    correlation: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Plan:
    """State beforehand how long an experiment takes and what it can find.

    Counts on the planned look alone, so the sequence, which may decide earlier, only makes it better.

    Args:
        spread: standard deviation of one unit's value; of a rate p it is sqrt(p * (1 - p)).
        effect: the difference that should be found, in units of the metric.
        units_per_day: new units a day in all arms together.
        days: how long the experiment may take, for `mde`.
        weights: share of the units that go to arm a and b.
        correlation: between value and covariate, if there is one: it shrinks the spread by sqrt(1 - correlation^2).
        alpha: as in `sequential_difference`.
        power: probability with which the effect is found, 0.5 to 0.99.

    Raises:
        InvalidInput: a number out of its range; the message names it.
    """
    check_alpha(alpha)
    for name, value in {"spread": spread, "effect": effect, "units_per_day": units_per_day, "days": days}.items():
        if not 0 < value < math.inf:
            raise InvalidInput(f"{name} must be a positive number, not {value}")
    if not (min(weights) > 0 and sum(weights) <= 1 + 1e-9):
        raise InvalidInput(f"weights must be shares above 0 that add up to 1 at most, not {weights}")
    if not (-1 < correlation < 1 and 0.5 <= power <= 0.99):  # noqa: PLR2004 - the range that the docstring states
        raise InvalidInput(f"correlation must be within -1 and 1 and power 0.5 to 0.99, not {correlation} and {power}")
    rest = spread * math.sqrt(1 - correlation**2)
    once = (_z(1 - LOOK_SHARE * alpha / 2) + _z(power)) * rest * math.sqrt(1 / weights[0] + 1 / weights[1])
    units = max((once / effect) ** 2, UNITS_MIN / min(weights))
    return Plan(
        planned=(math.ceil(units * weights[0]), math.ceil(units * weights[1])),
        days=units / units_per_day,
        mde=once / math.sqrt(units_per_day * days),
    )


def _z(probability: float) -> float:
    """Quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)
