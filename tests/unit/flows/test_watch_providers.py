"""One look at the providers: alarms open and close by themselves, and people see why."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.fake_clock import FakeClock

from flows.schedule import DEPLOYMENTS
from flows.settings import FlowSettings
from flows.watch_providers import Watch, audit_notes, document, markdown, summary, table, watch
from monitoring.burn_rate import EVERY_MIN
from monitoring.provider_health import Objectives
from registry.alarms import open_alarms
from registry.database import Database
from registry.errors import JsonValue
from registry.rollups import HOUR_MS, MINUTE_MS, MINUTES_KEPT_MS, AttemptSum, add_attempts, read_attempts

OBJECTIVES = Objectives(share=0.99, slow_s=10)


@dataclass
class Platform:
    """A registry whose clock the test moves, and the audit entries of the looks."""

    database: Database
    clock: FakeClock
    noted: list[str] = field(default_factory=list[str])

    def live(self, minutes: int, outcome: str) -> None:
        """Let the clock run, with ten attempts a minute that all end like this."""
        for _ in range(minutes):
            self.clock.now += 60
            row = AttemptSum(
                provider="anthropic",
                model="claude",
                period_ms=int(self.clock.now * 1000) // MINUTE_MS * MINUTE_MS,
                outcome=outcome,
                streamed=False,
                bucket=3,
                attempts=10,
                tokens=1_000,
                cost_nano_usd=2_000_000,
            )
            add_attempts(self.database, [row])

    def look(self) -> Watch:
        """What the flow does."""
        return watch(self.database, OBJECTIVES, self.note, self.clock)

    def note(self, kind: str, body: Mapping[str, JsonValue]) -> None:
        """Stands in for the audit log."""
        self.noted.append(f"{kind} {body['kind']} {body['severity']}")


@pytest.fixture
def platform(database: Database, clock: FakeClock) -> Platform:
    """Two good hours."""
    platform = Platform(database, clock)
    platform.live(120, "answered")
    return platform


def test_good_hours_open_nothing(platform: Platform) -> None:
    """A look at a healthy provider writes no alarm and no audit entry, and shows it."""
    seen = platform.look()
    assert (seen.opened, seen.closed, seen.open, platform.noted) == ((), (), (), [])
    assert "## No open alarms" in markdown(seen)


def test_an_outage_opens_one_alarm_that_closes_when_it_is_over(platform: Platform) -> None:
    """However often one looks, an outage is one page, and its end is one closing; both are audited."""
    opened = closed = 0
    for outcome, looks in (("Overloaded", 4), ("answered", 30)):
        for _ in range(looks):
            platform.live(EVERY_MIN, outcome)
            seen = platform.look()
            opened += sum(alarm.severity == "page" for alarm in seen.opened)
            closed += sum(alarm.severity == "page" for alarm in seen.closed)
            for alarm in seen.opened:
                assert alarm in seen.open
    assert (opened, closed) == (1, 1)
    pages = [note for note in platform.noted if note.endswith("page")]
    assert pages == ["alarm.opened provider-availability page", "alarm.closed provider-availability page"]


def test_an_alarm_about_a_provider_that_is_gone_is_closed(platform: Platform) -> None:
    """A provider that was taken out of the chain leaves no alarm behind for ever."""
    platform.live(30, "Overloaded")
    assert platform.look().open
    platform.clock.now += 4 * 24 * 3600
    seen = platform.look()
    assert (seen.open, open_alarms(platform.database)) == ((), ())


def test_people_see_what_an_alarm_rests_on(platform: Platform) -> None:
    """The page names provider, rule, burn rates, days, money and the error rate of the alarms."""
    platform.live(30, "Overloaded")
    text = markdown(platform.look())
    assert "page: anthropic/claude fails, " in text
    assert "14.4x in 1 h and 5 min" in text
    assert "false alarm in at most 1% of all months" in text
    assert "| anthropic claude | 1500 | ▼ 0.8000 (0.7790 to 0.8195) | 1.0000 (" in text
    assert "| 0.002000000 |" in text


def test_what_is_below_its_objective_is_marked_without_an_alarm(platform: Platform) -> None:
    """No open alarm is not called a kept objective: page, tables and the run's log mark the share."""
    platform.live(2, "Overloaded")
    seen = platform.look()
    assert seen.open == ()
    text = markdown(seen)
    assert "## No open alarms" in text
    assert "keep their objectives" not in text
    assert "| ▼ 0.9836 (" in text
    assert [row["answered"] for row in table(seen.by_day, OBJECTIVES)] == ["▼ 0.9836"]
    counts, figures = summary(seen)
    assert counts == "open alarms: 0; opened now: 0; closed now: 0"
    assert "anthropic claude" in figures
    assert "1220 attempts, answered ▼ 0.9836 (" in figures


def test_a_look_at_nothing_says_so(database: Database, clock: FakeClock) -> None:
    """The log of a run without any traffic is not silent."""
    assert summary(Platform(database, clock).look())[-1] == "no provider was asked"


def test_machines_get_all_of_it(platform: Platform) -> None:
    """The document is JSON, hours add up to the day, newest first."""
    platform.live(30, "Overloaded")
    told = json.loads(json.dumps(document(platform.look())))
    assert {alarm["subject"] for alarm in told["opened"]} == {"anthropic/claude"}
    assert sum(row["attempts"] for row in told["by_hour"]) == sum(row["attempts"] for row in told["by_day"]) == 1500
    assert [row["from"] for row in told["by_hour"]] == sorted((row["from"] for row in told["by_hour"]), reverse=True)


def test_a_look_tidies_the_history(platform: Platform) -> None:
    """Old minutes become hours, so that the table stays small."""
    platform.clock.now += MINUTES_KEPT_MS / 1000 + 3 * 3600
    platform.look()
    kept = read_attempts(platform.database, 0, int(platform.clock.now * 1000), MINUTE_MS)
    assert {row.period_ms % HOUR_MS for row in kept} == {0}
    assert sum(row.attempts for row in kept) == 1200


def test_a_look_without_news_opens_no_audit_log(tmp_path: Path) -> None:
    """288 looks a day leave no trace unless there is something to say."""
    with audit_notes(tmp_path):
        pass
    assert not (tmp_path / "audit").exists()
    with audit_notes(tmp_path) as note:
        note("alarm.opened", {"alarm": "1"})
        note("alarm.closed", {"alarm": "1"})
    (log,) = (tmp_path / "audit").glob("watch-*.jsonl")
    assert [
        kind for line in log.read_text().splitlines() if (kind := json.loads(line)["kind"]).startswith("alarm")
    ] == [
        "alarm.opened",
        "alarm.closed",
    ]


def test_the_flow_runs_as_often_as_its_error_rate_says() -> None:
    """The stated rate of false alarms is spent on looks that far apart."""
    (wanted,) = [each for each in DEPLOYMENTS if each.name == "watch-providers"]
    assert wanted.every == timedelta(minutes=EVERY_MIN)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ASSAY_PROVIDER_SLO", "1"), ("ASSAY_PROVIDER_SLO", "0.5"), ("ASSAY_PROVIDER_SLOW_S", "0")],
)
def test_objectives_that_nobody_can_watch_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that may never fail, or may always, has no budget to burn."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        FlowSettings()
