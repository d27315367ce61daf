"""`assay prompts`: what it prints, for people and for machines, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_mlflow import FakeMlflow
from typer.testing import CliRunner

from flows.cli import prompt_actions
from flows.cli.prompts import app
from registry.database import open_database
from registry.errors import InvalidInput, Refused
from registry.prompts.evidence import record_evidence
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.schema import load_template, parse_template

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "prompts" / "insights.yaml"
BROKEN = """
name: broken
use_case: insights
owner: platform
template: Answer {{question}} from {{nothing}}.
variables: {question: {max_chars: 10}}
"""


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch, database_url: str) -> FakeMlflow:
    """A fake MLflow behind the command, and an empty registry."""
    fake = FakeMlflow()
    monkeypatch.setattr(prompt_actions, "MlflowRest", lambda url, **_: MlflowRest(url, client=fake.client()))
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("ASSAY_POLICIES", str(ROOT / "policies"))
    monkeypatch.setenv("ASSAY_PROVIDERS", "extractive")
    monkeypatch.setenv("ASSAY_WEBHOOK_SECRET", "unused")
    return fake


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


def test_lint_passes_a_sound_file() -> None:
    """A sound prompt ends with 0 and says so."""
    assert run("lint", SHIPPED).endswith("insights: sound\n")
    document = run_json("lint", SHIPPED)
    assert (document["name"], document["ok"], document["findings"]) == ("insights", True, [])


def test_lint_shows_the_tokens_of_each_message() -> None:
    """What is fixed, what a vendor can cache and what data may add stands there for every message."""
    assert "of which cacheable" in run("lint", SHIPPED)
    system, user = run_json("lint", SHIPPED)["sections"]
    assert (system["role"], system["data_tokens_max"]) == ("system", 0)
    assert system["cacheable_tokens"] == system["fixed_tokens"] > 100
    assert (user["role"], user["data_tokens_max"]) == ("user", (10 + 24_000 + 12_000 + 4_000) // 4)
    assert 0 < user["cacheable_tokens"] < user["fixed_tokens"]


def test_lint_ends_with_1_on_an_error(tmp_path: Path) -> None:
    """An error ends with 1 and names its rule; a machine reads the same."""
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    assert "undeclared-variable" in run("lint", file, code=1)
    document = run_json("lint", file, code=1)
    assert (document["ok"], document["findings"][0]["code"]) == (False, "undeclared-variable")


def test_an_unreadable_file_is_wrong_input(tmp_path: Path) -> None:
    """A file that is no prompt is wrong input, which the command line ends with 2."""
    with pytest.raises(InvalidInput, match=r"missing\.yaml"):
        run("lint", tmp_path / "missing.yaml")


def test_push_makes_a_candidate(mlflow: FakeMlflow) -> None:
    """A push makes a version and points `candidate` at it; the same again makes none."""
    first, again = run_json("push", SHIPPED, "-m", "why"), run_json("push", SHIPPED)
    assert (first["version"], first["created"]) == (1, True)
    assert again == first | {"created": False}
    assert mlflow.prompts["insights"].aliases == {"candidate": "1"}
    assert mlflow.prompts["insights"].versions[0]["description"] == "why"
    assert "insights/1 was there already" in run("push", SHIPPED)


def test_a_prompt_with_lint_errors_is_not_pushed(mlflow: FakeMlflow, tmp_path: Path) -> None:
    """What could never be promoted does not become the candidate."""
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    with pytest.raises(Refused, match="mend the lint errors"):
        run("push", file)
    assert mlflow.prompts == {}


def test_list_and_show(mlflow: FakeMlflow) -> None:
    """What was pushed is listed, and shown whole."""
    assert run("list") == "Prompts: none\n"
    run("push", SHIPPED)
    (listed,) = run_json("list")
    assert (listed["name"], listed["newest"], listed["aliases"]) == ("insights", 1, {"candidate": 1})
    assert "candidate" in run("list")
    shown = run_json("show", "insights@candidate")
    assert parse_template(json.dumps(shown["prompt"])) == load_template(SHIPPED)
    assert (shown["findings"], shown["evidence"]) == ([], [])
    assert "You answer business questions" in run("show", "insights")


def test_diff_shows_what_changed(mlflow: FakeMlflow, tmp_path: Path) -> None:
    """Changed lines carry their sign; equal versions say that they are."""
    changed = tmp_path / "insights.yaml"
    changed.write_text(SHIPPED.read_text().replace("at most three sentences", "one sentence"))
    run("push", SHIPPED)
    run("push", changed)
    lines = run("diff", "insights/1", "insights/2").splitlines()
    assert [line[:1] for line in lines if "sentence" in line] == ["-", "+"]
    assert run("diff", "insights/1", "insights/1") == "no difference\n"
    assert run_json("diff", "insights/1", "insights@candidate")["diff"] == lines


def test_promote_refuses_and_then_promotes(mlflow: FakeMlflow, database_url: str) -> None:
    """Without an evaluation: exit 1 and the command that makes it. With one: the alias moves."""
    pushed = run_json("push", SHIPPED)
    refused = run_json("promote", "insights", 1, code=1)
    assert refused["promoted"] is False
    assert "assay evaluate run --prompt insights/1" in refused["missing"][0]
    assert run("promote", "insights", 1, code=1) == ""
    database = open_database(database_url)
    floors = {"ndcg@10": 1.0, "citation_supports": 1.0, "claims_grounded": 1.0, "abstention_right": 1.0}
    record_evidence(
        database,
        kind="evaluation",
        prompt_name="insights",
        prompt_version=1,
        content_hash=pushed["content_hash"],
        provider="extractive",
        model="extractive-1",
        verdict="PASS",
        details={"metrics": {**floors}},
    )
    database.close()
    promoted = run_json("promote", "insights", 1)
    assert (promoted["promoted"], promoted["alias"], promoted["policy"]) == (True, "production", "evaluation + lint")
    assert mlflow.prompts["insights"].aliases["production"] == "1"
    assert "evaluation + lint" in run("promote", "insights", 1)


def test_wrong_usage_ends_with_2(mlflow: FakeMlflow) -> None:
    """A version that is no number is wrong usage."""
    run("promote", "insights", "one", code=2)
    run("promote", "insights", code=2)
