"""The gate inside a real MLflow server: what serves stays, contents are final, webhooks are an admin's."""

import httpx
import pytest
from fixtures_mlflow import GatedMlflow
from mlflow_calls import API, UI, MlflowCalls

from registry.prompts.revocation import revoke_promotions
from registry.prompts.stored import SPEC_TAG

pytestmark = pytest.mark.contract

APPROVAL = "  - kind: approval"
CHANGES = ("set_", "delete_", "create_", "update_", "rename_", "transition_", "copy_", "link_", "register_", "restore_")
HARMLESS = {
    "create_registered_model",  # without versions and aliases
    "update_registered_model",  # its description
    "update_model_version",  # its description
    "link_prompts_to_trace",  # on the trace
    "link_prompt_version_to_model",  # on the model
    "link_prompt_version_to_run",  # on the run
    # In terms of guarded ones:
    "copy_model_version",
    "create_prompt",
    "create_prompt_version",
    "delete_prompt",
    "delete_prompt_alias",
    "delete_prompt_tag",
    "delete_prompt_version",
    "delete_prompt_version_tag",
    "set_prompt_alias",
    "set_prompt_tag",
    "set_prompt_version_tag",
}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "registered-models/alias", {"alias": "production"}),
        ("DELETE", "model-versions/delete", {"version": "1"}),
        ("DELETE", "registered-models/delete", {}),
        ("POST", "registered-models/rename", {"new_name": "away"}),
        ("POST", "model-versions/transition-stage", {"version": "1", "stage": "Archived"}),
        ("POST", "registered-models/set-tag", {"key": "mlflow.prompt.is_prompt", "value": "false"}),
        ("DELETE", "registered-models/delete-tag", {"key": "mlflow.prompt.is_prompt"}),
        ("POST", "model-versions/set-tag", {"version": "1", "key": "mlflow.prompt.text", "value": "Obey."}),
        ("DELETE", "model-versions/delete-tag", {"version": "1", "key": "mlflow.prompt.text"}),
        ("POST", "model-versions/set-tag", {"version": "1", "key": "_mlflow_prompt_type", "value": "chat"}),
        ("POST", "model-versions/set-tag", {"version": "1", "key": "_mlflow_prompt_model_config", "value": "{}"}),
        ("POST", "model-versions/set-tag", {"version": "1", "key": SPEC_TAG, "value": "{}"}),
        ("DELETE", "model-versions/delete-tag", {"version": "1", "key": SPEC_TAG}),
    ],
)
def test_what_serves_is_not_pulled_away_or_rewritten(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str, method: str, path: str, body: dict[str, str]
) -> None:
    """Neither under the scripts' prefix nor under the UI's; version and alias stay as they are."""
    before = anybody.tags(proven, 1)
    for prefix in (API, UI):
        with MlflowCalls(gated_mlflow.url, prefix) as calls:
            answer = calls.call(method, path, name=proven, **body)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert (anybody.alias(proven), anybody.tags(proven, 1)) == (1, before)
    assert set(gated_mlflow.notes(proven)) == {"prompt.promotion", "prompt.change-refused"}


def test_nothing_is_renamed_into_a_protected_name(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, prompt_name: str
) -> None:
    """Another prompt's aliases would come along with it."""
    other = f"{prompt_name}-other"
    anybody.move(other, anybody.create(other))
    gated_mlflow.protect(prompt_name, APPROVAL)
    assert anybody.call("POST", "registered-models/rename", name=other, new_name=prompt_name).status_code == 403
    assert anybody.alias(prompt_name) is None


def test_content_is_final_where_no_policy_looks(anybody: MlflowCalls, prompt_name: str) -> None:
    """An unprotected prompt's wording cannot change either; its description and other tags can."""
    anybody.create(prompt_name)
    text = {"key": "mlflow.prompt.text", "value": "Obey."}
    assert anybody.call("POST", "model-versions/set-tag", name=prompt_name, version="1", **text).status_code == 403
    free = {"key": "reviewed", "value": "yes"}
    assert anybody.call("POST", "model-versions/set-tag", name=prompt_name, version="1", **free).is_success
    assert anybody.call("DELETE", "model-versions/delete-tag", name=prompt_name, version="1", key="reviewed").is_success
    assert anybody.call("PATCH", "model-versions/update", name=prompt_name, version="1", description="Why.").is_success


def test_what_is_revoked_may_go(gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str) -> None:
    """Once no record lets it serve, alias, version and prompt can be deleted."""
    revoke_promotions(gated_mlflow.database, [record.id for record in gated_mlflow.records(proven)], 1)
    assert anybody.call("DELETE", "registered-models/alias", name=proven, alias="production").is_success
    assert anybody.call("DELETE", "model-versions/delete", name=proven, version="1").is_success
    assert anybody.call("DELETE", "registered-models/delete", name=proven).is_success


def test_an_equal_version_under_the_alias_is_kept(gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str) -> None:
    """Deleting a version would take the alias along, though the record was written for an equal one."""
    assert anybody.move(proven, anybody.create(proven)).is_success
    newest = gated_mlflow.records(proven)[0]
    revoke_promotions(gated_mlflow.database, [newest.id], 1)
    assert anybody.call("DELETE", "model-versions/delete", name=proven, version="2").status_code == 403
    assert anybody.alias(proven) == 2


def test_webhooks_are_an_admins(gated_mlflow: GatedMlflow, anybody: MlflowCalls, mlflow_admin_key: str) -> None:
    """Without a platform admin's key nobody creates, changes or deletes one; everybody may look."""
    hook = {"name": "any", "url": "http://127.0.0.1:9/", "events": [{"entity": "PROMPT_ALIAS", "action": "CREATED"}]}
    with MlflowCalls(gated_mlflow.url, X_Assay_Key=gated_mlflow.key("engineer")) as engineer:
        assert [each.call("POST", "webhooks", **hook).status_code for each in (anybody, engineer)] == [403, 403]
    with MlflowCalls(gated_mlflow.url, X_Assay_Key=mlflow_admin_key) as admin:
        place = f"webhooks/{admin.call('POST', 'webhooks', **hook).json()['webhook']['webhook_id']}"
        changed = {"url": "http://127.0.0.1:8/"}
        assert [anybody.call(method, place, **changed).status_code for method in ("PATCH", "DELETE")] == [403, 403]
        assert anybody.call("GET", place).json()["webhook"]["url"] == hook["url"]
        assert [admin.call(method, place, **changed).status_code for method in ("PATCH", "DELETE")] == [200, 200]


def test_graphql_changes_nothing(gated_mlflow: GatedMlflow) -> None:
    """MLflow's UI reads over GraphQL; what it calls mutations are searches, and one that echoes a string."""
    asked = {"query": "{ __schema { mutationType { fields { name } } } }"}
    answer = httpx.post(f"{gated_mlflow.url}/graphql", json=asked, trust_env=False, timeout=30).json()
    named = {field["name"] for field in answer["data"]["__schema"]["mutationType"]["fields"]}
    assert named == {"mlflowSearchDatasets", "mlflowSearchRuns", "testMutation"}


def test_every_change_that_mlflow_offers_was_looked_at() -> None:
    """A release of MLflow whose store can do something new has to be judged before it is used."""
    from registry.prompts.gate import GatedStore, SqlAlchemyStore  # noqa: PLC0415 - imports mlflow: 4 s

    offered = {
        name for name in dir(SqlAlchemyStore) if name.startswith(CHANGES) and callable(getattr(GatedStore, name))
    }
    guarded = {name for name in offered if name in vars(GatedStore)}
    assert offered - guarded == HARMLESS
