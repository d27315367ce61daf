"""A client of an ASGI application without a server between them: it sees each message, may read slowly or hang up."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

Event = tuple[str, dict[str, Any]]
"""Name and data of one server-sent event."""


class FakeClient:
    """One POST; `call` it in a task, or await it.

    Args:
        app: the application.
        path: what is asked.
        body: the JSON body.
        headers: besides the content type.
        reads: how many messages are taken before the line counts as full; None takes all.
    """

    def __init__(
        self, app: Any, path: str, body: Any, headers: Mapping[str, str] | None = None, reads: int | None = None
    ) -> None:
        self._app = app
        self._body = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        sent = {"content-type": "application/json", **(headers or {})}
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("api", 80),
            "scheme": "http",
        }
        self._reads = reads
        self._hung_up = asyncio.Event()
        self._news = asyncio.Condition()
        self._text = ""
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.ended = False

    async def call(self) -> None:
        """Send the request and take the answer, to the end."""
        await self._app(self._scope, self._receive, self._send)

    def hang_up(self) -> None:
        """Close the line."""
        self._hung_up.set()

    @property
    def comments(self) -> int:
        """How many comments have come."""
        return sum(line.startswith(":") for line in self._text.splitlines())

    @property
    def events(self) -> list[Event]:
        """The events that have come so far."""
        blocks = [block for block in self._text.split("\n\n")[:-1] if not block.startswith(":")]
        lines = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
        assert all(set(each) == {"event", "data"} for each in lines)
        return [(each["event"], json.loads(each["data"])) for each in lines]

    @property
    def answer(self) -> str:
        """All deltas, joined."""
        return "".join(data["text"] for name, data in self.events if name == "delta")

    async def until(self, name: str) -> dict[str, Any]:
        """Wait for the first event of this name; its data."""
        async with self._news:
            await self._news.wait_for(lambda: any(found == name for found, _ in self.events))
        return next(data for found, data in self.events if found == name)

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            return self._body.pop()
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._reads == 0:
            await asyncio.Event().wait()
        self._reads = None if self._reads is None else self._reads - 1
        if self._hung_up.is_set():
            return  # what a server does for a connection that is gone
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            return
        async with self._news:
            self._text += message["body"].decode()
            self.ended = not message["more_body"]
            self._news.notify_all()
