"""Event streams through the middleware and a real server: each event leaves at once, and a closed line is noticed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from fakes.fake_stream import BEGUN, INSIGHT
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from registry.insights import Insight
from registry.messages import Delta
from serving.asking import Tell
from serving.metrics import Metrics
from serving.middleware import BodyLimit, RequestFrame
from serving.routes.event_stream import EventStream

pytestmark = pytest.mark.contract

Work = Callable[[Tell], Awaitable[tuple[Insight, bool]]]


@asynccontextmanager
async def served(work: Work) -> AsyncIterator[str]:
    """The URL of a server whose every answer is a stream of this work."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await EventStream(work)(scope, receive, send)

    framed = RequestFrame(BodyLimit(app), Metrics())
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(framed, lifespan="off", log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        await serving


async def test_each_event_leaves_at_once() -> None:
    """The client has an event while the next one is still being made: nothing between collects them."""
    go_on = asyncio.Event()

    async def work(tell: Tell) -> tuple[Insight, bool]:
        await tell(BEGUN)
        for word in ("Ni", "ne."):
            await go_on.wait()
            go_on.clear()
            await tell(Delta(text=word))
        await go_on.wait()
        return INSIGHT, False

    seen: list[str] = []
    async with (
        served(work) as url,
        httpx.AsyncClient(trust_env=False, timeout=10) as client,
        client.stream("POST", url, json={}) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                go_on.set()  # only now is the next event made
    assert seen == ["meta", "delta", "delta", "done"]
    assert response.headers["x-request-id"]


async def test_a_closed_line_ends_the_work() -> None:
    """A client that goes away in the middle has the work cancelled, without anything being sent to it."""
    cancelled = asyncio.Event()

    async def work(tell: Tell) -> tuple[Insight, bool]:
        await tell(BEGUN)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return INSIGHT, False

    async with served(work) as url:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=10) as client,
            client.stream("POST", url, json={}) as response,
        ):
            await anext(response.aiter_bytes())
        async with asyncio.timeout(10):
            await cancelled.wait()


async def test_a_reader_that_takes_nothing_stops_the_work() -> None:
    """Once the socket's buffers are full the work waits: a piece is not made before the last one is on its way."""
    told = 0
    full = asyncio.Event()

    async def work(tell: Tell) -> tuple[Insight, bool]:
        nonlocal told
        await tell(BEGUN)
        try:
            while True:
                async with asyncio.timeout(0.5):
                    await tell(Delta(text="x" * 100_000))
                told += 1
        except TimeoutError:
            full.set()
            raise

    async with served(work) as url:
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        async with asyncio.timeout(20):
            await full.wait()
        writer.transport.abort()
    assert told < 200
