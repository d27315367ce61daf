"""A fake vendor that speaks Chat Completions over real HTTP, with planted faults."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

Fault = Literal[
    "none",
    "rate-limited",
    "rate-limited-date",
    "no-quota",
    "server-error",
    "overloaded",
    "bad-key",
    "no-model",
    "bad-request",
    "too-long",
    "too-long-llama",
    "filtered",
    "reset",
    "cut",
    "stall",
    "drip",
    "malformed-json",
    "html",
    "no-choices",
    "not-the-schema",
    "stopped-short",
    "empty",
    "refusal",
    "huge",
    "redirect",
    "no-usage",
    "bare",
]

INSIGHT = {"answer": "Nine of ten arrived.", "claims": [{"text": "Nine of ten arrived.", "citations": ["P1"]}]}
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 30,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 12},
}
_ERRORS: dict[str, tuple[int, dict[str, str], dict[str, str]]] = {
    "rate-limited": (429, {"retry-after": "7"}, {"code": "rate_limit_exceeded"}),
    "rate-limited-date": (429, {"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"}, {"code": "rate_limit_exceeded"}),
    "no-quota": (429, {}, {"code": "insufficient_quota"}),
    "server-error": (500, {}, {"code": "server_error"}),
    "overloaded": (529, {}, {}),
    "bad-key": (401, {}, {"code": "invalid_api_key"}),
    "no-model": (404, {}, {"code": "model_not_found"}),
    "bad-request": (400, {}, {"code": "Your prompt 'the quarterly secret' is wrong"}),
    "too-long": (400, {}, {"code": "context_length_exceeded"}),
    "too-long-llama": (400, {}, {"code": "400", "type": "exceed_context_size_error"}),
    "filtered": (400, {}, {"code": "content_filter"}),
}


class FakeOpenAI:
    """Listens on a free loopback port; `async with FakeOpenAI("stall") as vendor: vendor.url`."""

    def __init__(self, fault: Fault = "none") -> None:
        self.fault: Fault = fault
        self.requests: list[dict[str, Any]] = []
        """Bodies, as they came."""
        self.headers: list[dict[str, str]] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Base URL, as a client configures it."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.requests.append(body)
                self.headers.append(headers)
                await self._answer(writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, body: Mapping[str, Any]) -> None:
        fault = self.fault
        if fault in _ERRORS:
            status, headers, error = _ERRORS[fault]
            text = json.dumps({"error": {"message": "about sk-planted and your prompt", **error}})
            await _send(writer, text, status=status, headers=headers)
        elif fault == "redirect":
            await _send(writer, "{}", status=307, headers={"location": "http://127.0.0.1:9/v1/chat/completions"})
        elif fault == "reset":
            writer.transport.abort()
        elif fault == "stall":
            await asyncio.Event().wait()
        elif fault in {"cut", "drip", "huge"}:
            await self._misbehave(writer, fault)
        else:
            await _send(writer, _body(fault, body), headers=_headers(fault))

    async def _misbehave(self, writer: asyncio.StreamWriter, fault: str) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90000000\r\n\r\n{")
        await writer.drain()
        if fault == "cut":
            writer.transport.abort()
            return
        chunk = b" " if fault == "drip" else b" " * 65_536
        for _ in range(2_000):  # 131 MB, far beyond any limit of a client
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0.02 if fault == "drip" else 0)


def _body(fault: Fault, body: Mapping[str, Any]) -> str:
    if fault == "malformed-json":
        return '{"id": "chatcmpl-1", "choices": [{'
    if fault == "html":
        return "<html><body>Please sign in to the hotel's network.</body></html>"
    if fault == "no-choices":
        return json.dumps({"id": "chatcmpl-1", "choices": []})
    content: str | None = json.dumps(INSIGHT) if "response_format" in body else "Nine of ten arrived. [P1]"
    content = {"not-the-schema": "I would rather chat.", "stopped-short": '{"answer": "Nine of', "empty": ""}.get(
        fault, content
    )
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if fault == "refusal":
        message |= {"content": None, "refusal": "I cannot help with that."}
    choice = {"index": 0, "message": message, "finish_reason": "length" if fault == "stopped-short" else "stop"}
    answer: dict[str, Any] = {"id": "chatcmpl-1", "model": f"{body['model']}-2026-10-01", "choices": [choice]}
    if fault == "bare":
        return json.dumps({"choices": [{"message": {"content": content}}]})
    return json.dumps(answer if fault == "no-usage" else answer | {"usage": USAGE})


def _headers(fault: Fault) -> dict[str, str]:
    kind = "text/html" if fault == "html" else "application/json"
    return {"content-type": kind, "x-request-id": "req-77"}


async def _send(
    writer: asyncio.StreamWriter, text: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> None:
    head = {"content-type": "application/json", **(headers or {}), "content-length": str(len(text.encode()))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"HTTP/1.1 {status} Answer\r\n{lines}\r\n{text}".encode())
    await writer.drain()
