"""The gate inside a real MLflow server: who wrote a version, and what exactly they wrote."""

import json

import httpx
import pytest
from fixtures_mlflow import GatedMlflow
from mlflow_calls import TEXT, MlflowCalls
from sqlalchemy import select

from registry.prompts.schema import content_hash
from registry.prompts.stored import SPEC_TAG, from_tags
from registry.schema import prompt_hashes

pytestmark = pytest.mark.contract


def test_a_version_typed_in_the_ui_says_all_that_it_is(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, prompt_name: str
) -> None:
    """It takes the specification over from the version before, and keeps it when that one is deleted."""
    gated_mlflow.protect(prompt_name)
    variables = {"question": {"max_chars": 100}, "passages": {"type": "passages", "max_chars": 500}}
    spec = {"use_case": prompt_name, "owner": "ada", "model": {"top_k": 3}, "variables": variables}
    anybody.create(prompt_name, **{SPEC_TAG: json.dumps(spec)})
    version = anybody.create(prompt_name, "From {{passages}}: {{question}}")
    anybody.call("DELETE", "model-versions/delete", name=prompt_name, version="1").raise_for_status()
    typed = from_tags(prompt_name, anybody.tags(prompt_name, version))
    assert (typed.owner, typed.model.top_k, typed.variables["passages"].max_chars) == ("ada", 3, 500)


def test_a_foreign_prompt_gets_no_tag_of_ours(anybody: MlflowCalls, prompt_name: str) -> None:
    """Prompts that no policy names are left as their makers wrote them."""
    assert SPEC_TAG not in anybody.tags(prompt_name, anybody.create(prompt_name))


def test_the_author_is_who_proves_it(gated_mlflow: GatedMlflow, prompt_name: str) -> None:
    """A platform engineer's key names the author, as our header or as the client's token; nothing else does."""
    engineer, admin = gated_mlflow.key("engineer", "Ada"), gated_mlflow.key("admin", "assay up")
    senders = [{"X_Assay_Key": engineer}, {"Authorization": f"Bearer {engineer}"}, {"X_Assay_Key": admin}, {}]
    senders.append({"Authorization": "Basic QWRhOnBhc3M="})  # without basic auth nobody checks it
    for number, headers in enumerate(senders):
        with MlflowCalls(gated_mlflow.url, **headers) as mlflow:
            mlflow.create(prompt_name, f"{TEXT} {number}")
    with gated_mlflow.database.read() as connection:
        rows = connection.execute(select(prompt_hashes).where(prompt_hashes.c.name == prompt_name)).all()
    assert {row.version: row.author for row in rows} == {1: "Ada", 2: "Ada", 3: None, 4: None, 5: None}
    with MlflowCalls(gated_mlflow.url) as mlflow:
        hashes = {
            row.version: content_hash(from_tags(prompt_name, mlflow.tags(prompt_name, row.version))) for row in rows
        }
    assert {row.version: row.content_hash for row in rows} == hashes


def test_a_key_that_opens_nothing_is_told(gated_mlflow: GatedMlflow, prompt_name: str) -> None:
    """An expired or mistyped key would make its owner an unknown author without a word."""
    with MlflowCalls(gated_mlflow.url, X_Assay_Key="assay_0_x") as mlflow, pytest.raises(httpx.HTTPStatusError) as told:
        mlflow.create(prompt_name)
    assert told.value.response.status_code == 401


def test_the_promoter_is_who_proves_it(gated_mlflow: GatedMlflow, prompt_name: str) -> None:
    """The record names the owner of the key that moved the alias."""
    gated_mlflow.protect(prompt_name)
    with MlflowCalls(gated_mlflow.url, X_Assay_Key=gated_mlflow.key("ops", "Olu")) as mlflow:
        assert mlflow.move(prompt_name, mlflow.create(prompt_name)).is_success
    assert gated_mlflow.records(prompt_name)[0].promoted_by == "Olu"
