"""CPU of a call through the whole provider layer over the bare call of the official SDK.

The layer is the chain with all its wrappers, its board in a shared file, and the Prometheus observer; the reference is
what a developer writes with the SDK: `create`, and for streams the iteration over its events. Both ask the same fake
vendor over real HTTP with the same texts, in one loop of this process (uvloop, as `assay serve` has it), taking turns
in rounds; CPU is the process's own over a turn. The promise is a ratio of 1.25. A POST of the same size with the HTTP
client below both SDKs comes third: what is left of a call when neither SDK nor layer is there.
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
from tests.benchmarks.fast_vendor import fast_vendor
from tests.benchmarks.measurement import Figure, over_rounds
from tests.benchmarks.provider_requests import APIS, adapter, request

ROUNDS, CALLS_A_TURN, CALLERS = 12, 80, 8
DEADLINE_S = 30.0
RATIO_MAX = 1.25
MS = 1000.0
LAYER, SDK, POST = "the layer", "the SDK alone", "a POST alone"

Call = Callable[[], Awaitable[str]]


@dataclass
class Kind:
    """One kind of call, asked in several ways, with the CPU of each, a value a round."""

    name: str
    ways: dict[str, Call]
    ms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    async def round(self, number: int) -> None:
        """A turn each; who goes first changes."""
        for way in sorted(self.ways, reverse=number % 2 == 1):
            self.ms.setdefault(way, []).append(await _turn(self.ways[way]))


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """CPU a call by API, streamed or not."""
    with fast_vendor() as vendor:
        kinds = uvloop.run(_measure(vendor.url, folder / "board", progress))
    n = ROUNDS * CALLS_A_TURN
    for kind in kinds:
        sdk = (SDK, kind.ms[SDK])
        yield over_rounds(f"{kind.name}, {SDK}", kind.ms[SDK], "CPU ms", n=n)
        layer = kind.ms[LAYER]
        yield over_rounds(f"{kind.name}, {LAYER}", layer, "CPU ms", n=n, reference=sdk, ratio_at_most=RATIO_MAX)
        if POST in kind.ms:
            yield over_rounds(f"{kind.name}, {POST}", kind.ms[POST], "CPU ms", n=n, reference=sdk)


async def _measure(url: str, board_path: Path, progress: Progress) -> list[Kind]:
    """All kinds and ways, taking turns."""
    board = Board.shared(board_path)
    observers = (Metrics().observe_attempt,)
    chains = {api: Chain([adapter(api, url)], board=board, observers=observers) for api in APIS}
    bare = BareSdk(url)
    kinds: list[Kind] = []
    for api in APIS:
        kinds.append(
            Kind(
                api,
                {
                    LAYER: partial(_complete, chains[api]),
                    SDK: partial(bare.complete, api),
                    POST: partial(bare.post, api),
                },
            )
        )
        kinds.append(Kind(f"{api} streamed", {LAYER: partial(_stream, chains[api]), SDK: partial(bare.stream, api)}))
    try:
        for kind in kinds:
            if await kind.ways[LAYER]() != await kind.ways[SDK]():
                raise ValueError(f"{kind.name}: the layer and the SDK give different answers")
            for call in kind.ways.values():
                await _turn(call)
        for number in progress.track(range(ROUNDS), description="provider_cost: rounds"):
            for kind in kinds:
                await kind.round(number)
    finally:
        await bare.aclose()
        for chain in chains.values():
            await chain.aclose()
        board.close()
    return kinds


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
