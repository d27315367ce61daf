"""The gate on PostgreSQL: MLflow's registry and ours, as many nodes share them."""

from pathlib import Path

import pytest
from fixtures_mlflow import started_mlflow
from fixtures_postgres import PostgresRegistries, PostgresServer
from mlflow_calls import TEXT, MlflowCalls

pytestmark = pytest.mark.contract


def test_the_gate_stands_on_postgresql(
    postgres: PostgresServer, postgres_registries: PostgresRegistries, tmp_path: Path, prompt_name: str
) -> None:
    """Evidence lets through, its lack does not, and what serves is not pulled away."""
    postgres.run("CREATE DATABASE mlflow")
    store = postgres.url("mlflow").replace("postgresql:", "postgresql+psycopg:")
    with (
        postgres_registries.lent() as registry,
        started_mlflow(tmp_path, store=store, registry=registry) as server,
        MlflowCalls(server.url) as anybody,
    ):
        server.protect(prompt_name)
        assert anybody.move(prompt_name, anybody.create(prompt_name)).is_success
        server.protect(prompt_name, "  - kind: approval")
        assert anybody.move(prompt_name, anybody.create(prompt_name, f"{TEXT} 2")).status_code == 403
        alias = {"name": prompt_name, "alias": "production"}
        assert anybody.call("DELETE", "registered-models/alias", **alias).status_code == 403
        assert [record.prompt_version for record in server.records(prompt_name)] == [1]
        assert anybody.alias(prompt_name) == 1
