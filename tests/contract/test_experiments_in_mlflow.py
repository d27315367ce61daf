"""An experiment beside a real MLflow with the gate: its arms are kept, its end moves nothing, its run can be read."""

import asyncio
import json

import pytest
from fakes.experiment_stage import design_of
from fixtures_mlflow import CHAIN, GatedMlflow
from mlflow import MlflowClient
from mlflow_calls import TEXT, MlflowCalls

from flows.experiment_looks import write_runs
from flows.watch_experiments import MLFLOW_EXPERIMENT
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiments import Experiment, find_experiment
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import load_policy
from registry.prompts.promotion import Promoter
from registry.prompts.versions import PromotedVersion, PromptSource
from registry.runs import LINKED_PROMPTS_TAG, Runs

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # mlflow's own tables
]


@pytest.fixture
def experiment(gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str) -> Experiment:
    """Version 2 runs against version 1, which is in production."""
    anybody.create(proven, f"{TEXT} Be brief.")
    versions = asyncio.run(_versions(gated_mlflow.url, proven))
    promoter = Promoter(gated_mlflow.database, note=lambda _kind, _body: None)
    return _store(gated_mlflow).start(
        load_policy(gated_mlflow.home / "policies", proven),
        design_of(*versions),
        versions,
        promoter=promoter,
        models=CHAIN,
        by="ada",
    )


async def _versions(url: str, name: str) -> list[PromotedVersion]:
    rest = MlflowRest(url)
    source = PromptSource(rest)
    try:
        return [await source.by_version(name, number) for number in (1, 2)]
    finally:
        await rest.aclose()


def _store(server: GatedMlflow) -> Experiments:
    return Experiments(server.database, lambda _kind, _body: None)


def test_an_arm_can_be_deleted_only_after_the_end(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, experiment: Experiment
) -> None:
    """While an arm serves, the gate keeps its version; the end lets it go, and `production` points where it did."""
    name = experiment.prompt_name
    refused = anybody.call("DELETE", "model-versions/delete", name=name, version="2")
    assert refused.status_code == 403
    _store(gated_mlflow).end(experiment, {"outcome": "better", "arm": "v2"}, "ada")
    assert anybody.alias(name) == 1
    assert anybody.call("DELETE", "model-versions/delete", name=name, version="2").is_success


def test_the_end_of_an_experiment_skips_no_gate(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, experiment: Experiment
) -> None:
    """A winner is promoted like any other version: with an approval asked for and missing, it is refused."""
    name = experiment.prompt_name
    gated_mlflow.protect(name, "  - kind: approval")
    assert anybody.move(name, 2).status_code == 403
    _store(gated_mlflow).end(experiment, {"outcome": "better", "arm": "v2"}, "ada")
    assert anybody.move(name, 2).status_code == 403
    assert anybody.alias(name) == 1


def test_the_run_of_an_experiment_is_beside_its_version(gated_mlflow: GatedMlflow, experiment: Experiment) -> None:
    """Linked to the winner's version, with the decision, sums, a table and the picture."""
    decision = {"outcome": "better", "arm": "v2", "reason": "accepted is 0.8 against 0.7"}
    _store(gated_mlflow).end(experiment, decision, "ada")
    write_runs(gated_mlflow.database, Runs(gated_mlflow.url, MLFLOW_EXPERIMENT).log)
    kept = find_experiment(gated_mlflow.database, experiment.id).decision
    assert kept is not None
    run_id = kept["run"]["id"]  # type: ignore[index, call-overload]
    client = MlflowClient(tracking_uri=gated_mlflow.url)
    run = client.get_run(run_id)
    assert json.loads(run.data.tags[LINKED_PROMPTS_TAG]) == [{"name": experiment.prompt_name, "version": "2"}]
    assert (run.data.tags["assay.outcome"], run.data.params["experiment"]) == ("better", experiment.id)
    assert run.data.metrics["units.control"] == 0
    assert {file.path for file in client.list_artifacts(run_id)} == {"difference.png", "metrics.json"}
    assert "v2 better" in run.data.tags["mlflow.note.content"]
