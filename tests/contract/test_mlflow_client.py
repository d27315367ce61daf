"""A round of MLflow's own client through the gate: what it could do before, it can do now."""

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures_mlflow import GatedMlflow

pytestmark = [
    pytest.mark.contract,
    # MLflow's own: datasets and model stages warn of what comes.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

EVENT = "prompt_alias.created"


@pytest.fixture
def client(gated_mlflow: GatedMlflow, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's client with an engineer's key as its token, as MLflow documents it."""
    from mlflow import MlflowClient  # noqa: PLC0415 - 4 s, for the tests that need it

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", gated_mlflow.key("engineer", "Ada"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", gated_mlflow.url)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", gated_mlflow.url)
    return MlflowClient(gated_mlflow.url, registry_uri=gated_mlflow.url)


def test_prompts(client: Any, prompt_name: str) -> None:
    """Register, tag, describe, alias, load, search and delete; a version's content alone is final."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - as above

    first = client.register_prompt(prompt_name, "Hello {{name}}", commit_message="one", tags={"team": "a"})
    second = client.register_prompt(prompt_name, [{"role": "user", "content": "Hi {{name}}"}], response_format={})
    assert (first.version, second.version) == (1, 2)
    client.set_prompt_alias(prompt_name, "production", 1)
    assert client.load_prompt(f"prompts:/{prompt_name}@production").format(name="Ada") == "Hello Ada"
    client.set_prompt_version_tag(prompt_name, 2, "reviewed", "yes")
    client.delete_prompt_version_tag(prompt_name, 2, "reviewed")
    client.set_prompt_tag(prompt_name, "team", "b")
    assert client.get_prompt(prompt_name).tags["team"] == "b"
    assert [found.name for found in client.search_prompts(f"name = '{prompt_name}'")] == [prompt_name]
    assert len(client.search_prompt_versions(prompt_name)) == 2
    with pytest.raises(MlflowException, match="versions are final"):
        client.set_prompt_version_tag(prompt_name, 2, "mlflow.prompt.text", "Obey.")
    client.delete_prompt_alias(prompt_name, "production")
    for version in ("1", "2"):
        client.delete_prompt_version(prompt_name, version)
    client.delete_prompt(prompt_name)
    assert client.search_prompts(f"name = '{prompt_name}'") == []


def test_a_refusal_reaches_the_client_as_a_sentence(client: Any, gated_mlflow: GatedMlflow, prompt_name: str) -> None:
    """Who promotes from a notebook reads there what is missing."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - as above

    gated_mlflow.protect(prompt_name, "  - kind: approval")
    client.register_prompt(prompt_name, "Answer {{question}} from {{passages}}.")
    with pytest.raises(MlflowException, match="0 of 1 approvals by other people than 'Ada'") as refused:
        client.set_prompt_alias(prompt_name, "production", 1)
    assert refused.value.error_code == "PERMISSION_DENIED"


def test_runs_and_models(client: Any, prompt_name: str, tmp_path: Path) -> None:
    """Runs with metrics and artifacts, registered models with stages, aliases, tags and another name."""
    run = client.create_run(client.create_experiment(f"runs-{prompt_name}"))
    client.log_metric(run.info.run_id, "score", 0.5)
    (tmp_path / "note.txt").write_text("kept")
    client.log_artifact(run.info.run_id, str(tmp_path / "note.txt"))
    client.set_terminated(run.info.run_id)
    assert client.get_run(run.info.run_id).data.metrics == {"score": 0.5}
    name = f"model-{prompt_name}"
    client.create_registered_model(name, tags={"kind": "model"})
    version = client.create_model_version(name, f"{run.info.artifact_uri}/note.txt", run.info.run_id)
    client.transition_model_version_stage(name, version.version, "Staging")
    client.set_registered_model_alias(name, "production", version.version)
    client.set_model_version_tag(name, version.version, "reviewed", "yes")
    client.rename_registered_model(name, f"{name}-2")
    found = client.get_model_version(f"{name}-2", version.version)
    assert (found.tags, found.current_stage) == ({"reviewed": "yes"}, "Staging")
    client.delete_model_version(f"{name}-2", version.version)
    client.delete_registered_model(f"{name}-2")


def test_traces_and_lineage(client: Any, prompt_name: str) -> None:
    """A traced call that loads a prompt is found by it."""
    import mlflow  # noqa: PLC0415 - as above

    experiment = client.create_experiment(f"traces-{prompt_name}")
    client.register_prompt(prompt_name, "Hello {{name}}")

    @mlflow.trace
    def greet(name: str) -> str:
        return mlflow.genai.load_prompt(f"prompts:/{prompt_name}/1").format(name=name)

    with mlflow.start_run(experiment_id=experiment) as run:
        greet("Ada")
        mlflow.flush_trace_async_logging()
    (trace,) = mlflow.search_traces(locations=[experiment], run_id=run.info.run_id, return_type="list")
    assert trace.data.response == json.dumps("Hello Ada")
    linked = mlflow.search_traces(
        locations=[experiment], filter_string=f"prompt = '{prompt_name}/1'", return_type="list"
    )
    assert [each.info.trace_id for each in linked] == [trace.info.trace_id]


def test_datasets(client: Any, prompt_name: str) -> None:
    """An evaluation dataset is made, filled and read."""
    from mlflow.genai import datasets  # noqa: PLC0415 - as above

    made = datasets.create_dataset(f"data-{prompt_name}")
    made.merge_records([{"inputs": {"question": "Why?"}, "expectations": {"answer": "So."}}])
    assert len(datasets.get_dataset(dataset_id=made.dataset_id).to_df()) == 1
    datasets.delete_dataset(dataset_id=made.dataset_id)


def test_webhooks_with_an_admins_key(
    client: Any, gated_mlflow: GatedMlflow, mlflow_admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's webhook calls work with an admin's key as the token, and only then."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - as above

    with pytest.raises(MlflowException, match="admins only"):
        client.create_webhook("mine", "http://127.0.0.1:9/", [EVENT])
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", mlflow_admin_key)
    made = client.create_webhook("mine", "http://127.0.0.1:9/", [EVENT])
    client.update_webhook(made.webhook_id, description="changed")
    assert client.get_webhook(made.webhook_id).description == "changed"
    client.delete_webhook(made.webhook_id)
    assert made.webhook_id not in {each.webhook_id for each in client.list_webhooks()}
