"""What a second attempt after the observed p95 does to the tail, and how many calls it adds.

A fake vendor over real HTTP answers after 20 ms, but one call in twenty takes a second. The same chain is asked with
and without hedging, in turn, by 16 callers in one loop, each of them with a deadline that never decides. The promise is
a p99 at least 40 % lower for at most 5 % more calls, counted from the first call on, so the time in which the slot
knows no p95 is in it. A vendor without stragglers comes last: there a hedge can only be wrong, and calls are counted
again.
"""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from rich.progress import Progress

from registry.messages import Attempt
from serving.providers.chain import Chain
from tests.benchmarks.fast_vendor import FastVendor, fast_vendor
from tests.benchmarks.measurement import Figure, percentile, settle, undisturbed
from tests.benchmarks.provider_requests import adapter, request

PAIRS, STEADY_PAIRS, WARM_UP = 4_000, 2_000, 400
CALLERS = 16
LATENCY_MS, STRAGGLER_MS, STRAGGLER_SHARE = 20, 1_000, 0.05
DEADLINE_S = 20.0
P99_RATIO_MAX, EXTRA_CALLS_MAX = 0.6, 0.05
MS = 1000.0


@dataclass
class Arm:
    """One chain, with what its callers saw."""

    chain: Chain
    ms: list[float] = field(default_factory=list[float])
    asked: int = 0
    attempts: int = 0

    async def ask(self, *, counts: bool) -> None:
        """One question; `counts` says whether its latency does."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.asked += 1
        await self.chain.complete(request(started + DEADLINE_S, self._attempted))
        if counts:
            self.ms.append((loop.time() - started) * MS)

    def _attempted(self, _: Attempt) -> None:
        self.attempts += 1

    @property
    def extra(self) -> float:
        """Share of calls beyond one a question."""
        return self.attempts / self.asked - 1


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Percentiles with and without, and extra calls."""
    stragglers = {"straggler_share": STRAGGLER_SHARE, "straggler_ms": STRAGGLER_MS}
    with undisturbed(), fast_vendor(latency_ms=LATENCY_MS, **stragglers) as vendor:
        hedged, plain = uvloop.run(_in_turn(vendor, PAIRS, progress))
        reached = vendor.calls()
    if reached != hedged.attempts + plain.attempts:
        raise ValueError(f"the vendor saw {reached} calls, the chains told of {hedged.attempts + plain.attempts}")
    for percent in (50, 95, 99):
        mine, other = percentile(hedged.ms, percent), percentile(plain.ms, percent)
        yield Figure(name=f"without hedging, p{percent}", value=other, unit="ms", n=len(plain.ms))
        yield Figure(
            name=f"with hedging, p{percent}",
            value=mine,
            unit="ms",
            n=len(hedged.ms),
            reference="without",
            ratio=mine / other,
            promise="≤ 0.6 times" if percent == 99 else None,
            kept=mine / other <= P99_RATIO_MAX if percent == 99 else None,
        )
    yield _extra("extra calls, 5 % stragglers", hedged)
    with undisturbed(), fast_vendor(latency_ms=LATENCY_MS) as vendor:
        hedged, plain = uvloop.run(_in_turn(vendor, STEADY_PAIRS, progress))
    yield _extra("extra calls, no stragglers", hedged)
    mine, other = percentile(hedged.ms, 99), percentile(plain.ms, 99)
    yield Figure(
        name="no stragglers, with hedging, p99",
        value=mine,
        unit="ms",
        n=len(hedged.ms),
        reference="without",
        ratio=mine / other,
    )


def _extra(name: str, arm: Arm) -> Figure:
    return Figure(
        name=name,
        value=arm.extra * 100,
        unit="%",
        n=arm.asked,
        promise="≤ 5 %",
        kept=arm.extra <= EXTRA_CALLS_MAX,
    )


async def _in_turn(vendor: FastVendor, pairs: int, progress: Progress) -> tuple[Arm, Arm]:
    """Ask both chains so many questions each."""
    hedged = Arm(Chain([adapter("messages", vendor.url)], hedge=True))
    plain = Arm(Chain([adapter("messages", vendor.url)]))
    task = progress.add_task("provider_hedging: pairs", total=pairs + WARM_UP)
    numbers = itertools.count()

    async def caller() -> None:
        while (number := next(numbers)) < pairs + WARM_UP:
            # Who goes first changes, so that neither arm always meets the other's leftovers.
            for arm in (hedged, plain) if number % 2 else (plain, hedged):
                await arm.ask(counts=number >= WARM_UP)
            progress.advance(task)

    try:
        await plain.ask(counts=False)
        settle()
        async with asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(caller())
    finally:
        await hedged.chain.aclose()
        await plain.chain.aclose()
    return hedged, plain
