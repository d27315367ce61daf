"""What came of each prompt version's calls, day by day: sums over insights and feedback, and its newest evaluations.

Only calls that a tenant pays for count; those of evaluations do not. Sums of all tenants, arms and aliases together.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, Subquery, case, cast, func, select

from registry.database import Database
from registry.prompts.evidence import Evidence, evidence_for
from registry.rollups import DAY_MS
from registry.schema import feedback, insights, prompt_hashes

GROUPS_MAX = 20_000
"""Versions and days that are read at once, the newest first."""
VERSIONS_MAX = 200
"""Newest versions of a prompt whose evaluations are looked up."""
_TENANT = "tenant"
_LATENCY_STEPS = ((200, 1), (2_000, 10), (20_000, 100))
"""Up to so many milliseconds in steps of so many; beyond in steps of 1,000."""
_MEANS = ("cost_nano_usd", "input_tokens", "output_tokens", "rating")
_COUNTS = (
    "calls",
    "blocked",
    "abstained",
    "accepted",
    "accepted_told",
    "told",
    "claims",
    "grounded",
    "calls_with_claims",
)
_PRODUCTS = ("claims_squared", "grounded_squared", "claims_grounded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What a mean and its spread are made of."""

    n: int
    total: float
    squares: float
    """Sum of the squared values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionOutcomes:
    """Sums over the calls of one prompt version on one day, in UTC."""

    name: str
    version: int
    day_ms: int
    """Start of the day, in milliseconds since the epoch."""
    calls: int
    blocked: int
    """Calls whose answer was blocked; the others count as answered."""
    abstained: int
    """Answered calls that say that the evidence does not answer the question."""
    accepted: int
    """Calls whose answer was accepted, of `accepted_told` about which somebody said."""
    told: int
    """Calls about which anything was said."""
    accepted_told: int
    claims: int
    grounded: int
    """Claims that their evidence supports."""
    calls_with_claims: int
    claims_squared: int
    grounded_squared: int
    claims_grounded: int
    """Sums over calls of (claims of a call) squared, (grounded ones) squared, and of one times the other."""
    means: Mapping[str, Moments]
    """Of `cost_nano_usd`, `input_tokens` and `output_tokens` over all calls, and of `rating` over those rated."""
    latencies: Mapping[int, int]
    """Milliseconds → answered calls; above 200 ms rounded up, by at most 5 %."""


def read_outcomes(database: Database, from_ms: int, to_ms: int, name: str | None = None) -> tuple[VersionOutcomes, ...]:
    """Outcomes of every version and day with calls, oldest day first.

    Feedback counts on the day of its call.

    Args:
        database: the registry.
        from_ms: first moment, in milliseconds since the epoch.
        to_ms: end, excluded.
        name: of one prompt; None: of all.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    chosen = (insights.c.created_ms >= from_ms) & (insights.c.created_ms < to_ms) & (insights.c.billed_to == _TENANT)
    if name is not None:
        chosen &= insights.c.prompt_name == name
    calls = _calls(chosen)
    group = (calls.c.name, calls.c.version, calls.c.day_ms)
    summed = select(*group, *_sums(calls)).group_by(*group).order_by(calls.c.day_ms.desc(), *group).limit(GROUPS_MAX)
    answered = select(*group, calls.c.latency_ms, func.count()).where(calls.c.answered == 1)
    timed = answered.group_by(*group, calls.c.latency_ms)
    latencies: defaultdict[tuple[str, int, int], dict[int, int]] = defaultdict(dict)
    with database.read() as connection:
        rows = connection.execute(summed).mappings().all()
        for prompt, version, day_ms, latency_ms, count in connection.execute(timed):
            latencies[prompt, version, day_ms][latency_ms] = count
    outcomes = (_outcomes(dict(row), latencies[row["name"], row["version"], row["day_ms"]]) for row in rows)
    return tuple(sorted(outcomes, key=lambda each: (each.day_ms, each.name, each.version)))


def newest_evaluations(database: Database, name: str, versions: Iterable[int]) -> dict[int, tuple[Evidence, ...]]:
    """The newest evaluation of each version with each model, bound to the content: an equal version has the same.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    wanted = sorted(set(versions), reverse=True)[:VERSIONS_MAX]
    known = select(prompt_hashes.c.version, prompt_hashes.c.content_hash).where(
        prompt_hashes.c.name == name, prompt_hashes.c.version.in_(wanted)
    )
    with database.read() as connection:
        hashes = [(row.version, row.content_hash) for row in connection.execute(known)]
    found: dict[int, tuple[Evidence, ...]] = {}
    for version, content_hash in hashes:
        newest: dict[tuple[str, str], Evidence] = {}
        for each in evidence_for(database, name, content_hash):
            if each.kind == "evaluation":
                newest.setdefault((each.provider, each.model), each)
        found[version] = tuple(newest.values())
    return found


def _calls(chosen: ColumnElement[bool]) -> Subquery:
    """One row a call, with what is grouped and summed; a subquery, so that grouping names its columns."""
    created, answered = insights.c.created_ms, insights.c.status != "blocked"
    columns = (
        insights.c.prompt_name.label("name"),
        insights.c.prompt_version.label("version"),
        (created - created % DAY_MS).label("day_ms"),
        _one_if(answered).label("answered"),
        _one_if(answered & insights.c.abstained).label("abstained"),
        insights.c.cost_nano_usd,
        insights.c.input_tokens,
        insights.c.output_tokens,
        insights.c.claims,
        insights.c.claims_grounded.label("grounded"),
        _rounded(insights.c.latency_ms).label("latency_ms"),
        feedback.c.rating,
        _one_if(feedback.c.accepted.is_(True)).label("accepted"),
        _one_if(feedback.c.accepted.is_not(None)).label("accepted_told"),
        _one_if(feedback.c.id.is_not(None)).label("told"),
    )
    return (
        select(*columns)
        .outerjoin_from(insights, feedback, feedback.c.insight == insights.c.id)
        .where(chosen)
        .subquery()
    )


def _sums(calls: Subquery) -> list[ColumnElement[Any]]:
    c = calls.c
    sums: dict[str, ColumnElement[Any]] = {
        "calls": func.count(),
        "blocked": func.sum(1 - c.answered),
        "abstained": func.sum(c.abstained),
        "accepted": func.sum(c.accepted),
        "accepted_told": func.sum(c.accepted_told),
        "told": func.sum(c.told),
        "claims": func.sum(c.claims),
        "grounded": func.sum(c.grounded),
        "calls_with_claims": func.sum(_one_if(c.claims > 0)),
        "claims_squared": func.sum(c.claims * c.claims),
        "grounded_squared": func.sum(c.grounded * c.grounded),
        "claims_grounded": func.sum(c.claims * c.grounded),
    }
    for name in _MEANS:
        value = cast(c[name], Float(53))  # squared nano-USD do not fit in 64 bits
        sums |= {
            f"{name}_n": func.count(c[name]),
            f"{name}_total": func.coalesce(func.sum(value), 0.0),
            f"{name}_squares": func.coalesce(func.sum(value * value), 0.0),
        }
    return [column.label(name) for name, column in sums.items()]


def _one_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _rounded(value: ColumnElement[int]) -> ColumnElement[int]:
    """Up to the next step, so that a day has hundreds of different latencies rather than as many as calls."""
    steps = [(value <= limit, value + (step - value % step) % step) for limit, step in _LATENCY_STEPS]
    return case(*steps, else_=value + (1_000 - value % 1_000) % 1_000)


def _outcomes(row: Mapping[str, Any], latencies: Mapping[int, int]) -> VersionOutcomes:
    counts = {name: int(row[name]) for name in (*_COUNTS, *_PRODUCTS)}
    means = {
        name: Moments(n=row[f"{name}_n"], total=float(row[f"{name}_total"]), squares=float(row[f"{name}_squares"]))
        for name in _MEANS
    }
    return VersionOutcomes(
        name=row["name"],
        version=row["version"],
        day_ms=row["day_ms"],
        means=means,
        latencies=dict(latencies),
        **counts,
    )
