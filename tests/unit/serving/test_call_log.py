"""Every call leaves an outcome: cancelled, too late, hung up on, or stopped with the process."""

import asyncio
from typing import Any

import pytest
from fakes.fake_serving import StalledProvider

from registry.insights import Question
from registry.tenants import Principal

CALLER = Principal(key_id="k1", tenant="north", role="app", owner="tests")


@pytest.fixture
def provider() -> StalledProvider:
    """A model that does not answer until it is told."""
    return StalledProvider()


async def test_a_cancelled_call_is_audited(filled: Any) -> None:
    """Cancelling while the model works leaves the outcome `cancelled`."""
    call = asyncio.create_task(filled.services.insights.answer(Question(question="return rate?"), CALLER))
    await filled.provider.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert filled.audit()[-1]["status"] == "cancelled"


async def test_a_call_cancelled_while_its_intent_is_written_is_audited(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An intent that becomes durable after the cancellation is closed all the same."""
    write, begun = filled.services.log.intent, asyncio.Event()

    async def slow(*args: Any) -> int:
        begun.set()
        await asyncio.sleep(0)
        return await write(*args)

    monkeypatch.setattr(filled.services.log, "intent", slow)
    call = asyncio.create_task(filled.services.insights.answer(Question(question="return rate?"), CALLER))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    intent, outcome = filled.audit()[-2:]
    assert (intent["phase"], outcome["status"]) == ("intent", "cancelled")
    assert filled.provider.requests == []


async def test_a_call_cancelled_while_it_is_sealed_is_served(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there is an answer it is recorded whole, whatever becomes of the caller."""
    write, begun = filled.services.log.outcome, asyncio.Event()

    async def slow(*args: Any) -> Any:
        begun.set()
        return await write(*args)

    monkeypatch.setattr(filled.services.log, "outcome", slow)
    filled.provider.release.set()
    call = asyncio.create_task(filled.services.insights.answer(Question(question="return rate?"), CALLER))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    outcome = filled.audit()[-1]
    assert outcome["status"] == "served"
    assert filled.services.records.get(outcome["body"]["insight"], "north").status == "served"


async def test_the_deadline_of_the_request_counts(filled: Any) -> None:
    """A provider that stalls is cut off at deadline_s; the outcome says why."""
    answer = await filled.ask(deadline_s=0.05)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
    assert filled.audit()[-1]["status"] == "deadline-exceeded"


async def test_a_client_that_hangs_up_loses_nothing(filled: Any) -> None:
    """The call goes on, is recorded, and an Idempotency-Key gets its answer later."""
    app = filled.client._transport.app
    body = b'{"question": "What is the return rate?"}'
    headers = [
        (b"authorization", f"Bearer {filled.keys['app']}".encode()),
        (b"content-type", b"application/json"),
        (b"idempotency-key", b"once"),
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/insights",
        "raw_path": b"/v1/insights",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("api", 80),
        "scheme": "http",
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(_message: Any) -> None:  # what a server does for a connection that is gone
        return

    request = asyncio.create_task(app(scope, receive, send))
    await filled.provider.asked.wait()
    filled.provider.release.set()
    await request
    later = await filled.client.post(
        "/v1/insights", content=body, headers=dict(headers_text(headers)) | {"Idempotency-Key": "once"}
    )
    assert filled.audit()[-1]["status"] == "served"
    assert later.headers["Idempotency-Replayed"] == "true"
    assert len(filled.provider.requests) == 1


async def test_a_stopping_process_waits_for_outcomes(filled: Any) -> None:
    """When calls are cut off by a shutdown, the log is closed after their outcomes."""
    call = asyncio.create_task(filled.services.insights.answer(Question(question="return rate?"), CALLER))
    await filled.provider.asked.wait()
    call.cancel()
    await filled.services.aclose()
    assert [entry["status"] for entry in filled.audit() if entry["phase"] == "outcome"] == ["cancelled"]
    assert filled.services.log._appender.closed


def headers_text(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Header pairs as text."""
    return [(name.decode(), value.decode()) for name, value in headers]
