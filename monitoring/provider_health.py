"""How providers kept their objectives: availability, waiting time and cost out of what was recorded, and alarms.

* available: of the attempts that count, the share that was answered. Not counted: what the caller cancelled, what
  the vendor rightly refused (a wrong request, refused content, an answer off the schema), and a time-out after
  a second or less, which says more about the caller's deadline than about the provider.
* in time: of the answers, the share that made nobody wait longer than the objective says; of a streamed answer the
  first piece is waited for.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from monitoring.burn_rate import WINDOW_MIN, Burn, Floats, burn
from monitoring.intervals import Estimate, wilson
from registry.alarms import SEVERITIES, Severity
from registry.errors import JsonValue
from registry.money.prices import format_usd
from registry.rollups import MINUTE_MS, AttemptSum, bucket_of, nearest_edge, upper_edge_s

ANSWERED: Final = "answered"
CANCELLED: Final = "cancelled"
TIMED_OUT: Final = "TimedOut"
FAILURES: Final = frozenset(
    {
        "RateLimited",
        "Overloaded",
        "Unreachable",
        "Garbled",
        "AuthenticationFailed",
        "ModelNotFound",
        "Transient",
        TIMED_OUT,
    }
)
"""Provider errors for which the provider, or our account there, is to blame."""
FAIR_BUCKET: Final = bucket_of(1.0)
"""Time-outs up to here are the caller's."""

Kind = Literal["provider-availability", "provider-latency"]
KINDS: Final[tuple[Kind, ...]] = ("provider-availability", "provider-latency")
"""Kinds of alarms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What is expected of each provider."""

    share: float
    """Of attempts answered, and of answers in time; above 0 and below 1."""
    slow_s: float
    """Longest waiting time that is in time, in seconds, above 0; the nearest bucket's edge stands for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHealth:
    """One provider and model in one period."""

    provider: str
    model: str
    period_ms: int
    """Start of the period."""
    attempts: int
    cancelled: int
    failed: Mapping[str, int]
    """Failures that count, by kind, the most frequent first."""
    available: Estimate | None
    """None when no attempt counts."""
    in_time: Estimate | None
    """None without answers."""
    p50_s: float | None
    """Of whole answers; the upper edge of the bucket, at most 26 % above the value. None without one."""
    p95_s: float | None
    first_piece_p95_s: float | None
    """Of streamed answers."""
    tokens: int
    cost_nano_usd: int

    @property
    def usd_per_1k_tokens(self) -> str | None:
        """All that was paid over all tokens that it paid for; None without tokens."""
        return None if self.tokens == 0 else format_usd(round(self.cost_nano_usd * 1_000 / self.tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the rules of one severity say about one objective of one provider now."""

    kind: Kind
    subject: str
    """PROVIDER/MODEL."""
    severity: Severity
    starts: bool
    """Open an alarm."""
    lasts: bool
    """Leave an alarm open."""
    details: Mapping[str, JsonValue]


def health(sums: Iterable[AttemptSum], objectives: Objectives) -> tuple[ProviderHealth, ...]:
    """One line for each provider, model and period of the sums, in that order."""
    groups: defaultdict[tuple[str, str, int], list[AttemptSum]] = defaultdict(list)
    for each in sums:
        groups[each.provider, each.model, each.period_ms].append(each)
    return tuple(_health(groups[key], objectives) for key in sorted(groups))


def _health(sums: Sequence[AttemptSum], objectives: Objectives) -> ProviderHealth:
    failed = Counter[str]()
    for each in sums:
        if _failed(each):
            failed[each.outcome] += each.attempts
    answers = [each for each in sums if each.outcome == ANSWERED]
    answered = _attempts(answers)
    counted = answered + failed.total()
    slow = _attempts(each for each in answers if _is_slow(each, objectives))
    whole = [each for each in answers if not each.streamed]
    return ProviderHealth(
        provider=sums[0].provider,
        model=sums[0].model,
        period_ms=sums[0].period_ms,
        attempts=_attempts(sums),
        cancelled=_attempts(each for each in sums if each.outcome == CANCELLED),
        failed=dict(failed.most_common()),
        available=wilson(answered, counted) if counted else None,
        in_time=wilson(answered - slow, answered) if answered else None,
        p50_s=_quantile(whole, 0.5),
        p95_s=_quantile(whole, 0.95),
        first_piece_p95_s=_quantile([each for each in answers if each.streamed], 0.95),
        tokens=sum(each.tokens for each in sums),
        cost_nano_usd=sum(each.cost_nano_usd for each in sums),
    )


def findings(sums: Sequence[AttemptSum], objectives: Objectives, now_ms: int) -> tuple[Finding, ...]:
    """What to alarm about, for each provider and model of the sums, each objective and each severity.

    Args:
        sums: by the minute, WINDOW_MIN back from `now_ms`.
        objectives: what is expected.
        now_ms: milliseconds since the epoch; the minute that it lies in counts as far as it is recorded.
    """
    budget = 1 - objectives.share
    start_ms = window_start_ms(now_ms)
    groups: defaultdict[str, list[AttemptSum]] = defaultdict(list)
    for each in sums:
        groups[f"{each.provider}/{each.model}"].append(each)
    found: list[Finding] = []
    for subject, group in sorted(groups.items()):
        for kind in KINDS:
            burns = burn(_minutes(group, kind, objectives, start_ms), budget, np.array([WINDOW_MIN]))
            for severity in SEVERITIES:
                of_severity = [each for each in burns if each.rule.severity == severity]
                found.append(
                    Finding(
                        kind=kind,
                        subject=subject,
                        severity=severity,
                        starts=any(each.starts[0] for each in of_severity),
                        lasts=any(each.lasts[0] for each in of_severity),
                        details=_details(of_severity, group, kind, objectives, now_ms),
                    )
                )
    return tuple(found)


def window_start_ms(now_ms: int) -> int:
    """Start of the first of the WINDOW_MIN minutes that end with the one of `now_ms`."""
    return (now_ms // MINUTE_MS + 1 - WINDOW_MIN) * MINUTE_MS


def _minutes(sums: Iterable[AttemptSum], kind: Kind, objectives: Objectives, start_ms: int) -> Floats:
    """The share of failures in each minute of the window; NaN where nothing counts."""
    bad, counted = _judges(kind, objectives)
    wrong, all_ = np.zeros(WINDOW_MIN), np.zeros(WINDOW_MIN)
    for each in sums:
        minute = (each.period_ms - start_ms) // MINUTE_MS
        if 0 <= minute < WINDOW_MIN and counted(each):
            all_[minute] += each.attempts
            wrong[minute] += each.attempts if bad(each) else 0
    return np.divide(wrong, all_, out=np.full(WINDOW_MIN, np.nan), where=all_ > 0)


Judge = Callable[[AttemptSum], bool]


def _judges(kind: Kind, objectives: Objectives) -> tuple[Judge, Judge]:
    """Of one objective: is it bad, and does it count at all."""
    if kind == "provider-availability":
        return _failed, lambda each: each.outcome == ANSWERED or _failed(each)
    return lambda each: _is_slow(each, objectives), lambda each: each.outcome == ANSWERED


def _details(
    burns: Sequence[Burn], sums: Sequence[AttemptSum], kind: Kind, objectives: Objectives, now_ms: int
) -> dict[str, JsonValue]:
    """What the rule that comes nearest to its alarm saw."""
    worst = max(burns, key=lambda each: (bool(each.starts[0]), _number(each.long[0]) / each.rule.factor))
    bad, counted = _judges(kind, objectives)
    since_ms = (now_ms // MINUTE_MS + 1 - worst.rule.long_min) * MINUTE_MS
    window = [each for each in sums if each.period_ms >= since_ms and counted(each)]
    failed = Counter[str]()
    for each in window:
        if bad(each):
            failed[each.outcome] += each.attempts
    return {
        "objective": objectives.share,
        "slow_s": objectives.slow_s if kind == "provider-latency" else None,
        "rule": str(worst.rule),
        "burn_long": round(_number(worst.long[0]), 2),
        "burn_short": round(_number(worst.short[0]), 2),
        "odds_log10": round(float(worst.odds_log10[0]), 1),
        "attempts": _attempts(window),
        "failed": dict(failed.most_common()),
    }


def _number(value: float) -> float:
    """0 for a window without traffic."""
    return 0.0 if math.isnan(value) else float(value)


def _failed(each: AttemptSum) -> bool:
    return each.outcome in FAILURES and (each.outcome != TIMED_OUT or each.bucket > FAIR_BUCKET)


def _is_slow(each: AttemptSum, objectives: Objectives) -> bool:
    return each.bucket > nearest_edge(objectives.slow_s)


def _attempts(sums: Iterable[AttemptSum]) -> int:
    return sum(each.attempts for each in sums)


def _quantile(sums: Iterable[AttemptSum], share: float) -> float | None:
    """Upper edge of the bucket that holds this quantile."""
    buckets = Counter[int]()
    for each in sums:
        buckets[each.bucket] += each.attempts
    rank, seen = math.ceil(share * buckets.total()), 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            return round(upper_edge_s(bucket), 3)
    return None
