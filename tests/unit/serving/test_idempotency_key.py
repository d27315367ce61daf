"""The same request twice, and one that only looks the same."""

import asyncio
from typing import Any

import pytest

from registry.database import DatabaseUnavailable


async def ask(api: Any, key: str, question: str = "What is the return rate?", who: str = "app") -> Any:
    """POST with an Idempotency-Key."""
    headers = api.as_(who, **{"Idempotency-Key": key})
    return await api.client.post("/v1/insights", json={"question": question}, headers=headers)


async def test_a_repeated_request_gets_the_same_insight(filled: Any) -> None:
    """The second answer is the first one, and the model is asked once."""
    first, second = await ask(filled, "a"), await ask(filled, "a")
    assert first.json() == second.json()
    assert (first.headers["Idempotency-Replayed"], second.headers["Idempotency-Replayed"]) == ("false", "true")
    assert len(filled.provider.requests) == 1


async def test_a_replay_is_logged_as_a_reading(filled: Any) -> None:
    """Giving stored content out again leaves its trace like any other look-up."""
    made = (await ask(filled, "a")).json()
    await ask(filled, "a")
    assert [entry["body"]["insight"] for entry in filled.audit("insight-read")] == [made["id"]]


async def test_an_answer_is_given_out_even_when_its_key_cannot_be_kept(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sealed and paid for reaches its caller."""

    def fail(*_args: Any) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(filled.services.records, "finish", fail)
    assert (await ask(filled, "a")).status_code == 200


async def test_another_body_under_the_same_key_is_a_conflict(filled: Any) -> None:
    """A key belongs to one body."""
    await ask(filled, "a")
    answer = await ask(filled, "a", "Another question?")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency-conflict")


async def test_a_key_belongs_to_its_tenant(filled: Any) -> None:
    """Two tenants may use the same key for different questions."""
    await ask(filled, "a")
    answer = await ask(filled, "a", "Something else?", who="south")
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (200, "false")


async def test_of_two_at_once_one_is_told_to_wait(filled: Any) -> None:
    """Requests that race under one key cause one call."""
    answers = await asyncio.gather(ask(filled, "a"), ask(filled, "a"))
    assert sorted(answer.status_code for answer in answers) in ([200, 200], [200, 409])
    assert len(filled.provider.requests) == 1


async def test_a_failed_call_leaves_the_key_free(filled: Any) -> None:
    """After a failure the same request may succeed."""
    quote = filled.provider.answer

    async def fail(_request: Any) -> Any:
        raise RuntimeError

    filled.provider.answer = fail
    assert (await ask(filled, "a")).status_code == 500
    filled.provider.answer = quote
    assert (await ask(filled, "a")).status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "\u00e9"])
async def test_a_key_with_other_characters_is_refused(filled: Any, key: str) -> None:
    """Only visible ASCII, at most 200 characters."""
    headers = filled.as_("app") | {"Content-Type": "application/json"}
    answer = await filled.client.post(
        "/v1/insights",
        content=b'{"question": "x"}',
        headers=[*((k, v) for k, v in headers.items()), (b"Idempotency-Key", key.encode("latin-1"))],
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
