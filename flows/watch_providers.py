"""The flow `watch-providers`: how each provider kept its objectives, and alarms that open and close by themselves."""

import asyncio
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.events import emit_event

from flows.settings import FlowSettings
from monitoring.burn_rate import EVERY_MIN, FALSE_ALARMS, RULES
from monitoring.provider_health import (
    KINDS,
    Finding,
    Objectives,
    ProviderHealth,
    Share,
    findings,
    health,
    window_start_ms,
)
from registry.alarms import Alarm, Note, close_alarm, open_alarm, open_alarms
from registry.audit.log import AuditLog
from registry.database import Database, open_database
from registry.errors import JsonValue
from registry.rollups import DAY_MS, HOUR_MS, MINUTE_MS, compact_attempts, read_attempts

DAYS_SHOWN = 30
HOURS_SHOWN = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What one look at the providers found."""

    objectives: Objectives
    by_hour: tuple[ProviderHealth, ...]
    """The last HOURS_SHOWN hours, and the one that runs."""
    by_day: tuple[ProviderHealth, ...]
    """The last DAYS_SHOWN days, in UTC, and the one that runs."""
    opened: tuple[Alarm, ...]
    closed: tuple[Alarm, ...]
    open: tuple[Alarm, ...]
    """All that are open now."""


@flow(name="watch-providers", persist_result=False)
async def watch_providers() -> dict[str, JsonValue]:
    """Look at the history of all providers, open and close alarms, and show both.

    Raises:
        AssayError: the database or the audit log is down.
    """
    settings = FlowSettings()
    seen = await asyncio.to_thread(_watch, settings)
    for alarm in (*seen.opened, *seen.closed):
        get_run_logger().warning("alarm %s: %s", "closed" if alarm.closed_ms else "opened", sentence(alarm))
        emit_event(
            event=f"assay.alarm.{'closed' if alarm.closed_ms else 'opened'}",
            resource={"prefect.resource.id": f"assay.alarm.{alarm.id}", "prefect.resource.name": alarm.subject},
            payload={"kind": alarm.kind, "severity": alarm.severity, "details": dict(alarm.details)},
        )
    await acreate_markdown_artifact(markdown(seen), key="providers", description=f"Open alarms: {len(seen.open)}")
    await acreate_table_artifact(rows(seen.by_hour), key="providers-by-hour", description="The last day")
    await acreate_table_artifact(rows(seen.by_day), key="providers-by-day", description="The last 30 days")
    return document(seen)


def _watch(settings: FlowSettings) -> Watch:
    objectives = Objectives(share=settings.provider_slo, slow_s=settings.provider_slow_s)
    with closing(open_database(settings.database_url)) as database, audit_notes(settings.home) as note:
        return watch(database, objectives, note)


def watch(database: Database, objectives: Objectives, note: Note, clock: Callable[[], float] = time.time) -> Watch:
    """Tidy the history, judge it, open and close alarms.

    Raises:
        DatabaseUnavailable: the database does not answer.
        LogUnavailable: the audit log cannot be written; the alarms stay as they are until the next look.
    """
    now_ms = int(clock() * 1000)
    compact_attempts(database, now_ms)
    minutes = read_attempts(database, window_start_ms(now_ms), now_ms + MINUTE_MS, MINUTE_MS)
    opened, closed = _settle(database, findings(minutes, objectives, now_ms), note, clock)
    hour, day = now_ms // HOUR_MS * HOUR_MS, now_ms // DAY_MS * DAY_MS
    hours = read_attempts(database, hour - HOURS_SHOWN * HOUR_MS, now_ms + MINUTE_MS, HOUR_MS)
    days = read_attempts(database, day - DAYS_SHOWN * DAY_MS, now_ms + MINUTE_MS, DAY_MS)
    return Watch(
        objectives=objectives,
        by_hour=health(hours, objectives),
        by_day=health(days, objectives),
        opened=opened,
        closed=closed,
        open=open_alarms(database, *KINDS),
    )


def _settle(
    database: Database, found: Sequence[Finding], note: Note, clock: Callable[[], float]
) -> tuple[tuple[Alarm, ...], tuple[Alarm, ...]]:
    """Open what starts and close what lasts no longer; who is not found at all had no traffic and is closed too."""
    lasting = {(each.kind, each.subject, each.severity) for each in found if each.lasts}
    over = [a for a in open_alarms(database, *KINDS) if (a.kind, a.subject, a.severity) not in lasting]
    closed = [close_alarm(database, alarm, note, clock) for alarm in over]
    opened = [
        open_alarm(
            database,
            kind=each.kind,
            subject=each.subject,
            severity=each.severity,
            details=each.details,
            note=note,
            clock=clock,
        )
        for each in found
        if each.starts
    ]
    return tuple(filter(None, opened)), tuple(filter(None, closed))


@contextmanager
def audit_notes(home: Path) -> Generator[Note]:
    """Writes to an audit log of this process, which is opened with the first entry: most looks have nothing to say."""
    with ExitStack() as opened:
        logs: list[AuditLog] = []

        def note(kind: str, body: Mapping[str, JsonValue]) -> None:
            if not logs:
                logs.append(opened.enter_context(AuditLog.open(home / "audit", "watch")))
            logs[0].note_now(kind, body)

        yield note


def sentence(alarm: Alarm) -> str:
    """An alarm for people."""
    about = alarm.details
    what = "fails" if alarm.kind == "provider-availability" else "is slow"
    return (
        f"{alarm.severity}: {alarm.subject} {what}, {about['burn_long']} times what is allowed, and "
        f"{about['burn_short']} times of late ({about['rule']}; {about['attempts']} attempts)"
    )


def rows(lines: Sequence[ProviderHealth]) -> list[dict[str, JsonValue]]:
    """One line for each provider and period, the newest first, for tables and machines."""
    return [_row(line) for line in sorted(lines, key=lambda line: -line.period_ms)]


def _row(line: ProviderHealth) -> dict[str, JsonValue]:
    return {
        "from": _time(line.period_ms),
        "provider": line.provider,
        "model": line.model,
        "attempts": line.attempts,
        "available": _share(line.available),
        "in_time": _share(line.in_time),
        "p50_s": line.p50_s,
        "p95_s": line.p95_s,
        "first_piece_p95_s": line.first_piece_p95_s,
        "usd_per_1k_tokens": line.usd_per_1k_tokens,
        "cancelled": line.cancelled,
        "failed": ", ".join(f"{kind} {count}" for kind, count in line.failed.items()),
    }


def document(seen: Watch) -> dict[str, JsonValue]:
    """The look for machines."""
    return {
        "objective": seen.objectives.share,
        "slow_s": seen.objectives.slow_s,
        "opened": [_alarm(alarm) for alarm in seen.opened],
        "closed": [_alarm(alarm) for alarm in seen.closed],
        "open": [_alarm(alarm) for alarm in seen.open],
        "by_hour": [*rows(seen.by_hour)],
        "by_day": [*rows(seen.by_day)],
    }


def _alarm(alarm: Alarm) -> dict[str, JsonValue]:
    return {
        "id": alarm.id,
        "kind": alarm.kind,
        "subject": alarm.subject,
        "severity": alarm.severity,
        "opened": _time(alarm.opened_ms),
        "details": dict(alarm.details),
    }


def markdown(seen: Watch) -> str:
    """The look for people, as Prefect shows it."""
    goal = f"{seen.objectives.share:.4g}"
    terms = (
        f"Objective: {goal} of the attempts answered, {goal} of the answers within {seen.objectives.slow_s:g} s. "
        f"Rules: {', '.join(map(str, RULES))}, looked at every {EVERY_MIN} minutes. A provider that keeps both raises "
        f"a false alarm in at most {FALSE_ALARMS:.0%} of all months."
    )
    lines = [
        f"## Open alarms: {len(seen.open)}" if seen.open else "## All providers keep their objectives",
        "",
        *(f"* since {_time(alarm.opened_ms)}, {sentence(alarm)}" for alarm in seen.open),
        "",
        terms,
        "",
        "| day | provider | attempts | answered | in time | p50 | p95 | p95 of first piece | USD per 1k tokens |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(seen.by_day):
        who = f"{row['provider']} {row['model']}"
        cells = [str(row["from"])[:10], who]
        cells += [
            "" if row[name] is None else str(row[name])
            for name in ("attempts", "available", "in_time", "p50_s", "p95_s", "first_piece_p95_s", "usd_per_1k_tokens")
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _share(share: Share | None) -> str | None:
    """A share with its 95 % interval."""
    return None if share is None else f"{share.value:.4f} ({share.low:.4f} to {share.high:.4f})"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
