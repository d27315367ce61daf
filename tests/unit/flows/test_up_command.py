"""`assay up`: settings with which the API could not start stop it before anything is touched."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_mlflow import FakeMlflow
from typer.testing import CliRunner

from flows.cli import main as rim
from flows.cli import prompt_actions, prompts
from infra.local.settings import LocalSettings
from infra.local.supervisor import Platform
from registry.database import Database
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.promotion_records import ServingModel, tell_serving_models

ROOT = Path(__file__).parents[3]


class Ups:
    """Counts how often the platform was started."""

    def __init__(self) -> None:
        self.count = 0

    def up(self, *_: Any) -> tuple[()]:
        """Instead of `Platform.up`."""
        self.count += 1
        return ()


@pytest.fixture
def ups(monkeypatch: pytest.MonkeyPatch) -> Ups:
    """A platform that starts nothing."""
    made = Ups()
    monkeypatch.setattr(Platform, "up", made.up)
    monkeypatch.setattr(Platform, "status", lambda _: [])
    return made


def up(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `assay up`."""
    monkeypatch.setattr(sys, "argv", ["assay", "up", "--bare", *arguments])
    with pytest.raises(SystemExit) as ended:
        rim.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    "setting",
    [
        {"ASSAY_HEDGE": "banana"},
        {"ASSAY_PROVIDERS": "claude"},
        {"ASSAY_PROVIDERS": "openai"},
        {"OPENAI_API_KEY": "x", "ASSAY_OPENAI_MODEL": "gpt-nobody"},
        {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": "banana"},
        {"ASSAY_OTLP_ENDPOINT": "banana"},
        {"ASSAY_MASTER_KEY": "banana"},
        {"ASSAY_HOST": "0.0.0.0"},  # noqa: S104 - the refusal is the test
        {"ASSAY_PROVIDER_SLO": "2"},
    ],
)
def test_a_setting_that_the_api_refuses_touches_nothing(
    ups: Ups, setting: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence and exit code 2; what runs goes on running, in a home that stays as it was."""
    home = LocalSettings().root
    home.mkdir()
    (home / "VERSION").write_text("1\n")
    for secret in ("master", "engine"):
        (home / "keys").mkdir(exist_ok=True)
        (home / "keys" / secret).write_text("ab" * 32)
    before = sorted(home.rglob("*"))
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert up(monkeypatch) == 2
    assert (ups.count, sorted(home.rglob("*"))) == (0, before)
    assert capsys.readouterr().err.startswith("error: ")


def test_a_provider_without_evidence_is_warned_about(
    ups: Ups,
    tmp_path: Path,
    database: Database,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever adds a provider to a platform that serves already reads the command that makes its evidence."""
    fake = FakeMlflow()
    monkeypatch.setattr(prompt_actions, "MlflowRest", lambda url, **_: MlflowRest(url, client=fake.client()))
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("ASSAY_POLICIES", str(tmp_path))
    policy = tmp_path / "insights.yaml"
    policy.write_text("use_case: insights\nprompt: insights\nrequires: [{kind: lint}]\n")
    tell_serving_models(database, [ServingModel(provider="extractive", model="extractive-1")])
    CliRunner().invoke(prompts.app, ["push", str(ROOT / "prompts" / "insights.yaml")])
    assert CliRunner().invoke(prompts.app, ["promote", "insights", "1"]).exit_code == 0
    assert up(monkeypatch, "--json") == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []
    policy.write_text("use_case: insights\nprompt: insights\nrequires: [{kind: evaluation}]\n")
    tell_serving_models(database, [ServingModel(provider="local", model="smollm2-135m-instruct")])
    assert up(monkeypatch, "--json") == 0
    told = capsys.readouterr()
    (warning,) = json.loads(told.out)["warnings"]
    assert warning.startswith("no evaluation with local smollm2-135m-instruct for this content; ")
    assert warning.endswith("run `assay evaluate run --prompt insights/1 --provider local`")
    assert told.err.startswith("warning: no evaluation with local")
    assert ups.count == 2
