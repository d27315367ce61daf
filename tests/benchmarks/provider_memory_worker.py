"""A worker that holds the provider layer: `python -m tests.benchmarks.provider_memory_worker KIND URL N…`.

It makes so many calls, or streams of which every tenth is left after its second piece, and writes its resident
megabytes after each of the numbers N as a JSON list. It imports nothing that a worker would not.
"""

import asyncio
import gc
import json
import os
import sys
from contextlib import aclosing
from pathlib import Path

import uvloop

from serving.metrics import Metrics
from serving.providers.board import Board
from serving.providers.chain import Chain
from tests.benchmarks.provider_requests import APIS, adapter, request

MEGABYTE = 1_000_000
CALLERS = 16
DEADLINE_S = 30.0
LEAVE_EVERY, LEAVE_AFTER = 10, 2


async def _work(kind: str, url: str, numbers: list[int]) -> list[float]:
    board, metrics = Board.private(), Metrics()
    chains = [Chain([adapter(api, url)], board=board, observers=(metrics.observe_attempt,)) for api in APIS]
    seen: list[float] = []
    for number in numbers:
        await _calls(kind, chains, number)
        gc.collect()
        seen.append(_resident_mb())
    for chain in chains:
        await chain.aclose()
    return seen


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


async def _calls(kind: str, chains: list[Chain], number: int) -> None:
    todo = iter(range(number))

    async def caller() -> None:
        for call in todo:
            chain = chains[call % len(chains)]
            if kind == "calls":
                await chain.complete(request(asyncio.get_running_loop().time() + DEADLINE_S))
            else:
                await _stream(chain, leave=call % LEAVE_EVERY == 0)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())


async def _stream(chain: Chain, *, leave: bool) -> None:
    pieces = 0
    async with aclosing(chain.stream(request(asyncio.get_running_loop().time() + DEADLINE_S))) as events:
        async for _ in events:
            pieces += 1
            if leave and pieces == LEAVE_AFTER:
                return


if __name__ == "__main__":
    json.dump(uvloop.run(_work(sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]])), sys.stdout)
