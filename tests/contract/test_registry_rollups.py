"""What the record of attempts at providers and of alarms promises, on SQLite and on PostgreSQL alike."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fakes.fake_clock import FakeClock

from registry.alarms import Alarm, close_alarm, open_alarm, open_alarms
from registry.audit.log import LogUnavailable
from registry.database import Database
from registry.errors import JsonValue
from registry.rollups import (
    DAY_MS,
    HOUR_MS,
    HOURS_KEPT_MS,
    MINUTE_MS,
    MINUTES_KEPT_MS,
    AttemptSum,
    add_attempts,
    compact_attempts,
    read_attempts,
)

pytestmark = pytest.mark.contract

NOW_MS = 20_000 * DAY_MS
"""Midnight of some day."""
ANSWERED = AttemptSum(
    provider="openai",
    model="gpt",
    period_ms=NOW_MS,
    outcome="answered",
    streamed=False,
    bucket=3,
    attempts=2,
    tokens=30,
    cost_nano_usd=5_000_000_000_000,
)


def at(period_ms: int) -> AttemptSum:
    """Two answers of another minute."""
    return replace(ANSWERED, period_ms=period_ms)


class TestAttempts:
    """registry.rollups."""

    def test_what_is_added_twice_is_summed(self, registry: Database) -> None:
        """Attempts of one minute that ended alike stand in one row, money beyond 32 bits included."""
        add_attempts(registry, [ANSWERED])
        add_attempts(registry, [replace(ANSWERED, attempts=3, tokens=1, cost_nano_usd=1), at(NOW_MS + MINUTE_MS)])
        first, second = read_attempts(registry, NOW_MS, NOW_MS + DAY_MS, MINUTE_MS)
        assert first == replace(ANSWERED, attempts=5, tokens=31, cost_nano_usd=5_000_000_000_001)
        assert second == at(NOW_MS + MINUTE_MS)

    @pytest.mark.parametrize(
        "other",
        [
            {"provider": "local"},
            {"model": "gpt-2"},
            {"outcome": "TimedOut"},
            {"streamed": True},
            {"bucket": -7},
        ],
    )
    def test_what_differs_stands_alone(self, registry: Database, other: Mapping[str, str | int | bool]) -> None:
        """Another provider, model, end or duration is another row."""
        unlike = replace(ANSWERED, **other)
        add_attempts(registry, [ANSWERED, unlike])
        assert set(read_attempts(registry, NOW_MS, NOW_MS + 1, MINUTE_MS)) == {ANSWERED, unlike}

    def test_nothing_to_add_is_fine(self, registry: Database) -> None:
        """Adding no sums leaves no rows."""
        add_attempts(registry, [])
        assert read_attempts(registry, 0, NOW_MS * 2, MINUTE_MS) == ()

    def test_processes_that_add_at_once_lose_nothing(self, registry: Database) -> None:
        """Eight writers add the same two rows, each in another order."""

        def add(number: int) -> None:
            rows = [ANSWERED, at(NOW_MS + MINUTE_MS)]
            for _ in range(10):
                add_attempts(registry, rows if number % 2 else rows[::-1])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, range(8)))
        assert [row.attempts for row in read_attempts(registry, 0, NOW_MS * 2, MINUTE_MS)] == [160, 160]

    def test_hours_and_days_are_sums_of_minutes(self, registry: Database) -> None:
        """Read by the hour or the day, minutes within it are one row; the end is excluded."""
        minutes = [NOW_MS, NOW_MS + 59 * MINUTE_MS, NOW_MS + HOUR_MS, NOW_MS + DAY_MS]
        add_attempts(registry, [at(minute) for minute in minutes])
        hours = read_attempts(registry, NOW_MS, NOW_MS + DAY_MS, HOUR_MS)
        assert [(row.period_ms - NOW_MS, row.attempts) for row in hours] == [(0, 4), (HOUR_MS, 2)]
        days = read_attempts(registry, NOW_MS, NOW_MS + DAY_MS, DAY_MS)
        assert [(row.period_ms - NOW_MS, row.attempts) for row in days] == [(0, 6)]

    def test_old_minutes_become_hours(self, registry: Database) -> None:
        """Minutes older than a week and a day are summed into their hour, once, however often; newer ones stay."""
        old = NOW_MS - MINUTES_KEPT_MS - HOUR_MS
        minutes = [old, old + MINUTE_MS, old + 59 * MINUTE_MS, NOW_MS - MINUTES_KEPT_MS + MINUTE_MS]
        add_attempts(registry, [at(minute) for minute in minutes])
        for _ in range(2):
            compact_attempts(registry, NOW_MS)
        rows = read_attempts(registry, 0, NOW_MS, MINUTE_MS)
        assert [(row.period_ms, row.attempts) for row in rows] == [(old, 6), (minutes[3], 2)]

    def test_late_minutes_join_their_hour(self, registry: Database) -> None:
        """What a process adds after its hour was made is not lost."""
        old = NOW_MS - MINUTES_KEPT_MS - HOUR_MS
        for _ in range(2):
            add_attempts(registry, [at(old + MINUTE_MS)])
            compact_attempts(registry, NOW_MS)
        assert [row.attempts for row in read_attempts(registry, 0, NOW_MS, MINUTE_MS)] == [4]

    def test_what_is_older_than_a_year_is_deleted(self, registry: Database) -> None:
        """The table does not grow for ever."""
        add_attempts(registry, [at(NOW_MS - HOURS_KEPT_MS - HOUR_MS)])
        compact_attempts(registry, NOW_MS)
        assert read_attempts(registry, 0, NOW_MS, MINUTE_MS) == ()


class TestAlarms:
    """registry.alarms."""

    @pytest.fixture
    def noted(self) -> list[str]:
        """Kinds of the audit entries that were written."""
        return []

    def raised(self, registry: Database, noted: list[str], clock: FakeClock, severity: str = "page") -> Alarm | None:
        """Open an alarm about one provider."""

        def note(kind: str, body: Mapping[str, JsonValue]) -> None:
            noted.append(f"{kind} {body['subject']} {body['severity']}")

        return open_alarm(
            registry,
            kind="provider-availability",
            subject="openai/gpt",
            severity="page" if severity == "page" else "ticket",
            details={"burn": 20.5, "failed": {"TimedOut": 3}},
            note=note,
            clock=clock,
        )

    def test_an_open_alarm_is_listed_as_it_was_opened(
        self, registry: Database, noted: list[str], clock: FakeClock
    ) -> None:
        """Details and time come back, and the audit log has it."""
        alarm = self.raised(registry, noted, clock)
        assert open_alarms(registry) == (alarm,) == open_alarms(registry, "provider-availability")
        assert open_alarms(registry, "drift") == ()
        assert noted == ["alarm.opened openai/gpt page"]

    def test_one_thing_has_one_open_alarm(self, registry: Database, noted: list[str], clock: FakeClock) -> None:
        """A second finding opens nothing and notes nothing; another severity is another alarm."""
        assert self.raised(registry, noted, clock) is not None
        assert self.raised(registry, noted, clock) is None
        assert self.raised(registry, noted, clock, "ticket") is not None
        assert noted == ["alarm.opened openai/gpt page", "alarm.opened openai/gpt ticket"]

    def test_two_watchers_open_one_alarm(self, registry: Database, noted: list[str], clock: FakeClock) -> None:
        """Of eight processes that find the same at once, one opens the alarm."""

        def watch(_: int) -> Alarm | None:
            return self.raised(registry, noted, clock)

        with ThreadPoolExecutor(8) as pool:
            opened = list(pool.map(watch, range(8)))
        assert sum(alarm is not None for alarm in opened) == len(open_alarms(registry)) == len(noted) == 1

    def test_a_closed_alarm_may_open_again(self, registry: Database, noted: list[str], clock: FakeClock) -> None:
        """Closing is noted once, and the next finding is a new alarm."""
        first = self.raised(registry, noted, clock)
        assert first is not None
        clock.now += 60

        def note(kind: str, body: Mapping[str, JsonValue]) -> None:
            noted.append(kind)

        closed = close_alarm(registry, first, note, clock)
        assert closed == replace(first, closed_ms=first.opened_ms + 60_000)
        assert close_alarm(registry, first, note, clock) is None
        assert open_alarms(registry) == ()
        again = self.raised(registry, noted, clock)
        assert again is not None
        assert again.id != first.id
        assert noted == ["alarm.opened openai/gpt page", "alarm.closed", "alarm.opened openai/gpt page"]

    def test_no_alarm_without_its_audit_entry(self, registry: Database, noted: list[str], clock: FakeClock) -> None:
        """When the log cannot be written, nothing opens and nothing closes."""

        def full(_kind: str, _body: Mapping[str, JsonValue]) -> None:
            raise LogUnavailable("the disk is full")

        alarm = self.raised(registry, noted, clock)
        assert alarm is not None
        with pytest.raises(LogUnavailable):
            close_alarm(registry, alarm, full)
        with pytest.raises(LogUnavailable):
            open_alarm(registry, kind="drift", subject="x", severity="page", details={}, note=full)
        assert open_alarms(registry) == (alarm,)
