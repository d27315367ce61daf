"""Sums that dashboards and monitors read: attempts at providers, by the minute and, once old, by the hour.

A row counts the attempts of one provider and model in one period that ended alike and took about as long. How long is
a bucket: bucket k holds durations above 10^((k-1)/10) s and up to 10^(k/10) s, so that 1 and 10 seconds lie at an
edge, 2 and 5 next to one, and a value is known to within 26 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, delete, func, literal_column, select

from registry.database import Database, dialect_insert
from registry.schema import provider_attempts as table

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MINUTES_KEPT_MS = 8 * DAY_MS
"""After this a minute's sums are added to its hour's."""
HOURS_KEPT_MS = 400 * DAY_MS
"""After this sums are deleted: a year and a month to compare with."""
BUCKET_MIN = -20
"""10 ms and less."""
BUCKET_MAX = 22
"""Above 126 s, longer than any attempt may take."""
SUMS = ("attempts", "tokens", "cost_nano_usd")
"""The columns that are added up; all others are the key."""
_STEPS_PER_DECADE = 10
_ROUNDING = 1e-9
"""A duration of exactly an edge belongs below it, whatever its logarithm rounds to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSum:
    """Attempts of one provider and model in one period that ended alike and took about as long."""

    provider: str
    model: str
    """As configured."""
    period_ms: int
    """Start of the minute or of the hour."""
    outcome: str
    """`answered`, `cancelled`, or the name of the error, as `registry.messages.Attempt` has it."""
    streamed: bool
    """A streamed answer; its duration ended with the first piece."""
    bucket: int
    """How long it took; see the top of the file."""
    attempts: int
    tokens: int
    """All tokens that `cost_nano_usd` paid for."""
    cost_nano_usd: int


def bucket_of(seconds: float) -> int:
    """The bucket of a duration, BUCKET_MIN to BUCKET_MAX."""
    if seconds <= 10 ** (BUCKET_MIN / _STEPS_PER_DECADE):
        return BUCKET_MIN
    return min(math.ceil(_STEPS_PER_DECADE * math.log10(seconds) - _ROUNDING), BUCKET_MAX)


def nearest_edge(seconds: float) -> int:
    """The bucket whose upper edge is nearest to a duration: what a limit on durations is taken for."""
    return min(max(round(_STEPS_PER_DECADE * math.log10(seconds)), BUCKET_MIN), BUCKET_MAX)


def upper_edge_s(bucket: int) -> float:
    """The longest duration of a bucket in seconds."""
    return 10 ** (bucket / _STEPS_PER_DECADE)


def add_attempts(database: Database, sums: Sequence[AttemptSum]) -> None:
    """Add to what is there, in one transaction; any number of processes may.

    Raises:
        DatabaseUnavailable: the database does not answer. Nothing was added, unless only its reply was lost.
    """
    with database.write() as connection:
        _add(connection, [asdict(each) for each in sums])


def read_attempts(database: Database, from_ms: int, to_ms: int, period_ms: int) -> tuple[AttemptSum, ...]:
    """Sums over periods of a given length, oldest first.

    Args:
        database: the registry.
        from_ms: first moment, in milliseconds since the epoch.
        to_ms: end, excluded.
        period_ms: MINUTE_MS (as far back as MINUTES_KEPT_MS), HOUR_MS or DAY_MS.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    # A literal: PostgreSQL takes two placeholders for two different expressions and refuses to group by them.
    length = literal_column(str(int(period_ms)), BigInteger)
    start = table.c.period_ms - table.c.period_ms % length
    within = (table.c.period_ms >= from_ms) & (table.c.period_ms < to_ms)
    groups = (table.c.provider, table.c.model, start, table.c.outcome, table.c.streamed, table.c.bucket)
    counted = (func.sum(table.c[name]).label(name) for name in SUMS)
    chosen = select(*groups, *counted).where(within).group_by(*groups).order_by(start)
    with database.read() as connection:
        rows = connection.execute(chosen).all()
    return tuple(_sum(row) for row in rows)


def compact_attempts(database: Database, now_ms: int) -> None:
    """Make hours of old minutes and delete what is older still; safe to repeat, and to run twice at once.

    Raises:
        DatabaseUnavailable: the database does not answer; everything is as it was.
    """
    end = (now_ms - MINUTES_KEPT_MS) // HOUR_MS * HOUR_MS
    old = (table.c.period_ms < end) & (table.c.period_ms % HOUR_MS != 0)
    with database.write() as connection:
        connection.execute(delete(table).where(table.c.period_ms < now_ms - HOURS_KEPT_MS))
        rows = connection.execute(delete(table).where(old).returning(*table.c)).mappings().all()
        _add(connection, [{**row, "period_ms": row["period_ms"] // HOUR_MS * HOUR_MS} for row in rows])


def _add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    statement = dialect_insert(connection, table)
    summed = {name: table.c[name] + statement.excluded[name] for name in SUMS}
    keys = [column.name for column in table.primary_key]
    # In one order everywhere, so that two processes never wait for each other's rows.
    ordered = sorted(rows, key=lambda row: [row[key] for key in keys])
    if ordered:
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=summed), ordered)


def _sum(row: Row[Any]) -> AttemptSum:
    """A row as either database gives it: PostgreSQL sums integers into decimals."""
    provider, model, start_ms, outcome, streamed, bucket, attempts, tokens, cost = tuple(row)
    return AttemptSum(
        provider=provider,
        model=model,
        period_ms=start_ms,
        outcome=outcome,
        streamed=streamed,
        bucket=bucket,
        attempts=int(attempts),
        tokens=int(tokens),
        cost_nano_usd=int(cost),
    )
