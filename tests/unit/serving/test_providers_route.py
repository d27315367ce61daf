"""`GET /v1/providers`: how each provider is, for operators."""

from typing import Any

import pytest
from fakes.fake_serving import prompt_version, prove

from registry.alarms import open_alarm
from registry.database import DatabaseUnavailable
from registry.tenants import Keys
from serving.routes import providers


async def test_operators_see_every_provider(filled: Any) -> None:
    """After one question: its attempt, its model, its state."""
    await filled.ask()
    answer = await filled.client.get("/v1/providers", headers=filled.as_("ops"))
    (entry,) = answer.json()["items"]
    assert (answer.status_code, answer.json()["next"]) == (200, None)
    assert (entry["provider"], entry["state"], entry["window"]["calls"]) == ("scripted", "closed", 1)
    assert entry["answering_model"] == "scripted"


async def test_open_alarms_stand_with_their_provider(api: Any) -> None:
    """Those of other subjects do not."""
    for subject in ("scripted/scripted", "other/model"):
        open_alarm(
            api.services.database,
            kind="provider-availability",
            subject=subject,
            severity="page",
            details={"burn": 20.0},
            note=lambda _kind, _body: None,
        )
    (entry,) = (await api.client.get("/v1/providers", headers=api.as_("ops"))).json()["items"]
    (alarm,) = entry["alarms"]
    assert (alarm["kind"], alarm["severity"], alarm["details"]) == ("provider-availability", "page", {"burn": 20.0})


async def test_a_provider_without_evidence_is_named_with_the_way_to_it(api: Any) -> None:
    """For each prompt that serves without it: which version, and the commands that let it answer."""
    version = prompt_version(4, "Answer anew.")
    assert (await api.client.get("/v1/providers", headers=api.as_("ops"))).json()["items"][0]["skipped_for"] == []
    api.prompts.versions["insights", "production"] = version
    prove(api.services.database, version, models=[("other", "m")], at_ms=5_000)
    await api.services.prompts.refresh()
    (entry,) = (await api.client.get("/v1/providers", headers=api.as_("ops"))).json()["items"]
    assert entry["skipped_for"] == [
        {
            "prompt": "insights",
            "alias": "production",
            "version": 4,
            "commands": [
                "assay evaluate run --prompt insights/4 --provider scripted",
                "assay prompts promote insights 4",
            ],
        }
    ]


async def test_without_a_database_the_live_state_is_still_told(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows the alarms then."""

    def away(_database: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(providers, "open_alarms", away)
    answer = await api.client.get("/v1/providers", headers=api.as_("ops"))
    assert (answer.status_code, answer.json()["items"][0]["alarms"]) == (200, None)


async def test_it_is_for_platform_operators_only(api: Any) -> None:
    """Neither apps nor a tenant's own operator: the figures cover all tenants."""
    tenants_own = Keys(api.services.database).create("ops", "north", "tests").key
    for headers, status in (
        ({}, 401),
        (api.as_("app"), 403),
        ({"Authorization": f"Bearer {tenants_own}"}, 403),
        (api.as_("admin"), 200),
    ):
        assert (await api.client.get("/v1/providers", headers=headers)).status_code == status
