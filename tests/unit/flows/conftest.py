"""What the commands talk to in unit tests."""

import pytest
from fakes.fake_mlflow import FakeMlflow
from prompt_commands import ROOT

from flows.cli import prompt_actions
from registry.database import open_database
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.promotion_records import ServingModel, tell_serving_models


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch, database_url: str) -> FakeMlflow:
    """A fake MLflow behind the command, and an empty registry."""
    fake = FakeMlflow()
    monkeypatch.setattr(prompt_actions, "MlflowRest", lambda url, **_: MlflowRest(url, client=fake.client()))
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("ASSAY_POLICIES", str(ROOT / "policies"))
    database = open_database(database_url)
    tell_serving_models(database, [ServingModel(provider="extractive", model="extractive-1")])
    database.close()
    monkeypatch.setenv("ASSAY_WEBHOOK_SECRET", "unused")
    return fake
