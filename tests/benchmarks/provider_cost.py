"""CPU of a call through the whole provider layer over the bare call of the official SDK.

The layer is the chain with all its wrappers, its board in a shared file, and the Prometheus observer; the reference is
what a developer writes with the SDK: `create`, and for streams the iteration over its events. Both ask the same fake
vendor over real HTTP with the same texts, in one loop of this process (uvloop, as `assay serve` has it), taking turns
in rounds; CPU is the process's own over a turn. The promise is a ratio of 1.25.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop
from rich.progress import Progress

from registry.messages import Completion, Delta
from serving.metrics import Metrics
from serving.providers.board import Board
from serving.providers.chain import Chain
from tests.benchmarks.bare_sdk import BareSdk
from tests.benchmarks.fast_vendor import FastVendor, fast_vendor
from tests.benchmarks.measurement import Figure, over_rounds
from tests.benchmarks.provider_requests import APIS, adapter, request

ROUNDS, CALLS_A_TURN, CALLERS = 12, 80, 8
DEADLINE_S = 30.0
RATIO_MAX = 1.25
MS = 1000.0

Call = Callable[[], Awaitable[str]]


@dataclass
class Pair:
    """A call through the layer and the SDK's bare one, with the CPU of both, a value a round."""

    name: str
    layer: Call
    bare: Call
    layer_ms: list[float] = field(default_factory=list[float])
    bare_ms: list[float] = field(default_factory=list[float])

    async def round(self, *, layer_first: bool) -> None:
        """A turn each."""
        for is_layer in (layer_first, not layer_first):
            spent = await _turn(self.layer if is_layer else self.bare)
            (self.layer_ms if is_layer else self.bare_ms).append(spent)


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """CPU a call by API, streamed or not."""
    with fast_vendor(latency_ms=0) as vendor:
        pairs = uvloop.run(_measure(vendor, folder / "board", progress))
    n = ROUNDS * CALLS_A_TURN
    for pair in pairs:
        yield over_rounds(f"{pair.name}, the SDK alone", pair.bare_ms, "CPU ms", n=n)
        yield over_rounds(
            f"{pair.name}, the layer",
            pair.layer_ms,
            "CPU ms",
            n=n,
            reference=("the SDK alone", pair.bare_ms),
            ratio_at_most=RATIO_MAX,
        )


async def _measure(vendor: FastVendor, board_path: Path, progress: Progress) -> list[Pair]:
    """All pairs, taking turns."""
    board = Board.shared(board_path)
    observers = (Metrics().observe_attempt,)
    chains = {api: Chain([adapter(api, vendor.url)], board=board, observers=observers) for api in APIS}
    bare = BareSdk(vendor.url)
    whole = [Pair(api, partial(_complete, chains[api]), partial(bare.complete, api)) for api in APIS]
    streams = [Pair(f"{api} streamed", partial(_stream, chains[api]), partial(bare.stream, api)) for api in APIS]
    pairs = [*whole, *streams]
    try:
        for pair in pairs:
            if await pair.layer() != await pair.bare():
                raise ValueError(f"{pair.name}: the layer and the SDK give different answers")
            await _turn(pair.layer)
            await _turn(pair.bare)
        for number in progress.track(range(ROUNDS), description="provider_cost: rounds"):
            for pair in pairs:
                await pair.round(layer_first=number % 2 == 0)
    finally:
        await bare.aclose()
        for chain in chains.values():
            await chain.aclose()
        board.close()
    return pairs


async def _turn(call: Call) -> float:
    """CPU milliseconds a call, over some calls by a few callers."""

    async def caller() -> None:
        for _ in range(CALLS_A_TURN // CALLERS):
            await call()

    before = time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (time.process_time() - before) * MS / CALLS_A_TURN


async def _complete(chain: Chain) -> str:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    return (await chain.complete(request(deadline))).text


async def _stream(chain: Chain) -> str:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    pieces: list[str] = []
    whole: Completion | None = None
    async with aclosing(chain.stream(request(deadline))) as events:
        async for event in events:
            if isinstance(event, Delta):
                pieces.append(event.text)
            else:
                whole = event
    if whole is None or whole.text != "".join(pieces):
        raise ValueError("a stream's completion is not its deltas joined")
    return whole.text
