"""POST and GET /v1/insights over the real object graph."""

import json
from typing import Any

import pytest
from fakes.fake_serving import FACT, prompt_version, prove, withdraw

from registry.errors import Unavailable
from registry.prompts.schema import Variable
from serving.providers.base import Overloaded


async def test_an_answer_is_cited_priced_and_sealed(filled: Any) -> None:
    """An insight carries its claims with evidence, its prompt version, its cost and its audit position."""
    answer = (await filled.ask()).json()
    evidence = answer["claims"][0]["evidence"]
    outcome = filled.audit()[-1]
    assert answer | {"passages": None, "id": None, "created_at": None, "audit": None, "claims": None} == {
        "id": None,
        "use_case": "insights",
        "status": "served",
        "answer": FACT,
        "claims": None,
        "passages": None,
        "abstained": False,
        "prompt": {"name": "insights", "version": 1, "alias": "production", "arm": None, "experiment": None},
        "provider": {"name": "scripted", "model": "scripted", "asked_model": "scripted", "attempts": 1},
        "usage": {
            "input": 100,
            "cache_read": 0,
            "cache_write_5m": 0,
            "cache_write_1h": 0,
            "output": 20,
            "reasoning": 0,
        },
        "cost_usd": "0.000000000",
        "guardrails": [],
        "audit": None,
        "created_at": None,
        "ai_generated": True,
    }
    assert answer["claims"][0]["grounded"] is True
    assert evidence[0]["id"] == answer["passages"][0]["id"]
    assert answer["audit"]["log"] == filled.services.log.name
    assert (outcome["phase"], outcome["status"]) == ("outcome", "served")
    assert outcome["body"]["insight"] == answer["id"]


async def test_an_insight_can_be_looked_up_and_the_reading_is_logged(filled: Any) -> None:
    """GET gives the same insight, and the log says who read it."""
    made = (await filled.ask()).json()
    found = await filled.client.get(f"/v1/insights/{made['id']}", headers=filled.as_("auditor"))
    assert found.json() == made
    assert filled.audit("insight-read")[-1]["body"]["role"] == "auditor"


async def test_no_tenant_sees_another_tenants_insight(filled: Any) -> None:
    """An insight of another tenant looks like one that does not exist."""
    made = (await filled.ask()).json()
    theirs = await filled.client.get(f"/v1/insights/{made['id']}", headers=filled.as_("south"))
    nobodys = await filled.client.get(f"/v1/insights/ins_{'0' * 32}", headers=filled.as_("south"))
    assert (theirs.status_code, theirs.json()["code"]) == (404, "insight-not-found")
    assert {**nobodys.json(), "detail": "", "request_id": ""} == {**theirs.json(), "detail": "", "request_id": ""}


async def test_retrieval_stays_inside_the_tenant(filled: Any) -> None:
    """Another tenant's question finds none of the first one's passages."""
    answer = (await filled.ask(who="south")).json()
    assert answer["passages"] == []
    assert answer["abstained"] is True


async def test_an_empty_corpus_is_answered_honestly_without_a_model(api: Any) -> None:
    """A tenant without documents gets an abstention that says so, and no provider is asked."""
    answer = (await api.ask()).json()
    assert (answer["status"], answer["abstained"], answer["claims"]) == ("served", True, [])
    assert "no documents" in answer["answer"]
    assert answer["provider"] == {"name": "none", "model": "none", "asked_model": "none", "attempts": 0}
    assert api.provider.requests == []


async def test_metrics_alone_are_enough_to_ask_a_model(api: Any) -> None:
    """With metrics and no documents the model is asked."""
    metrics = [{"name": "sign-ups", "unit": "count", "points": [{"t": "2026-09", "value": 1240}]}]
    answer = await api.ask(metrics=metrics)
    assert answer.status_code == 200
    assert "1240" in api.provider.requests[0].messages[0].content


async def test_content_never_reaches_the_audit_log(filled: Any) -> None:
    """The log binds question and answer by commitments and holds neither."""
    await filled.ask("What is the return rate, planted-question?", subject="planted-subject", session="planted-session")
    text = json.dumps(filled.audit())
    assert "planted" not in text
    assert "percent" not in text


async def test_stored_content_is_encrypted(filled: Any, database_url: str) -> None:
    """Question and passages cannot be read from the database file."""
    await filled.ask("planted-question about the return rate")
    raw = b"".join(path.read_bytes() for path in filled.services.settings.home.parent.glob("registry.db*"))
    assert b"planted-question" not in raw
    assert FACT.encode() not in raw


async def test_an_unknown_use_case_is_refused_and_audited(filled: Any) -> None:
    """use-case-not-found, with an intent and a refused outcome."""
    answer = await filled.ask(use_case="nothing-such")
    intent, outcome = filled.audit()[-2:]
    assert (answer.status_code, answer.json()["code"]) == (404, "use-case-not-found")
    assert (intent["phase"], outcome["status"]) == ("intent", "refused")
    assert outcome["body"]["code"] == "use-case-not-found"


async def test_nothing_promoted_is_said_plainly(filled: Any) -> None:
    """Without a promoted version the answer is prompt-not-found."""
    withdraw(filled.services.database, prompt_version())
    await filled.services.prompts.refresh()
    answer = await filled.ask()
    assert (answer.status_code, answer.json()["code"]) == (404, "prompt-not-found")


async def test_without_a_proven_provider_nobody_is_asked(filled: Any) -> None:
    """providers-unavailable names the prompt and the command, and the model hears nothing."""
    prove(filled.services.database, prompt_version(), models=[("other", "m")], at_ms=5_000)
    await filled.services.prompts.refresh()
    answer = await filled.ask()
    assert (answer.status_code, answer.json()["code"]) == (503, "providers-unavailable")
    assert "assay evaluate run --prompt insights/1 --provider scripted" in answer.json()["detail"]
    assert filled.provider.requests == []


async def test_the_log_says_what_let_the_prompt_serve(filled: Any) -> None:
    """The outcome names the promotion record, so that an auditor finds its evidence."""
    await filled.ask()
    assert filled.audit()[-1]["body"]["prompt"] == {
        "name": "insights",
        "version": 1,
        "content_hash": prompt_version().content_hash,
        "promotion": "1000-1",
    }


async def test_a_failing_provider_is_audited_and_named(filled: Any) -> None:
    """providers-unavailable says who was tried; the outcome is failed."""

    async def fail(_request: Any) -> Any:
        raise Overloaded("scripted answered 529")

    filled.provider.answer = fail
    answer = await filled.ask()
    assert (answer.status_code, answer.json()["code"]) == (503, "providers-unavailable")
    assert answer.json()["tried"][0]["provider"] == "scripted"
    assert filled.audit()[-1]["status"] == "failed"


async def test_the_engine_down_is_a_clear_problem(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """retrieval-unavailable while the engine is away, and answers again afterwards."""

    async def away(*_args: Any, **_more: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(filled.services.corpus.client, "query_points", away)
        answer = await filled.ask()
    assert (answer.status_code, answer.json()["code"]) == (503, "retrieval-unavailable")
    assert (await filled.ask()).status_code == 200


async def test_a_broken_log_stops_the_call_before_a_provider_is_asked(filled: Any) -> None:
    """Without a durable intent nothing is asked."""
    filled.services.log.close()
    answer = await filled.ask()
    assert (answer.status_code, answer.json()["code"]) == (503, "log-unavailable")
    assert filled.provider.requests == []


async def test_a_record_that_cannot_be_stored_is_corrected_in_the_log(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database fails after the outcome, the log says that the insight was lost."""

    def fail(*_args: Any, **_more: Any) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(filled.services.records, "save", fail)
    answer = await filled.ask()
    lost = filled.audit("insight-lost")[-1]
    assert answer.status_code == 503
    assert lost["body"]["intent"] == filled.audit()[-1]["intent"]


async def test_a_use_case_may_be_limited_to_tenants(filled: Any) -> None:
    """A tenant outside the policy's list does not see the use case."""
    policies = filled.services.insights._policies
    policies["insights"] = policies["insights"].model_copy(update={"tenants": ("south",)})
    assert (await filled.ask()).json()["code"] == "use-case-not-found"


async def test_a_prompt_that_wants_less_gets_less(filled: Any) -> None:
    """Serving fills in only what the version declares, and packs passages into their room."""
    small = prompt_version(
        2,
        question=Variable(type="string", max_chars=4_000),
        passages=Variable(type="passages", max_chars=60),
    )
    await filled.prove(small)
    answer = (await filled.ask()).json()
    assert answer["prompt"]["version"] == 2
    assert len(answer["passages"]) == 1
