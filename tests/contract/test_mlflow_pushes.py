"""MLflow's pushes as a real server sends them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread

import pytest

from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import PromptTemplate, Variable
from registry.prompts.webhooks import WebhookRejected, ensure_webhook, verify

pytestmark = pytest.mark.contract

DELIVERY_TIMEOUT_S = 20.0
PROMPT = PromptTemplate(
    name="pushed",
    use_case="insights",
    owner="platform",
    template="Answer {{question}}.",
    variables={"question": Variable(max_chars=100)},
)


async def test_a_real_push_verifies(mlflow_url: str, mlflow_admin_key: str) -> None:
    """MLflow pushes every set, move and removal of an alias, signed so that `verify` accepts it."""
    rest, key = MlflowRest(mlflow_url, key=mlflow_admin_key), mlflow_admin_key
    async with _receiver() as (url, received):
        first = await ensure_webhook(mlflow_url, url, "secret of this test", key=key)
        assert await ensure_webhook(mlflow_url, url, "secret of this test", key=key) == first
        # The server lists its webhooks once a second at most; it may not know ours yet.
        await asyncio.sleep(1.1)
        publisher = PromptPublisher(rest)
        await publisher.push(PROMPT)
        await publisher.push(PROMPT.model_copy(update={"template": "{{question}}"}))
        for version in (1, 2):
            await publisher.set_alias(PROMPT.name, "production", version)
        await rest.send("DELETE", "registered-models/alias", {"name": PROMPT.name, "alias": "production"})
        pushes = [await asyncio.to_thread(received.get, timeout=DELIVERY_TIMEOUT_S) for _ in range(3)]
        for hook in (await rest.get("webhooks", {}))["webhooks"]:
            await rest.send("DELETE", f"webhooks/{hook['webhook_id']}", {})
    await rest.aclose()
    deliveries = [verify(headers, body, "secret of this test", time.time()) for headers, body in pushes]
    assert {(each.event, each.prompt, each.alias, each.version) for each in deliveries} == {
        ("prompt_alias.created", PROMPT.name, "production", 1),
        ("prompt_alias.created", PROMPT.name, "production", 2),
        ("prompt_alias.deleted", PROMPT.name, "production", None),
    }
    assert len({each.id for each in deliveries}) == 3
    with pytest.raises(WebhookRejected):
        verify(*pushes[0], "another secret", time.time())


Push = tuple[dict[str, str], bytes]


@asynccontextmanager
async def _receiver() -> AsyncIterator[tuple[str, "Queue[Push]"]]:
    """A server on a free port that keeps what it is sent."""
    received: Queue[Push] = Queue()

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks/mlflow", received
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
