"""POST /v1/prompts/{name}/{version}/approvals and /waivers: a person's word, and nobody else's."""

from typing import Any

import httpx
import pytest
from fakes.fake_serving import prompt_version
from sqlalchemy import select

from registry.database import upsert
from registry.prompts.approvals import WORDS_MAX
from registry.prompts.evidence import Evidence, evidence_for
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.promoted import PromptTampered
from registry.prompts.versions import PromotedVersion
from registry.schema import evidence, prompt_hashes
from registry.tenants import Keys

CANDIDATE = prompt_version(2, "Answer well.")
YES = {"decision": "approve", "reason": "I read it."}


@pytest.fixture
def spoken(api: Any) -> Any:
    """An API with a second version, and two engineers."""
    api.prompts.numbered[2] = CANDIDATE
    for person in ("ada", "bob"):
        api.keys[person] = Keys(api.services.database).create("engineer", None, person).key
    return api


async def say(api: Any, who: str, what: str = "approvals", version: object = 2, **body: object) -> httpx.Response:
    """Send a word."""
    return await api.client.post(f"/v1/prompts/insights/{version}/{what}", json=body, headers=api.as_(who))


def kept(api: Any) -> tuple[Evidence, ...]:
    """The words about the version, newest first."""
    return evidence_for(api.services.database, "insights", CANDIDATE.content_hash)


def written_by(api: Any, author: str) -> None:
    """Have the version's author known."""
    row: dict[str, Any] = {"name": "insights", "version": 2, "content_hash": CANDIDATE.content_hash}
    with api.services.database.write() as connection:
        upsert(connection, prompt_hashes, row | {"first_seen_ms": 0, "author": author})


async def test_an_approval_is_kept_with_its_giver(spoken: Any) -> None:
    """The name is the key's owner; the answer says what was kept, and the audit log knew it before."""
    answer = await say(spoken, "ada", **YES)
    (word,) = kept(spoken)
    assert (word.kind, word.verdict, word.details["by"], word.details["reason"]) == (
        "approval",
        "PASS",
        "ada",
        "I read it.",
    )
    told = answer.json()
    assert (answer.status_code, told["id"], told["by"], told["decision"]) == (201, word.id, "ada", "approve")
    assert told["content_hash"] == CANDIDATE.content_hash
    (entry,) = spoken.audit("prompt.approval")
    assert (entry["body"]["by"], entry["body"]["version"]) == ("ada", 2)


async def test_a_word_has_the_page_rewritten(spoken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is kept, and not when it was refused."""
    asked: list[tuple[str, int]] = []

    def ask(name: str, version: int) -> None:
        asked.append((name, version))

    monkeypatch.setattr(spoken.services.pages, "ask", ask)
    await say(spoken, "ada", version=9, **YES)
    await say(spoken, "app", **YES)
    assert asked == []
    await say(spoken, "ada", **YES)
    await say(spoken, "ada", "waivers", hours=1, reason="An outage.")
    assert asked == [("insights", 2), ("insights", 2)]


async def test_a_rejection_is_kept(spoken: Any) -> None:
    """Also an author's: who wrote it may take it back."""
    written_by(spoken, "ada")
    answer = await say(spoken, "ada", decision="reject", reason="I see it now.")
    assert (answer.status_code, kept(spoken)[0].verdict) == (201, "FAIL")


async def test_a_signature_states_its_hours(spoken: Any) -> None:
    """A waiver's signature is evidence of its own kind."""
    answer = await say(spoken, "ada", "waivers", hours=2, reason="an outage")
    assert (answer.status_code, answer.json()["hours"], answer.json()["kind"]) == (201, 2.0, "waiver")
    assert (kept(spoken)[0].kind, kept(spoken)[0].details["hours"]) == ("waiver", 2.0)
    assert len(spoken.audit("prompt.waiver")) == 1


@pytest.mark.parametrize("who", ["app", "ops", "admin", "engineer"])
@pytest.mark.parametrize(("what", "body"), [("approvals", YES), ("waivers", {"hours": 1, "reason": "x"})])
async def test_only_an_engineers_platform_key_speaks(spoken: Any, who: str, what: str, body: dict[str, Any]) -> None:
    """Not another role's, not the administrator's, which is nobody, and not an engineer's of one tenant."""
    answer = await say(spoken, who, what, **body)
    assert (answer.status_code, answer.json()["code"], kept(spoken)) == (403, "forbidden", ())


async def test_an_author_approves_nothing_of_theirs(spoken: Any) -> None:
    """The refusal says who may; however the name is written."""
    written_by(spoken, "Ada ")
    answer = await say(spoken, "ada", **YES)
    assert (answer.status_code, kept(spoken)) == (403, ())
    assert "another person has to approve" in answer.json()["detail"]
    assert (await say(spoken, "bob", **YES)).status_code == 201


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("approvals", {"decision": "maybe", "reason": "x"}),
        ("approvals", {"decision": "approve", "reason": "  "}),
        ("approvals", {"decision": "approve"}),
        ("approvals", YES | {"by": "bob"}),
        ("waivers", {"hours": 0, "reason": "x"}),
        ("waivers", {"hours": 721, "reason": "x"}),
        ("waivers", {"hours": "4", "reason": "x"}),
        ("waivers", {"hours": 25, "reason": "longer than the policy gives"}),
    ],
)
async def test_an_unfit_word_is_refused(spoken: Any, what: str, body: dict[str, Any]) -> None:
    """Above all one that says for itself whose it is."""
    answer = await say(spoken, "ada", what, **body)
    assert (answer.status_code, answer.json()["code"], kept(spoken)) == (422, "invalid-request", ())


@pytest.mark.parametrize("hours", [25, 999, 1e9])
async def test_a_waiver_that_is_too_long_is_told_the_policys_maximum(spoken: Any, hours: float) -> None:
    """However many hours were asked for, it is the policy that sets the most."""
    answer = await say(spoken, "ada", "waivers", hours=hours, reason="x")
    assert answer.status_code == 422
    assert f"holds for 24 hours at most, not for {hours:g}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("version", "status", "code"),
    [(9, 404, "prompt-not-found"), (0, 422, "invalid-request"), ("x", 422, "invalid-request"), (10**9, 422, None)],
)
async def test_a_version_that_is_not_there(spoken: Any, version: object, status: int, code: str | None) -> None:
    """A problem, and no word without a content."""
    answer = await say(spoken, "ada", version=version, **YES)
    assert (answer.status_code, answer.json()["code"]) == (status, code or "invalid-request")


async def test_a_prompt_that_no_policy_names_has_no_words(spoken: Any) -> None:
    """There is nothing that they could decide."""
    template = CANDIDATE.template.model_copy(update={"use_case": "reports"})
    spoken.prompts.numbered[3] = PromotedVersion(
        name="insights", version=3, alias="", template=template, content_hash="0" * 64
    )
    answer = await say(spoken, "ada", version=3, **YES)
    assert (answer.status_code, answer.json()["code"]) == (404, "use-case-not-found")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(MlflowUnavailable("away"), 503, "unavailable"), (PromptTampered("rewritten"), 409, "prompt-tampered")],
)
async def test_what_cannot_be_read_is_not_spoken_about(spoken: Any, error: Any, status: int, code: str) -> None:
    """MLflow away, or a text that somebody rewrote."""
    spoken.prompts.error = error
    answer = await say(spoken, "ada", **YES)
    assert (answer.status_code, answer.json()["code"], kept(spoken)) == (status, code, ())


async def test_one_person_has_so_many_words(spoken: Any) -> None:
    """Then it is a conflict, and the log is not filled either."""
    for _ in range(WORDS_MAX):
        await say(spoken, "ada", **YES)
    answer = await say(spoken, "ada", **YES)
    assert (answer.status_code, len(spoken.audit("prompt.approval"))) == (409, WORDS_MAX)


async def test_without_its_log_no_word_is_kept(spoken: Any) -> None:
    """What could not be recorded did not happen."""
    spoken.services.log.close()
    answer = await say(spoken, "ada", **YES)
    assert (answer.status_code, answer.json()["code"]) == (503, "log-unavailable")
    with spoken.services.database.read() as connection:
        assert connection.execute(select(evidence)).all() == []
