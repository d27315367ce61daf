"""How each prompt version does in use: quality, cost and speed of its calls, with intervals, over time.

* rating, accepted: what people said of its answers; `feedback`: of how many calls they said anything
* grounded: of its claims, those that their evidence supports
* abstained: of its answers, those that say that the evidence does not answer
* blocked: of its calls, those whose answer was blocked

Intervals are 95 % and for looking, not for deciding: versions that served at different times, or to different people,
differ in more than their wording, and whoever looks every day finds a difference some day. An experiment decides.
Calls count as independent; the claims of one call do not.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitoring.intervals import Estimate, clustered_share, mean, quantile, wilson
from registry.prompt_outcomes import VersionOutcomes

FIGURES: Final[Mapping[str, str]] = {
    "rating": "mean, 1 to 5",
    "accepted": "share of the answers that somebody accepted or not",
    "feedback": "share of calls",
    "grounded": "share of claims",
    "abstained": "share of answers",
    "blocked": "share of calls",
    "cost_usd": "mean of a call",
    "input_tokens": "mean of a call",
    "output_tokens": "mean of a call",
    "latency_p50_s": "of answers",
    "latency_p95_s": "of answers",
}
"""Name of a figure → what it is taken over."""
RATINGS: Final = (1, 5)
"""Least and highest rating."""
_NANO: Final = 1e9
_MS: Final = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """One prompt version over one period."""

    name: str
    version: int
    from_ms: int
    """Start of its first day with calls, in milliseconds since the epoch."""
    calls: int
    figures: Mapping[str, Estimate]
    """By the names of FIGURES; what nothing was counted for is left out."""


def by_day(outcomes: Iterable[VersionOutcomes]) -> tuple[Performance, ...]:
    """One line for each version and day, the newest day first."""
    lines = (_performance([each]) for each in outcomes)
    return tuple(sorted(lines, key=lambda line: (-line.from_ms, line.name, -line.version)))


def by_version(outcomes: Iterable[VersionOutcomes]) -> tuple[Performance, ...]:
    """One line for each version over all of its days, the newest version first."""
    groups: defaultdict[tuple[str, int], list[VersionOutcomes]] = defaultdict(list)
    for each in outcomes:
        groups[each.name, each.version].append(each)
    lines = (_performance(group) for group in groups.values())
    return tuple(sorted(lines, key=lambda line: (line.name, -line.version)))


def _performance(days: Sequence[VersionOutcomes]) -> Performance:
    figures = {
        "rating": _rating(days),
        "accepted": _share(days, lambda day: day.accepted, lambda day: day.accepted_told),
        "feedback": _share(days, lambda day: day.told, lambda day: day.calls),
        "grounded": _grounded(days),
        "abstained": _share(days, lambda day: day.abstained, lambda day: day.calls - day.blocked),
        "blocked": _share(days, lambda day: day.blocked, lambda day: day.calls),
        "cost_usd": _mean(days, "cost_nano_usd", _NANO),
        "input_tokens": _mean(days, "input_tokens"),
        "output_tokens": _mean(days, "output_tokens"),
        "latency_p50_s": _latency(days, 0.5),
        "latency_p95_s": _latency(days, 0.95),
    }
    return Performance(
        name=days[0].name,
        version=days[0].version,
        from_ms=min(day.day_ms for day in days),
        calls=_total(days, lambda day: day.calls),
        figures={name: figure for name, figure in figures.items() if figure is not None},
    )


Count = Callable[[VersionOutcomes], int]


def _total(days: Sequence[VersionOutcomes], count: Count) -> int:
    return sum(count(day) for day in days)


def _share(days: Sequence[VersionOutcomes], hits: Count, trials: Count) -> Estimate | None:
    n = _total(days, trials)
    return wilson(_total(days, hits), n) if n else None


def _grounded(days: Sequence[VersionOutcomes]) -> Estimate | None:
    claims = _total(days, lambda day: day.claims)
    if not claims:
        return None
    return clustered_share(
        hits=_total(days, lambda day: day.grounded),
        n=claims,
        hits_squared=_total(days, lambda day: day.grounded_squared),
        n_squared=_total(days, lambda day: day.claims_squared),
        hits_times_n=_total(days, lambda day: day.claims_grounded),
        clusters=_total(days, lambda day: day.calls_with_claims),
    )


def _mean(days: Sequence[VersionOutcomes], name: str, unit: float = 1.0) -> Estimate | None:
    """The mean of what cannot be negative, in `unit`s."""
    moments = [day.means[name] for day in days]
    n = sum(each.n for each in moments)
    if not n:
        return None
    total, squares = (math.fsum(values) for values in zip(*((m.total, m.squares) for m in moments), strict=True))
    return _within(mean(total / unit, squares / unit**2, n), 0.0, math.inf)


def _rating(days: Sequence[VersionOutcomes]) -> Estimate | None:
    """The mean rating; when all are alike, as far as Wilson's interval of so many equal answers reaches."""
    estimate = _mean(days, "rating")
    if estimate is None:
        return None
    least, highest = RATINGS
    if estimate.low < estimate.high:
        return _within(estimate, least, highest)
    slack = (highest - least) * wilson(0, estimate.n).high
    widened = Estimate(value=estimate.value, low=estimate.low - slack, high=estimate.high + slack, n=estimate.n)
    return _within(widened, least, highest)


def _within(estimate: Estimate, least: float, highest: float) -> Estimate:
    low, high = max(estimate.low, least), min(estimate.high, highest)
    return Estimate(value=estimate.value, low=low, high=high, n=estimate.n)


def _latency(days: Sequence[VersionOutcomes], share: float) -> Estimate | None:
    counts = Counter[int]()
    for day in days:
        counts.update(day.latencies)
    if not counts:
        return None
    found = quantile(counts, share)
    low = max(found.low, 0.0)
    return Estimate(value=found.value / _MS, low=low / _MS, high=found.high / _MS, n=found.n)
