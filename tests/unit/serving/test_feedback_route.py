"""POST /v1/insights/{id}/feedback over the real object graph."""

from typing import Any

import pytest


async def say(api: Any, insight: str, who: str = "app", headers: dict[str, str] | None = None, **body: Any) -> Any:
    """Give feedback."""
    sent = api.as_(who, **(headers or {}))
    return await api.client.post(f"/v1/insights/{insight}/feedback", json=body, headers=sent)


async def test_feedback_is_kept_and_audited(filled: Any) -> None:
    """The word comes back as it is kept; the log says who gave it and binds the comment without showing it."""
    insight = (await filled.ask(subject="ada")).json()["id"]
    answer = await say(filled, insight, rating=4, accepted=True, comment=" planted remark ")
    document = answer.json()
    assert answer.status_code == 200
    assert document.pop("given_at")
    assert document == {"insight": insight, "rating": 4, "accepted": True, "comment": "planted remark"}
    entry = filled.audit("insight-feedback")[-1]["body"]
    assert (entry["insight"], entry["rating"], entry["accepted"], entry["role"]) == (insight, 4, True, "app")
    assert entry["comment"] is not None
    assert "planted" not in str(filled.audit("insight-feedback"))


async def test_that_it_was_used_is_enough(filled: Any) -> None:
    """`accepted` alone is feedback; without both, the answer says what to say."""
    insight = (await filled.ask()).json()["id"]
    answer = await say(filled, insight, accepted=True)
    assert (answer.status_code, answer.json()["rating"], answer.json()["accepted"]) == (200, None, True)
    nothing = await say(filled, insight)
    assert "say `rating`, `accepted` or both" in nothing.text


async def test_only_the_own_tenants_insights_take_feedback(filled: Any) -> None:
    """Another tenant's insight and an odd id look like none; a platform key names the tenant."""
    insight = (await filled.ask()).json()["id"]
    theirs = await say(filled, insight, who="south", rating=1)
    odd = await say(filled, "ins_1'--", rating=1)
    assert [(each.status_code, each.json()["code"]) for each in (theirs, odd)] == [(404, "insight-not-found")] * 2
    assert (await say(filled, insight, who="admin", rating=1)).status_code == 422
    named = await say(filled, insight, who="admin", headers={"Assay-Tenant": "north"}, rating=1)
    assert named.status_code == 200


@pytest.mark.parametrize("who", ["reviewer", "auditor", "engineer", "ops"])
async def test_other_roles_may_not_speak_for_an_app(filled: Any, who: str) -> None:
    """Only a key with role app gives feedback."""
    insight = (await filled.ask()).json()["id"]
    assert (await say(filled, insight, who=who, rating=1)).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"comment": "neither rated nor used"},
        {"rating": None, "accepted": None},
        {"rating": 0},
        {"rating": 6},
        {"rating": 2.5},
        {"rating": "4"},
        {"rating": True},
        {"rating": 3, "accepted": "yes"},
        {"rating": 3, "comment": ""},
        {"rating": 3, "comment": "x" * 2_001},
        {"rating": 3, "comment": "a\x00b"},
        {"rating": 3, "stars": 5},
    ],
)
async def test_a_body_that_does_not_fit_is_refused(filled: Any, body: dict[str, Any]) -> None:
    """Ratings are whole numbers from 1 to 5; nothing unknown comes in."""
    insight = (await filled.ask()).json()["id"]
    answer = await say(filled, insight, **body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
