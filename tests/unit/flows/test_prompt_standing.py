"""How prompts stand, at the command line: what serves under an alias and why, ended records, what is on its way."""

import time
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_mlflow import FakeMlflow
from prompt_commands import SHIPPED, doctor, evaluated, run, run_json, two_versions

from flows.cli.platform_checks import alarm_checks
from registry.alarms import open_alarm
from registry.database import Database
from registry.prompts.approvals import Word, record_word
from registry.prompts.candidates import remember_candidate
from registry.prompts.evidence import record_evidence
from registry.prompts.promoted import PromptHashes
from registry.prompts.schema import PromptTemplate, load_template
from registry.prompts.stored import TEXT_TAG
from registry.prompts.versions import PromotedVersion
from registry.schema import alarms
from serving.settings import ServingSettings


def place() -> tuple[Any, ...]:
    """Where `production` points, what serves and why that is something else, as the list tells machines."""
    (listed,) = run_json("list")
    (found,) = listed["places"]
    assert run_json("show", "insights/1")["places"] == [found]
    return found["points_to"], found["serves"], found["reason"]


def signed(database: Database, pushed: dict[str, Any], by: str, hours: float, at: float) -> None:
    """A signature for a waiver, as the API stores it."""
    template: PromptTemplate = load_template(SHIPPED)
    version = PromotedVersion(
        name="insights",
        version=pushed["version"],
        alias="",
        template=template,
        content_hash=pushed["content_hash"],
    )
    word = Word(kind="waiver", by=by, key=by, agrees=True, reason="now", hours=hours)
    record_word(database, version, word, clock=lambda: at)


def test_an_alias_that_is_followed_is_plain(mlflow: FakeMlflow, database_url: str) -> None:
    """Where it points is what serves."""
    evaluated(database_url, run_json("push", SHIPPED))
    assert place() == (None, None, None)
    run("promote", "insights", 1)
    assert place() == (1, 1, None)
    assert "alias 'production' of use case 'insights' points at insights/1, which serves" in run("show", "insights")
    assert "production → 1 " in run("list")


def test_an_unproven_version_under_the_alias_is_marked(mlflow: FakeMlflow, database_url: str, tmp_path: Path) -> None:
    """Whoever looks reads where the alias points, what serves instead, and why."""
    two_versions(database_url, tmp_path)
    mlflow.point("insights", "production", 3)
    assert place() == (3, 2, "unproven")
    assert "production → 3, but 2 serves (unproven)" in run("list")
    shown = " ".join(run("show", "insights@production").split())
    assert "points at insights/3: no valid promotion record lets its content serve; insights/2, let through" in shown
    assert "insights/2, let through before, serves; run `assay prompts promote insights 3`" in doctor()[0]


def test_an_alias_that_is_gone_or_unusable_says_why(mlflow: FakeMlflow, database_url: str, tmp_path: Path) -> None:
    """Each reason of the alarm has its words here, too."""
    two_versions(database_url, tmp_path)
    mlflow.point("insights", "production", None)
    assert place() == (None, 2, "no-alias")
    assert "production → nothing, but 2 serves (no-alias)" in run("list")
    mlflow.point("insights", "production", 3)
    mlflow.set_tag("insights", 3, TEXT_TAG, "[")
    mlflow.set_tag("insights", 3, "_mlflow_prompt_type", "chat")
    assert place() == (3, 2, "unreadable")


def test_a_version_that_was_rewritten_is_told_as_such(mlflow: FakeMlflow, database_url: str, tmp_path: Path) -> None:
    """The number is that of what serves, and its text is not."""
    two_versions(database_url, tmp_path)
    mlflow.set_tag("insights", 2, TEXT_TAG, "Answer {{question}} from {{passages}}.")
    mlflow.set_tag("insights", 2, "_mlflow_prompt_type", "text")
    assert place() == (2, 2, "tampered")


def test_looking_remembers_nothing(mlflow: FakeMlflow, database_url: str, database: Database) -> None:
    """A version is first seen by who evaluates, promotes or serves it, not by who lists it."""
    pushed = run_json("push", SHIPPED)
    mlflow.point("insights", "production", 1)
    assert place() == (1, None, "unproven")
    version = PromotedVersion(
        name="insights", version=1, alias="", template=load_template(SHIPPED), content_hash=pushed["content_hash"]
    )
    assert PromptHashes(database).known(version) is None


def test_every_record_says_what_became_of_it(mlflow: FakeMlflow, database_url: str, tmp_path: Path) -> None:
    """What serves, what a rollback would find, what was replaced, and what is over, with its end."""
    two_versions(database_url, tmp_path)
    assert [each["state"] for each in run_json("show", "insights/2")["records"]] == ["serves"]
    assert [each["state"] for each in run_json("show", "insights/1")["records"]] == ["may serve"]
    run("rollback", "insights")
    assert [each["state"] for each in run_json("show", "insights/1")["records"]] == ["serves", "replaced"]
    run("revoke", "insights", 2, "--reason", "rude")
    shown = run_json("show", "insights/2")
    assert shown["records"] == []
    (ended,) = shown["ended_records"]
    assert (ended["state"], ended["ended_at"] is not None) == ("revoked", True)
    assert "revoked" in run("show", "insights/2")


def test_a_waiver_that_is_over_is_told(mlflow: FakeMlflow, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record has ended, its signatures too, and the alias is not followed any more."""
    pushed = run_json("push", SHIPPED)
    for by in ("ada", "bob"):
        signed(database, pushed, by, 1, time.time())
    run("promote", "insights", 1)
    assert place() == (1, 1, None)
    later = time.time() + 3_700
    monkeypatch.setattr(time, "time", lambda: later)
    shown = run_json("show", "insights/1")
    assert [each["state"] for each in shown["ended_records"]] == ["ended"]
    assert place() == (1, None, "unproven")
    assert "(over)" in run("show", "insights/1")


def test_a_refusal_tells_what_is_there_so_far(
    mlflow: FakeMlflow, database: Database, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One signature of two, approvals, and since when an evaluation is awaited; with its verdict that is over."""
    pushed = run_json("push", SHIPPED)
    assert run_json("promote", "insights", 1, code=1)["under_way"] == []
    signed(database, pushed, "bob", 999, 1_900_000_000)
    remember_candidate(database, "insights", 1, lambda: 1_900_000_000)
    signature, evaluation = run_json("promote", "insights", 1, code=1)["under_way"]
    assert signature.startswith("1 of 2 signatures for a waiver: 'bob' until 2030-03-18 17:46 UTC; somebody else")
    assert evaluation.startswith("an evaluation with extractive extractive-1 was asked for at 2030-03-17 17:46 UTC")
    record_evidence(
        database,
        kind="evaluation",
        prompt_name="insights",
        prompt_version=1,
        content_hash=pushed["content_hash"],
        provider="extractive",
        model="extractive-1",
        verdict="UNDERPOWERED",
        details={},
        clock=lambda: 1_900_000_060,
    )
    assert len(run_json("promote", "insights", 1, code=1)["under_way"]) == 1


def test_doctor_names_every_open_alarm(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has failed, a ticket warns, and a flood of them is cut with its count; pages come first."""
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    assert [check.message for check in alarm_checks(ServingSettings())] == ["none is open"]
    open_alarm(
        database,
        kind="prompt-unproven",
        subject="insights@production",
        severity="page",
        details={"reason": "unproven", "version": 3, "content_hash": "x", "serving": 2},
        note=lambda _kind, _body: None,
        clock=lambda: 1_700_000_000,
    )
    (check,) = alarm_checks(ServingSettings())
    assert (check.name, check.state) == ("alarm prompt-unproven", "failed")
    assert check.message == (
        "insights@production since 2023-11-14T22:13:20Z: the alias points at version 3 (unproven); version 2 serves"
    )
    for number in range(30):
        open_alarm(
            database,
            kind="provider-slow",
            subject=f"p{number}",
            severity="ticket",
            details={"share": 0.5},
            note=lambda _kind, _body: None,
        )
    checks = alarm_checks(ServingSettings())
    assert (len(checks), checks[0].state, checks[-1].message) == (21, "failed", "and 11 more are open")
    assert (checks[1].state, checks[1].message.endswith("share 0.5")) == ("warning", True)


def test_a_policy_that_cannot_be_read_has_failed(
    mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing can be promoted while it stands so; doctor names the file."""
    (tmp_path / "insights.yaml").write_text("requires: [\n")
    monkeypatch.setenv("ASSAY_POLICIES", str(tmp_path))
    (told,) = doctor()
    assert told.startswith("failed: ")
    assert "insights.yaml" in told


def test_doctor_goes_on_without_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows the alarms then, and that is a line of its own."""
    monkeypatch.setenv("ASSAY_DATABASE_URL", "sqlite:////nowhere/registry.db")
    (check,) = alarm_checks(ServingSettings())
    assert (check.name, check.state) == ("alarms", "warning")


def test_an_alarm_that_somebody_edited_is_still_one(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it rests on cannot be read any more; that it is open can."""
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    open_alarm(database, kind="k", subject="s", severity="page", details={}, note=lambda _kind, _body: None)
    for text in ("{", "[]", "[" * 100_000):
        with database.write() as connection:
            connection.execute(alarms.update().values(details=text))
        (check,) = alarm_checks(ServingSettings())
        assert (check.name, check.state) == ("alarm k", "failed")


def test_doctor_names_a_candidate_without_its_verdict(
    mlflow: FakeMlflow, database: Database, database_url: str, tmp_path: Path
) -> None:
    """An evaluation that was asked for half an hour ago and told nothing yet is a warning; a younger one is none."""
    two_versions(database_url, tmp_path)
    mlflow.point("insights", "candidate", 3)
    for ago_s, told in ((1_700, 0), (1_900, 1)):
        remember_candidate(database, "insights", 3, lambda ago_s=ago_s: time.time() - ago_s)
        assert sum("was asked for at" in line and line.startswith("warning: ") for line in doctor()) == told
