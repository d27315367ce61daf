"""`assay prompts performance`, and what the flow `watch-prompts` shows: versions in use, for machines and people."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fakes.fake_clock import FakeClock
from recorded_calls import NOON, RecordedCalls
from typer.testing import CliRunner

from flows.cli.prompts import app
from flows.prompt_report import VersionReport, document, look, markdown, quality, quality_of
from flows.schedule import DEPLOYMENTS
from flows.watch_prompts import metrics, table
from registry.database import Database
from registry.errors import InvalidInput, JsonValue
from registry.feedback import Feedback
from registry.insights import Claim
from registry.prompts.evidence import Evidence
from registry.tenants import Tenants

CLAIM = Claim(text="a", grounded=True)


@pytest.fixture
def calls(database: Database) -> RecordedCalls:
    """Two versions that were called on two days, one of them with feedback."""
    Tenants(database).create("acme", "Acme")
    calls = RecordedCalls(database)
    for hour in range(4):
        calls.add(version=1, created_at=NOON - timedelta(days=1, hours=hour))
        rated = calls.add(version=2, created_at=NOON - timedelta(hours=hour), claims=[CLAIM])
        calls.feedback.give(rated, "acme", Feedback(rating=5 - hour % 2, accepted=True), lambda _body: None)
    return calls


@pytest.fixture
def reports(database: Database, calls: RecordedCalls, clock: FakeClock) -> tuple[VersionReport, ...]:
    """What a look at noon finds."""
    assert calls.made == 8
    clock.now = NOON.timestamp()
    return look(database, "insights", clock=clock)


def invoke(*arguments: str, code: int = 0) -> str:
    """Run a command and give its standard output."""
    result = CliRunner().invoke(app, ["performance", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch, database_url: str, reports: tuple[VersionReport, ...]) -> None:
    """The command, looking at noon of that day."""
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)

    def at_noon(*_: object) -> tuple[VersionReport, ...]:
        return reports

    monkeypatch.setattr("flows.prompt_report.look", at_noon)


def test_versions_stand_beside_each_other_with_their_days(reports: tuple[VersionReport, ...]) -> None:
    """The newest version first; the days of each add up to its calls."""
    assert [(each.whole.version, each.whole.calls, len(each.days)) for each in reports] == [(2, 4, 1), (1, 4, 1)]


def test_a_look_goes_back_whole_days(database: Database, calls: RecordedCalls, clock: FakeClock) -> None:
    """One day is today since midnight; two are yesterday as well."""
    clock.now = NOON.timestamp()
    assert calls.made
    assert [each.whole.version for each in look(database, "insights", 1, clock)] == [2]
    assert [each.whole.version for each in look(database, None, 2, clock)] == [2, 1]


def test_machines_get_every_figure_with_its_limits(reports: tuple[VersionReport, ...]) -> None:
    """The document is plain JSON: a limit that the data do not set is null, a figure without data is absent."""
    new, old = json.loads(json.dumps(document(reports), allow_nan=False))
    assert new["figures"]["rating"]["value"] == 4.5
    assert new["figures"]["grounded"]["value"] == 1
    assert new["figures"]["latency_p95_s"] == {"value": 0.1, "low": 0.1, "high": None, "n": 4}
    assert "rating" not in old["figures"]
    assert [day["day"] for day in old["days"]] == ["2026-11-22"]


def test_people_read_figures_intervals_and_terms(reports: tuple[VersionReport, ...]) -> None:
    """The page says what a figure is taken over, and that evaluations are left out."""
    text = markdown(reports)
    assert "tenants paid for" in text
    assert "| grounded | share of claims | 0.5 |" in text
    assert "### insights/2: 4 calls since 2026-11-23" in text
    assert "No prompt version was called." in markdown([])


def test_mlflow_gets_numbers_only(reports: tuple[VersionReport, ...]) -> None:
    """Limits that the data do not set are left out: MLflow would show them as a point at infinity."""
    found = metrics(reports[0].days[0])
    assert (found["calls"], found["rating"], found["latency_p95_s"]) == (4, 4.5, 0.1)
    assert "latency_p95_s_high" not in found
    assert {"rating_low", "rating_high", "grounded_low"} <= set(found)


def test_the_table_has_a_line_for_each_version_and_day(reports: tuple[VersionReport, ...]) -> None:
    """The newest day first."""
    assert [(row["day"], row["version"]) for row in table(reports)] == [("2026-11-23", 2), ("2026-11-22", 1)]


@pytest.mark.usefixtures("today")
def test_the_command_compares_versions() -> None:
    """Versions are columns, figures are rows; one figure goes day by day."""
    printed = invoke("insights")
    for word in ("version 2", "version 1", "grounded", "0.5 (", "2026-11-22"):
        assert word in printed
    days = invoke("insights", "--figure", "rating")
    assert "4.5 (" in days
    assert "latency" not in days


@pytest.mark.usefixtures("today")
def test_the_command_gives_machines_one_document() -> None:
    """Everything that was found, in one JSON document."""
    told: dict[str, Any] = json.loads(invoke("insights", "--json"))
    assert (told["prompt"], told["days"]) == ("insights", 30)
    assert [version["version"] for version in told["versions"]] == [2, 1]


def test_a_prompt_nobody_called_is_no_error(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """It has no versions in use, and the command says so."""
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    assert json.loads(invoke("insights", "--json"))["versions"] == []
    assert "none" in invoke("insights")


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(["insights", "--figure", "beauty"], "grounded"), (["No Prompt"], "no prompt name")]
)
def test_what_there_is_not_is_said(arguments: list[str], sentence: str) -> None:
    """An unknown figure names those there are; a name that cannot be one is refused."""
    with pytest.raises(InvalidInput, match=sentence):
        invoke(*arguments)


def evaluation(details: Mapping[str, JsonValue]) -> Evidence:
    """An evaluation as it was stored."""
    return Evidence(
        id="e",
        kind="evaluation",
        prompt_name="insights",
        prompt_version=1,
        content_hash="c",
        provider="openai",
        model="m",
        verdict="PASS",
        details=details,
        run_id=None,
        dataset=None,
        created_ms=0,
    )


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"metrics": {"answer_right": 0.9}, "intervals": {"answer_right": [0.8, 0.95, 60]}}, (0.9, 0.8, 60)),
        ({"metrics": {"answer_right": 0.9}}, (0.9, float("-inf"), 0)),
        ({"metrics": {"answer_right": 0.9}, "questions": 85}, (0.9, float("-inf"), 85)),
        ({"metrics": {"mrr": 0.9}}, None),
        ({"metrics": "rubbish"}, None),
    ],
)
def test_the_quality_of_an_evaluation(
    details: Mapping[str, JsonValue], expected: tuple[float, float, int] | None
) -> None:
    """Its share of right answers with the interval that it stored; older evidence stored none."""
    found = quality_of(evaluation(details))
    assert (found and (found.value, found.low, found.n)) == expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"metrics": {"answer_right": 0.9}, "intervals": {"answer_right": [0.8, 0.95, 60]}}, ", n 60"),
        ({"metrics": {"answer_right": 0.9}, "questions": 85}, "answer_right 0.9, n 85"),
        ({"metrics": {"answer_right": 0.9}}, "answer_right 0.9"),
    ],
)
def test_an_evaluation_says_how_many_questions_it_rests_on(
    reports: tuple[VersionReport, ...], details: Mapping[str, JsonValue], expected: str
) -> None:
    """A share of right answers without its n could be one of three; what was not recorded is left out."""
    shown = quality(replace(reports[0], evaluations=(evaluation(details),)))
    assert shown.startswith("PASS with openai m, answer_right 0.9")
    assert shown.endswith(expected)


def test_the_look_is_scheduled_each_hour() -> None:
    """Nobody has to start it."""
    (wanted,) = [each for each in DEPLOYMENTS if each.name == "watch-prompts"]
    assert wanted.every == timedelta(hours=1)
