"""The gate inside a real MLflow server: what it refuses on every route, and what it lets through."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fixtures_mlflow import GatedMlflow
from mlflow_calls import API, TEXT, UI, MlflowCalls
from sqlalchemy import text

from registry.prompts.evidence import record_evidence
from registry.prompts.schema import content_hash
from registry.prompts.stored import from_tags

pytestmark = pytest.mark.contract

APPROVAL = "  - kind: approval"
SCORED = "  - kind: evaluation"


def test_a_protected_alias_does_not_move_without_evidence(gated_mlflow: GatedMlflow, prompt_name: str) -> None:
    """Scripts and the UI get 403 with one sentence that names what is missing, and the alias stays away."""
    gated_mlflow.protect(prompt_name, APPROVAL)
    for prefix in (API, UI):
        with MlflowCalls(gated_mlflow.url, prefix) as mlflow:
            answer = mlflow.move(prompt_name, mlflow.create(prompt_name))
            assert answer.status_code == 403
            assert answer.json()["error_code"] == "PERMISSION_DENIED"
            assert "0 of 2 approvals" in answer.json()["message"]
            assert mlflow.alias(prompt_name) is None
    assert gated_mlflow.records(prompt_name) == ()
    assert gated_mlflow.notes(prompt_name) == ["prompt.promotion-refused"] * 2


def test_a_protected_alias_moves_on_evidence_and_leaves_a_record(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, prompt_name: str
) -> None:
    """What the policy finds complete is let through, with the record and the note that say why."""
    gated_mlflow.protect(prompt_name)
    assert anybody.move(prompt_name, anybody.create(prompt_name)).is_success
    (record,) = gated_mlflow.records(prompt_name)
    assert (record.prompt_version, record.basis, record.promoted_by) == (1, "evidence", "unknown")
    assert anybody.alias(prompt_name) == 1
    assert gated_mlflow.notes(prompt_name) == ["prompt.promotion"]


def test_setting_the_alias_again_writes_no_second_record(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str
) -> None:
    """A click on what serves already changes nothing."""
    assert anybody.move(proven, 1).is_success
    assert len(gated_mlflow.records(proven)) == 1


def test_a_promoted_version_comes_back_without_evidence(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str
) -> None:
    """A rollback rests on the record of the version, though the policy asks for more by now."""
    assert anybody.move(proven, anybody.create(proven, f"{TEXT} Again.")).is_success
    gated_mlflow.protect(proven, APPROVAL)
    assert anybody.move(proven, 1).is_success
    assert gated_mlflow.records(proven)[0].basis == "record"
    assert anybody.alias(proven) == 1


def test_the_newest_record_is_where_the_alias_points(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str
) -> None:
    """Also when many move it at once: serving falls back on that record."""
    anybody.move(proven, anybody.create(proven, f"{TEXT} Two.")).raise_for_status()

    def move(number: int) -> int:
        with MlflowCalls(gated_mlflow.url) as mlflow:
            return mlflow.move(proven, 1 + number % 2).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(move, range(40))) == {200}
    assert gated_mlflow.records(proven)[0].prompt_version == anybody.alias(proven)


def test_other_aliases_and_prompts_are_free(gated_mlflow: GatedMlflow, anybody: MlflowCalls, prompt_name: str) -> None:
    """`staging` of a protected prompt and `production` of an unprotected one move as ever."""
    gated_mlflow.protect(prompt_name, APPROVAL)
    assert anybody.move(prompt_name, anybody.create(prompt_name), "staging").is_success
    other = f"{prompt_name}-free"
    assert anybody.move(other, anybody.create(other)).is_success
    assert (anybody.alias(prompt_name, "staging"), anybody.alias(other)) == (1, 1)


def test_a_model_of_the_name_does_not_get_the_alias(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, prompt_name: str
) -> None:
    """What holds no template is refused, not answered with an error of the server."""
    gated_mlflow.protect(prompt_name)
    anybody.call("POST", "registered-models/create", name=prompt_name)
    anybody.call("POST", "model-versions/create", name=prompt_name, source="mlflow-artifacts:/1/models/m-1/artifacts")
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    anybody.call("POST", "model-versions/create", name=prompt_name, source="dummy-source", tags=tags).raise_for_status()
    answer = anybody.move(prompt_name, 1)
    assert (answer.status_code, "a registered model, not a prompt" in answer.json()["message"]) == (403, True)


@pytest.mark.parametrize("version", ["7", "x", "0"])
def test_a_version_that_is_not_there_is_mlflows_own_error(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, prompt_name: str, version: str
) -> None:
    """The gate does not stand in the way of MLflow's answers to bad input."""
    gated_mlflow.protect(prompt_name)
    anybody.create(prompt_name)
    body = {"name": prompt_name, "alias": "production", "version": version}
    assert anybody.call("POST", "registered-models/alias", **body).status_code in {400, 404}
    assert anybody.call("DELETE", "model-versions/delete", name=prompt_name, version=version).status_code in {400, 404}


def test_an_unreadable_policy_lets_nothing_through(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str
) -> None:
    """The gate stays shut with 503 until the policy is mended, also for an alias that it cannot judge."""
    broken = gated_mlflow.home / "policies" / f"{proven}-broken.yaml"
    broken.write_text("use_case: [")
    try:
        assert [anybody.move(proven, 1, alias).status_code for alias in ("production", "staging")] == [503, 503]
    finally:
        broken.unlink()
    assert anybody.move(proven, 1).is_success


def test_a_registry_that_is_away_lets_nothing_through(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str
) -> None:
    """Protected aliases wait with 503; what the gate does not guard goes on."""
    version = anybody.create(proven, f"{TEXT} New.")
    with gated_mlflow.database.write() as connection:
        for table in ("prompt_hashes", "promotions"):
            connection.execute(text(f"ALTER TABLE {table} RENAME TO away_{table}"))
    try:
        assert anybody.move(proven, version).status_code == 503
        assert anybody.call("DELETE", "registered-models/delete", name=proven).status_code == 503
        assert anybody.move(proven, version, "staging").is_success
        assert anybody.create(proven, f"{TEXT} Newer.") == version + 1
    finally:
        with gated_mlflow.database.write() as connection:
            for table in ("prompt_hashes", "promotions"):
                connection.execute(text(f"ALTER TABLE away_{table} RENAME TO {table}"))
    assert anybody.alias(proven) == 1


def test_evidence_holds_for_its_content_only(gated_mlflow: GatedMlflow, anybody: MlflowCalls, prompt_name: str) -> None:
    """A pass of one version lets that content through, and not the next."""
    gated_mlflow.protect(prompt_name, SCORED)
    anybody.create(prompt_name)
    digest = content_hash(from_tags(prompt_name, anybody.tags(prompt_name, 1)))
    record_evidence(
        gated_mlflow.database,
        kind="evaluation",
        prompt_name=prompt_name,
        prompt_version=1,
        content_hash=digest,
        provider="extractive",
        model="extractive-1",
        verdict="PASS",
        details={"metrics": {}},
    )
    assert anybody.move(prompt_name, 1).is_success
    assert anybody.move(prompt_name, anybody.create(prompt_name, f"{TEXT} And obey.")).status_code == 403
    assert anybody.alias(prompt_name) == 1
