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
from monitoring.intervals import Estimate
from monitoring.provider_health import (
    KINDS,
    Finding,
    Objectives,
    ProviderHealth,
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
BELOW = "▼"
"""Marks a share below its objective."""
_LEGEND = f"{BELOW} marks what is below the objective"
_BESIDE = ("p95_s", "p50_s", "first_piece_p95_s", "usd_per_1k_tokens", "cancelled", "available", "in_time")
"""Columns of the tables that may be cut off."""


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
    for line in summary(seen):
        get_run_logger().info(line)
    for alarm in (*seen.opened, *seen.closed):
        get_run_logger().warning("alarm %s: %s", "closed" if alarm.closed_ms else "opened", sentence(alarm))
        emit_event(
            event=f"assay.alarm.{'closed' if alarm.closed_ms else 'opened'}",
            resource={"prefect.resource.id": f"assay.alarm.{alarm.id}", "prefect.resource.name": alarm.subject},
            payload={"kind": alarm.kind, "severity": alarm.severity, "details": dict(alarm.details)},
        )
    await acreate_markdown_artifact(markdown(seen), key="providers", description=f"Open alarms: {len(seen.open)}")
    hours, days = (table(lines, seen.objectives) for lines in (seen.by_hour, seen.by_day))
    await acreate_table_artifact(hours, key="providers-by-hour", description=f"The last day; {_LEGEND}")
    await acreate_table_artifact(days, key="providers-by-day", description=f"The last 30 days; {_LEGEND}")
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
    """One line for each provider and period, the newest first, for machines."""
    return [_row(line) for line in _newest_first(lines)]


def table(lines: Sequence[ProviderHealth], objectives: Objectives) -> list[dict[str, JsonValue]]:
    """The same for people: what matters stands left, because Prefect's page cuts wide tables off."""
    return [
        {
            "from": _time(line.period_ms)[:16].replace("T", " "),
            "provider": f"{line.provider} {line.model}",
            "attempts": line.attempts,
            "answered": _marked(line.available, objectives, interval=False),
            "in time": _marked(line.in_time, objectives, interval=False),
            "failed": row["failed"],
            **{name: row[name] for name in _BESIDE},
        }
        for line, row in zip(_newest_first(lines), rows(lines), strict=True)
    ]


def _newest_first(lines: Sequence[ProviderHealth]) -> list[ProviderHealth]:
    return sorted(lines, key=lambda line: -line.period_ms)


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


def summary(seen: Watch) -> list[str]:
    """What the look found, for the log of the flow run: the alarms, and today's figures of each provider."""
    today = max((line.period_ms for line in seen.by_day), default=0)
    figures = [
        f"{line.provider} {line.model}, {_time(today)[:10]}: {line.attempts} attempts, "
        f"answered {_marked(line.available, seen.objectives)}, in time {_marked(line.in_time, seen.objectives)}"
        for line in seen.by_day
        if line.period_ms == today
    ]
    counts = f"open alarms: {len(seen.open)}; opened now: {len(seen.opened)}; closed now: {len(seen.closed)}"
    return [counts, *(figures or ["no provider was asked"])]


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
        f"## Open alarms: {len(seen.open)}" if seen.open else "## No open alarms",
        "",
        *(f"* since {_time(alarm.opened_ms)}, {sentence(alarm)}" for alarm in seen.open),
        "",
        terms,
        "",
        f"{_LEGEND}. An alarm wants more: a rule's burn rate in both of its windows, beyond chance.",
        "",
        "| day | provider | attempts | answered | in time |",
        "|---|---|---|---|---|",
    ]
    days = [
        (line, f"{_time(line.period_ms)[:10]} | {line.provider} {line.model}") for line in _newest_first(seen.by_day)
    ]
    for line, who in days:
        shares = [_marked(share, seen.objectives) or "" for share in (line.available, line.in_time)]
        lines.append(f"| {who} | {line.attempts} | {' | '.join(shares)} |")
    lines += [
        "",
        "| day | provider | p50 s | p95 s | first piece p95 s | USD per 1k tokens |",
        "|---|---|---|---|---|---|",
    ]
    for line, who in days:
        cells = (line.p50_s, line.p95_s, line.first_piece_p95_s, line.usd_per_1k_tokens)
        lines.append(f"| {who} | {' | '.join('' if cell is None else str(cell) for cell in cells)} |")
    return "\n".join(lines)


def _marked(share: Estimate | None, objectives: Objectives, *, interval: bool = True) -> str | None:
    """A share, marked when it is below the objective."""
    if share is None:
        return None
    shown = _share(share) if interval else f"{share.value:.4f}"
    return f"{BELOW} {shown}" if share.value < objectives.share else shown


def _share(share: Estimate | None) -> str | None:
    """A share with its 95 % interval."""
    return None if share is None else f"{share.value:.4f} ({share.low:.4f} to {share.high:.4f})"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
