"""The fake vendor for benchmarks: a process of its own, answers made once, as little work a call as possible.

    python tests/fakes/fake_vendor_process.py --port 19200 --latency-ms 60 --straggler-share .05 --straggler-ms 1000

It answers like `fake_vendor` and checks nothing. `GET /stats` says what reached it, `GET /arrivals` when (in
`time.monotonic()`); `PUT /fault` with a fault's name, and its share of the calls behind it when it is not all
(`server-error 0.2`), switches the fault.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]  # run as a program, only its own folder would be there

from fakes.fake_anthropic import Anthropic  # noqa: E402 - after the path
from fakes.fake_vendor import DATED, FORMATS, INSIGHT, REQUEST_ID, TEXT  # noqa: E402
from fakes.fake_vendor_faults import REFUSALS  # noqa: E402
from fakes.fake_vendor_wire import Format, Reply  # noqa: E402

ARRIVALS_KEPT = 20_000
_MODEL = re.compile(rb'"model": ?"([^"]*)"')
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_OTHER_FAULTS = {"none", "reset", "stall", "stall-mid", "cut"}
Parts = tuple[bytes, ...]
"""What is written at once, then, `gap` seconds apart, the rest."""


class Vendor:
    """What all connections share: settings, counts, answers that were made before."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.latency_s: float = options.latency_ms / 1000
        self.straggler_s: float = options.straggler_ms / 1000
        self.straggler_share: float = options.straggler_share
        self.gap_s: float = options.gap_ms / 1000
        self.random = random.Random(options.seed)  # noqa: S311 - chooses stragglers
        self.fault, self.fault_share = "none", 1.0
        self.switch(f"{options.fault} {options.fault_share}")
        self.counts = dict.fromkeys(("calls", "failed", "pings", "hangups", "open", "peak"), 0)
        self.arrivals: deque[float] = deque(maxlen=ARRIVALS_KEPT)
        self._answers: dict[tuple[str, bool, bool, bytes, bool], Parts] = {}

    def switch(self, words: str) -> None:
        """Show another fault.

        Raises:
            ValueError: no such fault, or no such share.
        """
        name, _, share = words.partition(" ")
        if name not in _OTHER_FAULTS and name not in REFUSALS:
            raise ValueError(f"the fast mode knows {sorted({*_OTHER_FAULTS, *REFUSALS})}, not {name!r}")
        self.fault, self.fault_share = name, float(share or 1)

    def wait_s(self) -> float:
        """Seconds before this call's answer."""
        straggles = self.straggler_share and self.random.random() < self.straggler_share
        return self.straggler_s if straggles else self.latency_s

    def fault_now(self) -> str:
        """The fault that this call sees."""
        shown = self.fault_share >= 1 or self.random.random() < self.fault_share
        return self.fault if shown else "none"

    def answer(self, path: str, body: bytes, fault: str) -> Parts:
        """The answer to a body, made at the first of its kind."""
        found = _MODEL.search(body)
        model = found[1] if found else b"small"
        structured = any(word in body for word in (b'"output_config"', b'"response_format"', b'"format"'))
        stream = b'"stream":true' in body or b'"stream": true' in body
        key = (path, stream, structured, model, fault != "none" or (stream and self.gap_s > 0))
        parts = self._answers.get(key)
        if parts is None:
            parts = _parts(path, model.decode(), stream=stream, structured=structured)
            self._answers[key] = parts = parts if key[-1] else (b"".join(parts),)
        return parts

    def control(self, method: str, path: str, body: bytes) -> bytes:
        """Answer what is not a call for a model."""
        if method == "PUT" and path == "/fault":
            try:
                self.switch(body.decode())
            except ValueError as error:
                return _whole(400, {"error": str(error)})
            return _whole(200, {"fault": self.fault, "share": self.fault_share})
        if path == "/arrivals":
            return _whole(200, list(self.arrivals))
        if path == "/stats":
            return _whole(200, self.counts)
        self.counts["pings"] += 1
        if self.fault in REFUSALS:
            return _refused(FORMATS["/v1/responses"], self.fault)
        return _whole(200, {"id": path.rpartition("/")[2], "object": "model", "created": 0, "owned_by": "fake"})


class Connection(asyncio.Protocol):
    """One client's connection: reads a request, writes its answer when it is time."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what was still to be sent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._busy:
            self._vendor.counts["hangups"] += 1
            self._vendor.counts["open"] -= 1
        self._busy, self._transport = False, None

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end]
        length = _LENGTH.search(head)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < whole:
            return
        body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
        method, path, _ = head[: head.find(b"\r\n")].decode().split(" ")
        assert self._transport is not None
        if path not in FORMATS:
            self._transport.write(self._vendor.control(method, path, body))
        else:
            self._call(path, body)

    def _call(self, path: str, body: bytes) -> None:
        vendor, counts = self._vendor, self._vendor.counts
        loop = asyncio.get_running_loop()
        self._busy = True
        counts["calls"] += 1
        counts["open"] += 1
        counts["peak"] = max(counts["peak"], counts["open"])
        vendor.arrivals.append(time.monotonic())
        fault = vendor.fault_now()
        if fault != "none":
            counts["failed"] += 1
        if fault == "stall":
            return
        if fault in REFUSALS:
            self._send((_refused(FORMATS[path], fault),), fault)
            return
        parts, wait = vendor.answer(path, body, fault), vendor.wait_s()
        if wait:
            self._timer = loop.call_later(wait, self._send, parts, fault)
        else:
            self._send(parts, fault)

    def _send(self, parts: Parts, fault: str) -> None:
        transport = self._transport
        if transport is None:
            return
        if fault == "reset":
            self._done()
            transport.abort()
            return
        transport.write(parts[0])
        if fault == "cut":
            self._done()
            transport.close()
        elif fault == "stall-mid":
            return
        elif len(parts) > 1:
            self._timer = asyncio.get_running_loop().call_later(self._vendor.gap_s, self._send, parts[1:], fault)
        else:
            self._done()

    def _done(self) -> None:
        self._busy = False
        self._vendor.counts["open"] -= 1


def _parts(path: str, model: str, *, stream: bool, structured: bool) -> Parts:
    form = FORMATS[path]
    reply = Reply(text=json.dumps(INSIGHT) if structured else TEXT, model=model + DATED)
    headers = {form.request_id: REQUEST_ID}
    if not stream:
        answer = _whole(200, form.answer(reply), headers)
        return (answer[:-1], answer[-1:])
    events = form.events(reply, {"stream_options": {"include_usage": True}})
    sent = [event.encode() for event in events]
    first = next(at for at, event in enumerate(events) if event.piece)
    groups = [b"".join(sent[: first + 1]), *sent[first + 1 : -2], b"".join(sent[-2:])]
    head = _head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **headers})
    chunks = [b"%x\r\n%b\r\n" % (len(group), group) for group in groups]
    return (head + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n")


def _refused(form: Format, fault: str) -> bytes:
    refusal = REFUSALS[fault]
    status = refusal.anthropic_status if isinstance(form, Anthropic) else None
    return _whole(status or refusal.status, form.error(refusal), refusal.headers)


def _whole(status: int, document: Any, headers: Mapping[str, str] | None = None) -> bytes:
    body = json.dumps(document).encode()
    size = {"content-type": "application/json", "content-length": str(len(body))}
    return _head(status, size | dict(headers or {})) + body


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Answer\r\n{lines}\r\n".encode()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number: Callable[[str], float] = float
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency-ms", type=number, default=0, help="before an answer, or a stream's first piece")
    parser.add_argument("--gap-ms", type=number, default=0, help="between the pieces of a stream; 0: written at once")
    parser.add_argument("--straggler-share", type=number, default=0, help="of the calls, 0 to 1")
    parser.add_argument("--straggler-ms", type=number, default=1000, help="a straggler's latency")
    parser.add_argument("--fault", default="none")
    parser.add_argument("--fault-share", type=number, default=1, help="of the calls, 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


async def _main(options: argparse.Namespace) -> None:
    vendor = Vendor(options)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(vendor), "127.0.0.1", options.port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(_options()))
