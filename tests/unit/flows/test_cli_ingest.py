"""`assay ingest`: the report for people and machines, and the exit code."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import ingest as command
from flows.cli.main import app

REPORT: dict[str, Any] = {
    "tenant": "acme",
    "added": 2,
    "updated": 0,
    "unchanged": 1,
    "removed": 0,
    "passages": 9,
    "skipped": [],
    "failed": [],
}


def run(monkeypatch: pytest.MonkeyPatch, report: dict[str, Any], *options: str) -> Any:
    """The command over an ingest that returns this report."""

    async def fake_ingest(*_: Any) -> dict[str, Any]:
        return report

    monkeypatch.setattr(command, "_ingest", fake_ingest)
    return CliRunner().invoke(app, ["ingest", "docs", "--tenant", "acme", *options])


def test_a_clean_ingest_exits_0_with_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is the report and nothing else."""
    result = run(monkeypatch, REPORT, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, REPORT)


def test_a_failed_file_exits_1_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of a bad file goes to standard error, markup in its name included."""
    report = {**REPORT, "failed": [{"path": "[red]a.csv", "problem": "is empty"}]}
    result = run(monkeypatch, report)
    assert result.exit_code == 1
    assert "[red]a.csv: is empty" in result.stderr
    assert "Documents of acme" in result.stdout


def test_a_skipped_file_is_named_and_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of other types do not make the command fail."""
    result = run(monkeypatch, {**REPORT, "skipped": [{"path": "x.png", "problem": "is of no type that is read"}]})
    assert result.exit_code == 0
    assert "x.png: is of no type that is read" in result.stderr
