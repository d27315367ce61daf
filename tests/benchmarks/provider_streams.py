"""What the provider layer adds to the time until a stream's first piece.

16 streams at a time are read through `Chain.stream` of each adapter, and through a byte relay that sends the same kind
of request over its own socket and looks for the first piece in the bytes: the least that anything in Python can do. The
vendor (the tests' fake, real HTTP) begins after 60 ms and sends a piece every 20 ms; who reads takes turns, and the
callers of a turn begin at different moments, as users do. The promise is a p99 at most 5 ms later than the relay's.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from rich.progress import Progress

from registry.messages import Delta
from serving.providers.chain import Chain
from tests.benchmarks.fast_vendor import FastVendor, fast_vendor
from tests.benchmarks.measurement import Figure, percentile, settle, undisturbed
from tests.benchmarks.provider_requests import APIS, CLAUDE, GPT, PATHS, QUESTION, SYSTEM, Api, adapter, request

STREAMS_AT_ONCE, STREAMS_A_CALLER, TURNS = 16, 6, 11
LATENCY_MS, GAP_MS = 60, 20
DEADLINE_S = 30.0
ADDED_MS_MAX = 5.0
SEED = 20_261_123
MS = 1000.0

Read = Callable[[], Awaitable[float]]
"""Reads one stream to its end; gives the seconds until its first piece."""
FIRST_PIECE: dict[Api, bytes] = {
    "messages": b'"text_delta"',
    "chat": b'"delta": {"content": "',
    "responses": b'"response.output_text.delta"',
}
END = b"0\r\n\r\n"


@dataclass
class Arm:
    """One way of reading one format."""

    name: str
    read: Read
    ms: list[float] = field(default_factory=list[float])


class ByteRelay:
    """Sends a request over a kept connection and passes the answer's bytes on, unread."""

    def __init__(self, url: str, api: Api) -> None:
        self._address = urlsplit(url)
        body = json.dumps(
            {
                "model": CLAUDE if api == "messages" else GPT,
                "stream": True,
                "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
            }
        )
        head = f"POST {PATHS[api]} HTTP/1.1\r\nhost: {self._address.netloc}\r\ncontent-type: application/json\r\n"
        self._request = f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()
        self._first = FIRST_PIECE[api]
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def read(self) -> float:
        """One stream, to its end."""
        started = time.perf_counter()
        reader, writer = await self._connection()
        writer.write(self._request)
        first_s, seen = 0.0, b""
        while not seen.endswith(END):
            piece = await reader.read(65_536)
            if not piece:
                raise ConnectionError("the vendor closed the connection")
            seen += piece
            if not first_s and self._first in seen:
                first_s = time.perf_counter() - started
        self._idle.append((reader, writer))
        return first_s

    async def aclose(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._idle:
            return self._idle.pop()
        return await asyncio.open_connection(self._address.hostname, self._address.port)


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Time to the first piece by adapter."""
    with undisturbed(), fast_vendor(latency_ms=LATENCY_MS, gap_ms=GAP_MS) as vendor:
        arms = uvloop.run(_in_turn(vendor, progress))
    for api in APIS:
        layer, relay = arms[api, "layer"], arms[api, "relay"]
        for percent in (50, 99):
            mine, other = percentile(layer.ms, percent), percentile(relay.ms, percent)
            last = percent == 99
            yield Figure(name=f"{api}: byte relay, first piece p{percent}", value=other, unit="ms", n=len(relay.ms))
            yield Figure(
                name=f"{api}: layer, first piece p{percent}",
                value=mine,
                unit="ms",
                n=len(layer.ms),
                reference="byte relay",
                ratio=mine / other,
                promise=f"≤ {ADDED_MS_MAX:g} ms more" if last else None,
                kept=mine <= other + ADDED_MS_MAX if last else None,
            )


async def _in_turn(vendor: FastVendor, progress: Progress) -> dict[tuple[Api, str], Arm]:
    chains = {api: Chain([adapter(api, vendor.url)]) for api in APIS}
    relays = {api: ByteRelay(vendor.url, api) for api in APIS}
    arms: dict[tuple[Api, str], Arm] = {}
    for api in APIS:
        arms[api, "layer"] = Arm(f"{api} layer", partial(_first_piece_s, chains[api]))
        arms[api, "relay"] = Arm(f"{api} relay", relays[api].read)
    chance = random.Random(SEED)  # noqa: S311 - no secret
    try:
        for arm in arms.values():
            await asyncio.gather(*(arm.read() for _ in range(STREAMS_AT_ONCE)))  # connections
        settle()
        for _ in progress.track(range(TURNS), description="provider_streams: turns"):
            for arm in arms.values():
                await _turn(arm, chance)
    finally:
        for closing in (*chains.values(), *relays.values()):
            await closing.aclose()
    return arms


async def _turn(arm: Arm, chance: random.Random) -> None:
    async def caller(begin_s: float) -> None:
        await asyncio.sleep(begin_s)
        for _ in range(STREAMS_A_CALLER):
            arm.ms.append(await arm.read() * MS)

    await asyncio.gather(*(caller(chance.uniform(0, LATENCY_MS / MS)) for _ in range(STREAMS_AT_ONCE)))


async def _first_piece_s(chain: Chain) -> float:
    started, first_s = time.perf_counter(), 0.0
    async with aclosing(chain.stream(request(asyncio.get_running_loop().time() + DEADLINE_S))) as events:
        async for event in events:
            if not first_s and isinstance(event, Delta):
                first_s = time.perf_counter() - started
    return first_s
