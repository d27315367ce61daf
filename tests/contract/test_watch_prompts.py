"""How a version does in use, written into a real MLflow beside the version."""

import json

import pytest
from mlflow import MlflowClient
from recorded_calls import DAY_START_MS, NOON, RecordedCalls

from flows.prompt_report import look
from flows.watch_prompts import EXPERIMENT, write_back
from registry.database import Database
from registry.rollups import DAY_MS
from registry.runs import LINKED_PROMPTS_TAG, Runs
from registry.tenants import Tenants

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # mlflow's own tables
]


def test_the_versions_run_holds_its_days(database: Database, mlflow_url: str) -> None:
    """One run, linked to the version; a later look adds to it; the step is the day, the last value the newest."""
    Tenants(database).create("acme", "Acme")
    calls = RecordedCalls(database)
    runs, client = Runs(mlflow_url, EXPERIMENT), MlflowClient(tracking_uri=mlflow_url)
    urls: list[str] = []
    for _ in range(2):
        calls.add(version=3)
        (report,) = look(database, "insights", clock=NOON.timestamp)
        urls.append(write_back(runs, report))
    assert urls[0] == urls[1]
    run = client.get_run(urls[0].rpartition("/")[2])
    assert json.loads(run.data.tags[LINKED_PROMPTS_TAG]) == [{"name": "insights", "version": "3"}]
    assert (run.data.metrics["calls"], run.data.metrics["grounded"]) == (2, 0.5)
    assert {point.step for point in client.get_metric_history(run.info.run_id, "calls")} == {DAY_START_MS // DAY_MS}
    assert "2 calls" in run.data.tags["mlflow.note.content"]
