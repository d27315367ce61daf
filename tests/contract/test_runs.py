"""A run goes into a real MLflow whole, and MLflow itself sees the link to the prompt version."""

import json
import socket
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from registry.runs import LINKED_PROMPTS_TAG, RunReport, Runs, RunsUnavailable

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # mlflow's own tables
]


def report(**members: object) -> RunReport:
    """A run about version 1 of prompt `linked`."""
    return RunReport(**{"name": "linked/1 on d", "prompt": ("linked", 1)} | members)


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    """MLflow's own client, with a prompt `linked` in the registry."""
    client = MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)
    if client.get_prompt("linked") is None:
        client.register_prompt("linked", "Answer {{question}}.")
    return client


def test_everything_arrives(client: MlflowClient, mlflow_url: str, tmp_path: Path) -> None:
    """Parameters, metrics, tags, description, dataset, table and file are there when `log` returns."""
    logged = Runs(mlflow_url).log(
        report(
            parameters={"model": "fake", "long": "x" * 9_000},
            metrics={"ndcg@10": 0.5, "mrr": 0.25},
            tags={"assay.verdict": "PASS"},
            dataset=("d", "ab" * 32),
            tables={"questions.json": [{"id": "q1", "score": 1.0}, {"id": "q2", "problem": "down"}]},
            files={"plots/metrics.png": b"png"},
            description="**PASS**",
        )
    )
    run = client.get_run(logged.id)
    assert (run.info.run_name, run.info.status) == ("linked/1 on d", "FINISHED")
    assert (run.data.params["model"], len(run.data.params["long"])) == ("fake", 5_000)
    assert run.data.metrics == {"ndcg_at_10": 0.5, "mrr": 0.25}
    assert (run.data.tags["assay.verdict"], run.data.tags["mlflow.note.content"]) == ("PASS", "**PASS**")
    assert [used.dataset.name for used in run.inputs.dataset_inputs] == ["d"]
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "questions.json", "type": "table"}]
    table = Path(client.download_artifacts(logged.id, "questions.json", str(tmp_path)))
    assert json.loads(table.read_text()) == {
        "columns": ["id", "score", "problem"],
        "data": [["q1", 1.0, None], ["q2", None, "down"]],
    }
    assert [item.path for item in client.list_artifacts(logged.id, "plots")] == ["plots/metrics.png"]
    assert logged.url == f"{mlflow_url}/#/experiments/{run.info.experiment_id}/runs/{logged.id}"


def test_the_link_is_mlflows_own(client: MlflowClient, mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our tag equals what MLflow's client writes when it links a run, so its pages show both alike."""
    ours = client.get_run(Runs(mlflow_url).log(report()).id)
    theirs = client.create_run(ours.info.experiment_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)  # its way of linking asks the default server
    mlflow.set_tracking_uri(None)
    client.link_prompt_version_to_run(theirs.info.run_id, client.get_prompt_version("linked", "1"))
    linked = client.get_run(theirs.info.run_id).data.tags[LINKED_PROMPTS_TAG]
    assert ours.data.tags[LINKED_PROMPTS_TAG] == linked
    assert json.loads(linked) == [{"name": "linked", "version": "1"}]


def test_the_prompt_is_listed_beside_the_runs(client: MlflowClient, mlflow_url: str) -> None:
    """The experiment's page of prompts names the prompt, once."""
    for _ in range(2):
        experiment = client.get_run(Runs(mlflow_url).log(report()).id).info.experiment_id
    found = client.get_prompt("linked")
    assert found is not None
    assert found.tags["_mlflow_experiment_ids"].count(f",{experiment},") == 1


def test_a_prompt_that_is_gone_does_not_cost_the_run(mlflow_url: str, client: MlflowClient) -> None:
    """A run about a deleted prompt is still logged."""
    logged = Runs(mlflow_url).log(report(prompt=("gone", 3)))
    assert client.get_run(logged.id).info.status == "FINISHED"


def test_a_refused_run_is_marked_as_failed(mlflow_url: str, client: MlflowClient) -> None:
    """When MLflow refuses a part, the run does not stay behind as running."""
    with pytest.raises(RunsUnavailable):
        Runs(mlflow_url, "refused").log(report(metrics={"not a, name": 1.0}))
    experiment = client.get_experiment_by_name("refused")
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]


def test_a_dead_server_is_said_at_once() -> None:
    """Without a server the error comes from one short look, not from minutes of retries."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(RunsUnavailable, match="does not answer"):
            Runs(f"http://127.0.0.1:{unused.getsockname()[1]}").log(report())


class TestLastingRun:
    """One run that follows something over time."""

    def test_it_goes_on_where_it_was(self, client: MlflowClient, mlflow_url: str) -> None:
        """A second look adds to the same run; each step keeps its value."""
        runs = Runs(mlflow_url, "assay-lasting")
        first = runs.log_steps("linked/1", report(), {10: {"grounded": 0.5}})
        second = runs.log_steps("linked/1", report(), {10: {"grounded": 0.5}, 11: {"grounded": 0.75}})
        assert second == first
        history = client.get_metric_history(first.id, "grounded")
        assert sorted((point.step, point.value) for point in history) == [(10, 0.5), (11, 0.75)]

    def test_what_did_not_change_is_not_written_again(self, client: MlflowClient, mlflow_url: str) -> None:
        """Looks without news leave the run as it is; a step that changed has its newer value."""
        runs = Runs(mlflow_url, "assay-lasting")
        logged = runs.log_steps("linked/2", report(), {10: {"calls": 1.0}})
        runs.log_steps("linked/2", report(), {10: {"calls": 1.0}})
        assert len(client.get_metric_history(logged.id, "calls")) == 1
        runs.log_steps("linked/2", report(), {10: {"calls": 3.0}})
        assert client.get_run(logged.id).data.metrics == {"calls": 3.0}

    def test_each_thing_has_its_own(self, client: MlflowClient, mlflow_url: str) -> None:
        """Two versions of a prompt have two runs, each linked to its version."""
        runs = Runs(mlflow_url, "assay-lasting")
        third = runs.log_steps("linked/3", report(prompt=("linked", 3)), {1: {"calls": 1.0}})
        fourth = runs.log_steps("linked/4", report(prompt=("linked", 4)), {1: {"calls": 1.0}})
        assert third.id != fourth.id
        tags = client.get_run(fourth.id).data.tags
        assert json.loads(tags[LINKED_PROMPTS_TAG]) == [{"name": "linked", "version": "4"}]
