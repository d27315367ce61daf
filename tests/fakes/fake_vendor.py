"""A fake vendor behind a real socket: Anthropic Messages, OpenAI Chat Completions and Responses, with planted faults.

    async with FakeVendor("stall") as vendor:
        ... vendor.anthropic_url, vendor.openai_url ...
        vendor.fault = "none"                                             # the next request sees it
        vendor.fault = lambda number, body: "overloaded" if number < 3 else "none"

What each fault does stands in `fake_vendor_faults`; how a reply is written in `fake_anthropic` and `fake_openai`.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fakes.fake_anthropic import Anthropic
from fakes.fake_openai import CREATED, Chat, Responses
from fakes.fake_vendor_faults import REFUSALS, Fault, Plan, Refusal
from fakes.fake_vendor_misbehaviour import HUGE_BYTES, Cut, body_pieces, stream_pieces, whole_body
from fakes.fake_vendor_wire import Format, Reply, Stop

INSIGHT = {"answer": "Nine of ten arrived.", "claims": [{"text": "Nine of ten arrived.", "citations": ["P1"]}]}
TEXT = "Nine of ten arrived. [P1]"
REQUEST_ID = "req-77"
DATED = "-2026-10-01"
"""The model that answers is the asked one with this behind it."""
FORMATS: Mapping[str, Format] = {
    "/v1/messages": Anthropic(),
    "/v1/chat/completions": Chat(),
    "/v1/responses": Responses(),
}
_PAGE = "<html><body>Please sign in to the hotel's network.</body></html>"
_WORDS: Mapping[str, str] = {
    "empty": "",
    "not-the-schema": "I would rather chat.",
    "wrong-shape": '{"answer": ["Nine"], "sources": 9}',
    "stopped-short": '{"answer": "Nine of',
    "refusal": "I cannot help with that.",
    "content-filter": "Nine of",
}


@dataclass(frozen=True, kw_only=True)
class _Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class FakeVendor:
    """Listens on a free loopback port for the length of an `async with`."""

    def __init__(self, fault: Plan = "none", *, answer: str | None = None) -> None:
        self.fault: Plan = fault
        self.answer = answer
        """The text of every answer; None for a sentence, or the insights document where a schema is asked for."""
        self.requests: list[dict[str, Any]] = []
        """Bodies, as they came."""
        self.headers: list[dict[str, str]] = []
        """Names and values in lower case, one mapping a body."""
        self.paths: list[str] = []
        """One a body."""
        self.pings = 0
        """Requests without a body."""
        self.complaints: list[str] = []
        """Why a vendor would have refused a request: it was answered with 400."""
        self.connections = 0
        """How many were ever opened."""
        self.hangups = 0
        """Connections that the client closed while an answer was on its way."""
        self.release = asyncio.Event()
        """Set it and what stalls goes on as if nothing had been."""
        self._asked = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._port = 0
        self._errors: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def anthropic_url(self) -> str:
        """Base URL, as Anthropic's SDK wants it."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        """Base URL, as OpenAI's SDK wants it."""
        return f"{self.anthropic_url}/v1"

    async def __aenter__(self) -> Self:
        await self.start()
        if self.fault == "refused":
            await self.stop()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after a `stop` on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Break every connection and refuse new ones, as a process that was killed."""
        if self._server is None:
            return
        self._server.close()
        tasks = list(self._connections)
        for task in tasks:
            self._connections[task].transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        if self._errors:
            raise self._errors[0]  # a mistake of the fake's own

    async def asked(self) -> None:
        """Wait until a request with a body has come."""
        await self._asked.wait()

    async def hung_up(self) -> None:
        """Wait until a client has closed a connection before its answer was whole."""
        await self._hung_up.wait()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections[task] = writer
        self.connections += 1
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The first byte of the next request is awaited beside the answer, so that a hang-up is seen at once.
        first = asyncio.ensure_future(reader.read(1))
        answer: asyncio.Task[None] | None = None
        try:
            while byte := await first:
                request = await _read_request(reader, byte)
                first = asyncio.ensure_future(reader.read(1))
                answer = asyncio.create_task(self._answer(writer, request))
                await asyncio.wait({answer, first}, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    break
                await answer
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if answer is not None and not answer.done():
                answer.cancel()
                self.hangups += 1
                self._hung_up.set()
            first.cancel()
            await asyncio.gather(first, *([answer] if answer else []), return_exceptions=True)
            writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, request: _Request) -> None:
        fault = self._noted(request)
        claude = "anthropic-version" in request.headers  # what pings are told apart by
        form = FORMATS.get(request.path) or FORMATS["/v1/messages" if claude else "/v1/responses"]
        refusal = self._refusal(fault, form, request)
        if fault == "reset":
            writer.transport.abort()
        elif fault == "redirect":
            await _send(writer, {}, status=307, headers={"location": f"http://127.0.0.1:9{request.path}"})
        elif refusal is not None:
            status = refusal.status if not isinstance(form, Anthropic) else refusal.anthropic_status or refusal.status
            headers = {form.request_id: REQUEST_ID, **refusal.headers}
            await _send(writer, form.error(refusal), status=status, headers=headers)
        elif fault == "html":
            await _send(writer, _PAGE, headers={"content-type": "text/html"})
        else:
            if fault == "stall":
                await self.release.wait()
            await self._good_day(writer, request, form, fault)

    async def _good_day(self, writer: asyncio.StreamWriter, request: _Request, form: Format, fault: Fault) -> None:
        headers = {form.request_id: REQUEST_ID}
        if request.method == "GET":
            await _send(writer, _models(request.path), headers=headers)
            return
        reply = _reply(fault, request.body, self.answer)
        if request.body.get("stream"):
            headers |= {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
            pieces = stream_pieces(form.events(reply, request.body), form, fault, self.release)
        else:
            body = whole_body(form.answer(reply), fault)
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
            if fault == "huge":
                headers["content-length"] = str(len(body) + HUGE_BYTES)
            pieces = body_pieces(body, fault, self.release)
        if fault == "compressed":
            headers["content-encoding"] = "gzip"
        writer.write(_head(200, headers))
        chunked = "transfer-encoding" in headers
        try:
            async for piece in pieces:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
        except Cut:
            writer.close()
            return
        writer.write(b"0\r\n\r\n" if chunked else b"")
        await writer.drain()

    def _noted(self, request: _Request) -> Fault:
        if request.method == "GET":
            self.pings += 1
            return self.fault(0, {}) if callable(self.fault) else self.fault
        body = dict(request.body)
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.paths.append(request.path)
        self._asked.set()
        return self.fault(len(self.requests), body) if callable(self.fault) else self.fault

    def _refusal(self, fault: Fault, form: Format, request: _Request) -> Refusal | None:
        taken = fault in {"no-temperature", "no-temperature-uncoded"} and "temperature" not in request.body
        if fault in REFUSALS and not taken:
            return REFUSALS[fault]
        if request.method == "GET":
            return None
        complaint = form.complaint(request.body, request.headers)
        if request.path not in FORMATS or complaint is not None:
            self.complaints.append(complaint or f"no such address: {request.path}")
            return REFUSALS["bad-request"]
        return None


def _reply(fault: Fault, body: Mapping[str, Any], answer: str | None) -> Reply:
    structured = any(name in body for name in ("output_config", "response_format", "text"))
    text = answer if answer is not None else json.dumps(INSIGHT) if structured else TEXT
    if fault == "fenced":
        text = f"Here it is:\n```json\n{text}\n```"
    stops: Mapping[str, Stop] = {"stopped-short": "max_tokens", "refusal": "refusal", "content-filter": "filter"}
    return Reply(
        text=_WORDS.get(fault, text),
        model="another-model-2" if fault == "other-model" else f"{body['model']}{DATED}",
        stop=stops.get(fault, "end"),
        usage=fault not in {"no-usage", "bare"},
        failed=fault == "failed",
    )


def _models(path: str) -> dict[str, Any]:
    name = path.removeprefix("/v1/models").removeprefix("/") or "small"
    model = {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}
    model |= {"type": "model", "display_name": name, "lifecycle": "active", "created_at": "2026-10-01T00:00:00Z"}
    listed = {"object": "list", "data": [model], "has_more": False, "first_id": name, "last_id": name}
    return model if path.startswith("/v1/models/") else listed


async def _read_request(reader: asyncio.StreamReader, first: bytes) -> _Request:
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
    request, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = request.split(" ")
    return _Request(method=method, path=path.partition("?")[0], headers=headers, body=json.loads(body or b"{}"))


async def _send(
    writer: asyncio.StreamWriter,
    body: dict[str, Any] | str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> None:
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    writer.write(
        _head(status, {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})})
    )
    writer.write(data)
    await writer.drain()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Answer\r\n{lines}\r\n".encode()
