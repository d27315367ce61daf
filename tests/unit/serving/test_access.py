"""Keys, roles and tenants at the door."""

from typing import Any

import pytest

from registry.database import Database
from registry.tenants import Keys, Tenants, Unauthenticated
from serving.access import Access


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer assay_x",
        "Bearer assay_abc_secret",
        "Bearer \u00ff\u00fe",
        "Bearer " + "x" * 5000,
    ],
)
async def test_a_missing_or_wrong_key_is_unauthenticated(api: Any, header: str) -> None:
    """Whatever is not a key gets 401 with WWW-Authenticate, and is not told why."""
    headers = {"Authorization": header.encode("latin-1")} if header else {}
    answer = await api.client.post("/v1/insights", json={"question": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_two_authorization_headers_are_refused(api: Any) -> None:
    """It is not guessed which of two keys counts."""
    headers = [("Authorization", f"Bearer {api.keys['app']}"), ("Authorization", f"Bearer {api.keys['south']}")]
    answer = await api.client.post("/v1/insights", json={"question": "x"}, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize("who", ["reviewer", "auditor", "engineer", "ops"])
async def test_only_apps_and_admins_ask(api: Any, who: str) -> None:
    """Another role gets forbidden, before its body is read."""
    answer = await api.client.post("/v1/insights", content=b"{", headers=api.as_(who))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_the_key_is_checked_before_the_body(api: Any) -> None:
    """A caller without a key learns nothing about the body it sent."""
    answer = await api.client.post("/v1/insights", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


async def test_a_platform_key_names_its_tenant(api: Any) -> None:
    """With Assay-Tenant a platform key asks for that tenant, and the log says so."""
    answer = await api.client.post(
        "/v1/insights", json={"question": "x"}, headers=api.as_("admin", **{"Assay-Tenant": "south"})
    )
    intent = api.audit()[-2]["body"]
    assert answer.status_code == 200
    assert (intent["tenant"], intent["platform_key"]) == ("south", True)


@pytest.mark.parametrize(
    ("named", "code"), [(None, "invalid-request"), ("nobody", "not-found"), ("A B", "invalid-request")]
)
async def test_a_platform_key_without_a_real_tenant_is_refused(api: Any, named: str | None, code: str) -> None:
    """Asking needs a tenant that exists."""
    headers = api.as_("admin") | ({"Assay-Tenant": named} if named else {})
    answer = await api.client.post("/v1/insights", json={"question": "x"}, headers=headers)
    assert answer.json()["code"] == code


async def test_a_tenants_key_cannot_name_another_tenant(api: Any) -> None:
    """Assay-Tenant on a tenant's key never widens it."""
    answer = await api.client.post(
        "/v1/insights", json={"question": "x"}, headers=api.as_("app", **{"Assay-Tenant": "south"})
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert api.audit() == []


async def test_a_tenants_admin_stays_inside_its_tenant(filled: Any) -> None:
    """`admin` widens what a key may do, not whose data it sees: another tenant's insight is not there."""
    theirs = (await filled.ask()).json()["id"]
    key = Keys(filled.services.database).create("admin", "south", "tests").key
    headers = {"Authorization": f"Bearer {key}"}
    answers = [
        await filled.client.get(f"/v1/insights/{theirs}", headers=headers | named)
        for named in ({}, {"Assay-Tenant": "south"}, {"Assay-Tenant": "north"})
    ]
    assert [answer.json()["code"] for answer in answers] == ["insight-not-found", "insight-not-found", "forbidden"]
    own = (await filled.client.post("/v1/insights", json={"question": "return rate?"}, headers=headers)).json()
    assert own["passages"] == []
    assert filled.audit()[-2]["body"]["tenant"] == "south"


async def test_a_revoked_key_stops_working_when_the_cache_has_run_out(database: Database) -> None:
    """A revocation is noticed after the cache's second, not later."""
    now = [0.0]
    keys = Keys(database)
    access = Access(keys, Tenants(database), clock=lambda: now[0])
    made = keys.create("app", None, "tests")
    await access.principal(made.key)
    keys.revoke(made.id)
    now[0] = 1.1
    with pytest.raises(Unauthenticated):
        await access.principal(made.key)


async def test_the_cache_is_bounded(database: Database) -> None:
    """However many keys come by, only so many are remembered, none of them in clear."""
    keys = Keys(database)
    access = Access(keys, Tenants(database), size=2)
    made = [keys.create("app", None, "tests").key for _ in range(4)]
    for key in made:
        await access.principal(key)
    assert len(access._known) == 2
    assert not any(key.encode() in str(access._known).encode() for key in made)
