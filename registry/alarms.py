"""Alarms: something that was found wrong, from when to when. One thing has one open alarm, however often found."""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from sqlalchemy import select, update

from registry.database import Database, insert_or_ignore
from registry.errors import JsonValue
from registry.schema import alarms as table

Severity = Literal["page", "ticket"]
"""page - look now; ticket - look in working hours."""
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Note = Callable[[str, Mapping[str, JsonValue]], object]
"""Writes one durable entry to the audit log: (kind, body)."""

OPENED, CLOSED = "alarm.opened", "alarm.closed"
"""Kinds of the entries in the audit log."""
OPEN_MAX = 1_000
"""Most open alarms that a listing returns, newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that was found wrong."""

    id: str
    kind: str
    """What was watched, e.g. `provider-availability`."""
    subject: str
    """What it is about, e.g. `anthropic/claude-sonnet-5-5`."""
    severity: Severity
    details: Mapping[str, JsonValue]
    """What it rests on, as found when it was opened."""
    opened_ms: int
    closed_ms: int | None = None
    """None while it is open."""


def open_alarm(
    database: Database,
    *,
    kind: str,
    subject: str,
    severity: Severity,
    details: Mapping[str, JsonValue],
    note: Note,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
) -> Alarm | None:
    """Open an alarm, noted in the audit log before it shows; None when one is open already.

    Raises:
        DatabaseUnavailable: the database does not answer; no alarm was opened.
        LogUnavailable: the audit log cannot be written; no alarm was opened.
    """
    alarm = Alarm(
        id=new_id(),
        kind=kind,
        subject=subject,
        severity=severity,
        details=details,
        opened_ms=int(clock() * 1000),
    )
    row: dict[str, Any] = {
        "id": alarm.id,
        "kind": kind,
        "subject": subject,
        "severity": severity,
        "details": json.dumps(dict(details), sort_keys=True, ensure_ascii=False, allow_nan=False),
        "opened_ms": alarm.opened_ms,
    }
    with database.write() as connection:
        if not insert_or_ignore(connection, table, row):
            return None
        note(OPENED, _noted(alarm))
    return alarm


def close_alarm(database: Database, alarm: Alarm, note: Note, clock: Callable[[], float] = time.time) -> Alarm | None:
    """Close an open alarm, noted in the audit log before it shows; None when another process closed it.

    Raises:
        DatabaseUnavailable: the database does not answer; the alarm is still open.
        LogUnavailable: the audit log cannot be written; the alarm is still open.
    """
    closed = replace(alarm, closed_ms=int(clock() * 1000))
    still_open = update(table).where(table.c.id == alarm.id, table.c.closed_ms.is_(None))
    with database.write() as connection:
        changed = connection.execute(still_open.values(closed_ms=closed.closed_ms).returning(table.c.id)).first()
        if changed is None:
            return None
        note(CLOSED, _noted(closed))
    return closed


def open_alarms(database: Database, *kinds: str) -> tuple[Alarm, ...]:
    """Open alarms, newest first, at most OPEN_MAX; of these kinds, or of all when none is named.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    chosen = select(table).where(table.c.closed_ms.is_(None))
    if kinds:
        chosen = chosen.where(table.c.kind.in_(kinds))
    with database.read() as connection:
        newest = chosen.order_by(table.c.opened_ms.desc(), table.c.id).limit(OPEN_MAX)
        rows = connection.execute(newest).mappings().all()
    found: list[dict[str, Any]] = [{**row, "details": _details(row["details"])} for row in rows]
    return tuple(Alarm(**row) for row in found)


def _details(text: str) -> dict[str, JsonValue]:
    """What an alarm rests on; nothing where somebody edited it so that it cannot be read: the alarm stays one."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, JsonValue]", found) if isinstance(found, dict) else {}


def _noted(alarm: Alarm) -> dict[str, JsonValue]:
    return {"alarm": alarm.id, "kind": alarm.kind, "subject": alarm.subject, "severity": alarm.severity}
