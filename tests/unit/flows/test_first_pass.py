"""The first evaluation and promotion of `assay up`: every provider of the chain shows its own evidence."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_mlflow import FakeMlflow
from typer.testing import CliRunner

from flows.cli import first_pass, prompt_actions, prompts
from flows.cli.first_pass import FirstPass
from infra.local.errors import PlatformError
from infra.local.settings import LocalSettings
from registry.database import open_database
from registry.prompts.evidence import record_evidence
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.promotion_records import ServingModel, tell_serving_models, valid_promotions

ROOT = Path(__file__).parents[3]
MODELS = {"extractive": "extractive-1", "local": "smollm2-135m-instruct"}
CHAIN = [ServingModel(provider=provider, model=model) for provider, model in MODELS.items()]
GOOD = {"ndcg@10": 1.0, "citation_supports": 1.0, "claims_grounded": 1.0, "abstention_right": 1.0}


class Commands:
    """Stands in for the commands that a step runs: evaluations come to the verdict set, promotions are real."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.content_hash = ""
        self.verdicts = dict.fromkeys(MODELS, "PASS")
        self.measured: list[str] = []
        self.tenant: str | None = None
        """For whom alone an evaluation asks."""

    def run(self, arguments: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[bytes]:
        """Instead of `subprocess.run`."""
        command = arguments[3:]
        if command[:2] == ("evaluate", "run"):
            assert "--tenant" not in command  # what one tenant's rows show counts for no policy
            return self._evaluate(command[command.index("--provider") + 1])
        done = CliRunner().invoke(prompts.app, command[1:])
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout.encode())

    def _evaluate(self, provider: str) -> subprocess.CompletedProcess[bytes]:
        self.measured.append(provider)
        verdict = self.verdicts[provider]
        if verdict == "down":
            return subprocess.CompletedProcess((), 3, b"")
        if verdict == "forbidden":
            told = json.dumps({"error": {"code": "forbidden", "message": "the key may not do this"}})
            return subprocess.CompletedProcess((), 1, told.encode())
        reasons = ["citation_supports is 0.085, below its floor of 0.35"] if verdict == "FAIL" else []
        database = open_database(self.database_url)
        record_evidence(
            database,
            kind="evaluation",
            prompt_name="insights",
            prompt_version=1,
            content_hash=self.content_hash,
            provider=provider,
            model=MODELS[provider],
            verdict=verdict,
            details={"metrics": {**GOOD}, "reasons": [*reasons], "questions": 166, "tenant": self.tenant},
        )
        database.close()
        told = json.dumps({"verdict": verdict, "reasons": reasons})
        return subprocess.CompletedProcess((), int(verdict != "PASS"), told.encode())


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> FakeMlflow:
    """A fake MLflow, an empty registry, a home with logs, and a chain of two."""
    fake = FakeMlflow()
    for module in (prompt_actions, first_pass):
        monkeypatch.setattr(module, "MlflowRest", lambda url, **_: MlflowRest(url, client=fake.client()))
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("ASSAY_POLICIES", str(ROOT / "policies"))
    monkeypatch.setenv("ASSAY_PROVIDERS", "extractive,local")
    (tmp_path / "home" / "logs").mkdir(parents=True)
    return fake


@pytest.fixture
def commands(mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Commands:
    """Commands that are answered here, after the prompt was pushed."""
    made = Commands(database_url)
    database = open_database(database_url)
    tell_serving_models(database, CHAIN)
    database.close()
    pushed = CliRunner().invoke(prompts.app, ["push", str(ROOT / "prompts" / "insights.yaml"), "--json"])
    made.content_hash = json.loads(pushed.stdout)["content_hash"]
    monkeypatch.setattr(subprocess, "run", made.run)
    return made


def proven(database_url: str) -> list[tuple[str, ...]]:
    """The providers of each promotion record, the newest first."""
    database = open_database(database_url)
    records = valid_promotions(database, "insights", "production", 0)
    database.close()
    return [tuple(each.provider for each in record.models) for record in records]


def step(name: str) -> Callable[[], None]:
    """One step of `assay up`."""
    (found,) = [each for each in FirstPass(LocalSettings(), sample=True).steps() if each.name == name]
    return found.run


def test_the_promotion_waits_for_who_answers() -> None:
    """The API says when it starts which models answer; before that a promotion would be refused."""
    (promotion,) = [each for each in FirstPass(LocalSettings(), sample=True).steps() if each.name == "promotion"]
    assert "api" in promotion.needs


def test_each_provider_of_the_chain_is_measured_and_the_prompt_promoted(commands: Commands, mlflow: FakeMlflow) -> None:
    """A chain of two gets two evaluations, and then serves."""
    step("evaluation")()
    step("promotion")()
    assert commands.measured == ["extractive", "local"]
    assert mlflow.prompts["insights"].aliases["production"] == "1"


@pytest.mark.usefixtures("mlflow")
def test_a_provider_that_fails_is_told_with_verdict_and_reason(commands: Commands) -> None:
    """The others are measured all the same, and the prompt serves with them alone."""
    commands.verdicts["extractive"] = "FAIL"
    with pytest.raises(PlatformError) as told:
        step("evaluation")()
    assert str(told.value) == "extractive: FAIL: citation_supports is 0.085, below its floor of 0.35"
    assert commands.measured == ["extractive", "local"]
    step("promotion")()
    assert proven(commands.database_url) == [("local",)]


@pytest.mark.usefixtures("mlflow")
def test_without_any_evidence_the_promotion_says_who_stands_in_the_way(commands: Commands) -> None:
    """Every provider of the chain failed: nothing serves, and the step tells each reason."""
    commands.verdicts |= {"extractive": "FAIL", "local": "FAIL"}
    with pytest.raises(PlatformError):
        step("evaluation")()
    with pytest.raises(
        PlatformError, match=r"^the newest evaluation with extractive extractive-1 says FAIL \(citation"
    ):
        step("promotion")()
    assert proven(commands.database_url) == []


@pytest.mark.usefixtures("mlflow")
def test_a_provider_that_was_measured_is_not_measured_again(commands: Commands) -> None:
    """A second `up` goes on with the providers that nobody has ruled on: evaluations cost money."""
    commands.verdicts |= {"extractive": "FAIL", "local": "down"}
    with pytest.raises(PlatformError, match="local: step 'evaluation' failed"):
        step("evaluation")()
    with pytest.raises(PlatformError, match="run `assay evaluate run --prompt insights/1 --provider local`"):
        step("promotion")()
    commands.measured.clear()
    commands.verdicts["local"] = "PASS"
    step("evaluation")()
    assert commands.measured == ["local"]


@pytest.mark.usefixtures("mlflow")
def test_what_a_command_says_of_its_failure_is_told(commands: Commands) -> None:
    """A command that ends without a verdict is no verdict; its own sentence is passed on."""
    commands.verdicts["local"] = "forbidden"
    with pytest.raises(PlatformError, match="local: step 'evaluation' failed: the key may not do this"):
        step("evaluation")()


@pytest.mark.usefixtures("mlflow")
def test_an_evaluation_that_could_not_tell_is_made_again(commands: Commands) -> None:
    """UNDERPOWERED, as after an outage of the vendor, is no ruling."""
    commands.verdicts["local"] = "UNDERPOWERED"
    for _ in range(2):
        with pytest.raises(PlatformError, match="local: UNDERPOWERED"):
            step("evaluation")()
    assert commands.measured == ["extractive", "local", "local"]


@pytest.mark.usefixtures("mlflow")
def test_a_look_at_one_tenant_s_rows_is_no_ruling(commands: Commands) -> None:
    """Somebody who was curious about a part of the sample does not keep the first version from serving."""
    commands.tenant = "meridian"
    step("evaluation")()
    commands.tenant = None
    step("evaluation")()
    step("promotion")()
    assert commands.measured == ["extractive", "local"] * 2


def test_the_documents_of_every_row_are_there_first() -> None:
    """The evaluation asks the whole sample, each row for its own tenant."""
    (evaluation,) = [each for each in FirstPass(LocalSettings(), sample=True).steps() if each.name == "evaluation"]
    assert "other-documents" in evaluation.needs
