"""MLflow's push at our door: signed ones raise the signal, everything else costs little."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.webhooks import sign
from registry.signals import read_signal
from serving.routes import json_body
from serving.services import PUSHES_AT_ONCE_MAX

WEBHOOK_KEY = "planted-webhook-secret"


def hook(
    secret: str = WEBHOOK_KEY, delivery: str = "d1", at: float | None = None, alias: str = "production"
) -> dict[str, Any]:
    """A push as MLflow signs it."""
    data = {"name": "insights", "alias": alias, "version": "2"}
    body = json.dumps({"entity": "prompt_alias", "action": "created", "data": data}).encode()
    timestamp = str(int(time.time() if at is None else at))
    headers = {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": timestamp,
        "X-MLflow-Signature": sign(delivery, timestamp, body, secret),
    }
    return {"content": body, "headers": headers}


async def test_a_signed_push_raises_the_signal_once(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push bumps the row that workers read; its repetition is refused, changes nothing and wakes nobody."""
    woken: list[None] = []
    monkeypatch.setattr(api.services.candidates, "wake", lambda: woken.append(None))
    before = read_signal(api.services.database, PROMPTS_SIGNAL)
    push = hook(alias="candidate")
    first, again = [await api.client.post("/hooks/mlflow", **push) for _ in range(2)]
    assert (first.status_code, again.status_code, again.json()["code"]) == (204, 409, "webhook-replayed")
    assert read_signal(api.services.database, PROMPTS_SIGNAL) == before + 1
    assert len(woken) == 1


@pytest.mark.parametrize(("alias", "wakes"), [("candidate", 1), ("production", 0)])
async def test_a_push_about_the_candidate_wakes_its_announcer(
    api: Any, monkeypatch: pytest.MonkeyPatch, alias: str, wakes: int
) -> None:
    """The answer does not wait for Prefect; other aliases wake nobody."""
    woken: list[None] = []
    monkeypatch.setattr(api.services.candidates, "wake", lambda: woken.append(None))
    assert (await api.client.post("/hooks/mlflow", **hook(alias=alias))).status_code == 204
    assert len(woken) == wakes


@pytest.mark.parametrize("push", [hook("another-secret"), hook(at=0), {"content": b"{}"}, {"content": b"\xff"}])
async def test_an_unsigned_push_is_refused(api: Any, push: dict[str, Any]) -> None:
    """Wrong secret, old timestamp, no signature: 401, and the signal rests."""
    before = read_signal(api.services.database, PROMPTS_SIGNAL)
    answer = await api.client.post("/hooks/mlflow", **push)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert read_signal(api.services.database, PROMPTS_SIGNAL) == before


class SlowBody:
    """A body whose first byte comes and whose second never does; tells whether it was read."""

    def __init__(self) -> None:
        self.read = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.read.set()
        yield b"{"
        await asyncio.Event().wait()


async def post(api: Any, body: Any, headers: dict[str, str]) -> Any:
    """Send a push through the application, whose client would otherwise read the body first."""
    sent: list[Any] = []
    chunks = aiter(body)

    async def receive() -> Any:
        return {"type": "http.request", "body": await anext(chunks), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/hooks/mlflow",
        "raw_path": b"/hooks/mlflow",
        "query_string": b"",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await api.client._transport.app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(content)["code"]


@pytest.mark.parametrize("missing", [*hook()["headers"]])
async def test_an_unsigned_push_is_not_read(api: Any, missing: str) -> None:
    """Without one of the three signature headers the body is left where it is."""
    body = SlowBody()
    headers = {name: value for name, value in hook()["headers"].items() if name != missing}
    assert await post(api, body, headers) == (401, "unauthenticated")
    assert not body.read.is_set()


async def test_a_slow_push_is_given_up(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive in time gets request-timeout, as at the other doors."""
    monkeypatch.setattr(json_body, "READ_TIMEOUT_S", 0.01)
    assert await post(api, SlowBody(), hook()["headers"]) == (408, "request-timeout")


async def test_slow_pushes_never_fill_the_process(api: Any) -> None:
    """Only so many pushes are read at once; the next one is told to come back, and MLflow tries again."""
    bodies = [SlowBody() for _ in range(PUSHES_AT_ONCE_MAX)]
    slow = [asyncio.create_task(post(api, body, hook()["headers"])) for body in bodies]
    await asyncio.gather(*(body.read.wait() for body in bodies))
    assert await post(api, SlowBody(), hook()["headers"]) == (503, "overloaded")
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    assert (await api.client.post("/hooks/mlflow", **hook())).status_code == 204
