"""`assay prompts` in tests: runs commands, and brings versions to where a test begins."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from flows.cli.platform_checks import evidence_checks
from flows.cli.prompts import app
from registry.database import open_database
from registry.errors import JsonValue
from registry.prompts.evidence import record_evidence
from serving.settings import ServingSettings

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "prompts" / "insights.yaml"


def run(*arguments: object, code: int = 0) -> str:
    """Run a command, check its exit code, and give its standard output."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def run_json(*arguments: object, code: int = 0) -> Any:
    """Run a command with --json and read its standard output, which has to be one document."""
    return json.loads(run(*arguments, "--json", code=code))


def evaluated(database_url: str, pushed: dict[str, Any], provider: str = "extractive", **details: JsonValue) -> None:
    """Store an evaluation that passes, as the flow does."""
    database = open_database(database_url)
    floors = {"ndcg@10": 1.0, "citation_supports": 1.0, "claims_grounded": 1.0, "abstention_right": 1.0}
    record_evidence(
        database,
        kind="evaluation",
        prompt_name="insights",
        prompt_version=pushed["version"],
        content_hash=pushed["content_hash"],
        provider=provider,
        model=f"{provider}-1",
        verdict="PASS",
        details={"metrics": {**floors}, "questions": 85, **details},
    )
    database.close()


def two_versions(database_url: str, directory: Path) -> None:
    """Promote two versions, and push a third one that nothing is known of."""
    before: dict[str, Any] = {"content_hash": None}
    for number, wording in enumerate(("one sentence", "two sentences"), 1):
        file = directory / "insights.yaml"
        file.write_text(SHIPPED.read_text().replace("at most three sentences", wording))
        pushed = run_json("push", file)
        evaluated(database_url, pushed, against_content=before["content_hash"])
        run("promote", "insights", number)
        before = pushed
    run("push", SHIPPED)


def doctor() -> list[str]:
    """What `assay doctor` finds about the use case."""
    return [f"{check.state}: {check.message}" for check in evidence_checks(ServingSettings())]
