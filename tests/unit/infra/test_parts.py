"""Parts: what restarts them, and what they get to see."""

from pathlib import Path

import pytest

from infra.local.parts import Part, environment, external, parts
from infra.local.settings import LocalSettings


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    """A home that was never used."""
    return LocalSettings(home=tmp_path)


def by_name(settings: LocalSettings) -> dict[str, Part]:
    """The parts of a configuration."""
    return {part.name: part for part in parts(settings)}


@pytest.mark.parametrize(
    ("variable", "restarted"),
    [
        ("OPENAI_API_KEY", {"api", "worker"}),
        ("ASSAY_PROVIDERS", {"api", "worker"}),
        ("ASSAY_DATABASE_URL", {"api", "worker", "mlflow"}),
        ("ASSAY_POLICIES", {"api", "worker", "mlflow"}),
        ("UNRELATED", set()),
    ],
)
def test_a_part_is_restarted_with_its_configuration(
    settings: LocalSettings, monkeypatch: pytest.MonkeyPatch, variable: str, restarted: set[str]
) -> None:
    """A new key, chain or database reaches the API, the worker's flow runs and the gate with the next `assay up`."""
    before = by_name(settings)
    monkeypatch.setenv(variable, "changed")
    after = by_name(settings)
    assert {name for name in before if before[name].fingerprint != after[name].fingerprint} == restarted


def test_vendors_keys_reach_only_what_answers_questions(
    settings: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow, Prefect and the engine never see the keys of the models or of the vault."""
    secrets = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ASSAY_MASTER_KEY"}
    for name in secrets:
        monkeypatch.setenv(name, "s3cret")
    seeing = {part.name for part in parts(settings) if secrets & set(environment(part, settings))}
    assert seeing == {"api", "worker"}


def test_the_mlflow_server_has_the_gate_inside(settings: LocalSettings) -> None:
    """Its registry is asked through the gate, which finds home and policies."""
    mlflow = by_name(settings)["mlflow"]
    place = mlflow.command[mlflow.command.index("--registry-store-uri") + 1]
    assert place == f"assay+sqlite:///{settings.root / 'mlflow' / 'mlflow.db'}"
    assert {"ASSAY_HOME", "ASSAY_POLICIES"} <= set(environment(mlflow, settings))


def test_a_named_server_is_used_and_not_started(tmp_path: Path) -> None:
    """MLFLOW_TRACKING_URI, PREFECT_API_URL and QDRANT_URL replace the local parts."""
    settings = LocalSettings(
        home=tmp_path,
        mlflow_tracking_uri="http://mlflow.example",
        prefect_api_url="http://prefect.example/api",
        qdrant_url="http://qdrant.example",
    )
    assert set(by_name(settings)) == {"api", "worker"}
    assert set(external(settings)) == {"mlflow", "prefect", "engine"}


def test_only_the_api_leaves_loopback(tmp_path: Path) -> None:
    """With ASSAY_HOST set, MLflow, Prefect and the engine still listen on 127.0.0.1."""
    settings = LocalSettings(home=tmp_path, host="10.1.2.3")
    made = by_name(settings)
    assert made["api"].url == "http://10.1.2.3:8000"
    assert all("10.1.2.3" not in " ".join(made[name].command) for name in ("mlflow", "prefect", "engine"))
    assert environment(made["engine"], settings)["ASSAY_HOST"] == "127.0.0.1"


def test_with_a_certificate_the_api_is_reached_over_tls(tmp_path: Path) -> None:
    """The health check, the webhook and the command line use https then."""
    settings = LocalSettings(home=tmp_path, tls_certificate=tmp_path / "certificate.pem")
    assert settings.api_url == "https://127.0.0.1:8000"
