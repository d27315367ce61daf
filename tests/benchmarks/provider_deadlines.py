"""How far beyond its deadline a call through the chain returns, for every fault that a vendor can show.

Every fault of the tests' fake vendors x its place in the chain x a chain of one to three x streamed or not x a deadline
of 0.3 or 1 s x each adapter first. The vendors before the fault are overloaded, those behind it say nothing at all, so
that nobody ends the call but the deadline, unless the faulty vendor's answer is good or final. 32 calls are under way
in one loop at any time. The reference is a bare `asyncio.timeout_at` around a sleep, with the same deadline in the same
loop: how late the machine itself is. The promise is 50 ms at p99.9.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import uvloop
from fixtures_engine import free_port
from rich.progress import Progress

from registry.messages import Completion
from serving.providers.base import Provider, ProviderError
from serving.providers.chain import Chain
from tests.benchmarks.faulty_vendors import PLACES, every_fault, faulty_vendors, question
from tests.benchmarks.measurement import Figure, settle, undisturbed
from tests.benchmarks.provider_requests import APIS, adapter, request

DEADLINES_S = (0.3, 1.0)
CALLERS = 32
SEED = 20_261_123
OVERSHOOT_MS_MAX = 50.0
MS = 1000.0


@dataclass(frozen=True, slots=True)
class Case:
    """One call to make."""

    faults: tuple[str, ...]
    """One for each vendor of the chain."""
    place: int
    """Where the fault stands that the case is about."""
    apis: tuple[int, ...]
    streamed: bool
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """How a case ended."""

    case: Case
    late_ms: float
    """Beyond the deadline; negative when it was before it."""
    bare_late_ms: float
    """Of the bare time-out."""
    answered: bool


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Overshoot beside the bare time-out's."""
    with undisturbed(), quiet(), faulty_vendors() as urls:
        seen = uvloop.run(_all(urls, _cases(), progress))
    late = [max(one.late_ms, 0.0) for one in seen]
    bare = [max(one.bare_late_ms, 0.0) for one in seen]
    at_end = [one.late_ms for one in seen if one.late_ms > -OVERSHOOT_MS_MAX]
    for name, per_mille in (("p50", 500), ("p99", 990), ("p99.9", 999)):
        mine, other = _per_mille(at_end, per_mille), _per_mille(bare, per_mille)
        yield Figure(name=f"bare time-out, lateness {name}", value=other, unit="ms", n=len(bare))
        yield Figure(name=f"calls that the deadline ended, lateness {name}", value=mine, unit="ms", n=len(at_end))
    worst = _per_mille(late, 999)
    yield Figure(
        name="all calls, beyond the deadline p99.9",
        value=worst,
        unit="ms",
        n=len(late),
        promise=f"≤ {OVERSHOOT_MS_MAX:g} ms",
        kept=worst <= OVERSHOOT_MS_MAX,
    )
    last = max(seen, key=lambda one: one.late_ms)
    case = last.case
    about = f"{case.faults[case.place]}, place {case.place + 1} of {len(case.faults)}"
    about += f", {'streamed' if case.streamed else 'whole'}, {case.deadline_s:g} s"
    yield Figure(name=f"the latest: {about}", value=last.late_ms, unit="ms", n=1)
    answered = sum(one.answered for one in seen)
    yield Figure(name="answered before it", value=100 * answered / len(seen), unit="%", n=len(seen))


@contextmanager
def quiet() -> Generator[None]:
    """Without the warnings of a chain whose vendors are to fail."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _per_mille(values: Sequence[float], part: int) -> float:
    return quantiles(values, n=1000, method="inclusive")[part - 1]


def _cases() -> list[Case]:
    """All of them, in an order that mixes them."""
    chains = [(length, place) for length in range(1, PLACES + 1) for place in range(length)]
    each = itertools.product(every_fault(), chains, (False, True), DEADLINES_S, range(len(APIS)))
    cases = [
        Case(
            faults=("overloaded",) * place + (fault,) + ("stall",) * (length - place - 1),
            place=place,
            apis=tuple((first + at) % len(APIS) for at in range(length)),
            streamed=streamed,
            deadline_s=deadline_s,
        )
        for fault, (length, place), streamed, deadline_s, first in each
    ]
    random.Random(SEED).shuffle(cases)  # noqa: S311 - no secret
    return cases


async def _all(urls: Sequence[str], cases: Sequence[Case], progress: Progress) -> list[Seen]:
    vendors = [[adapter(api, url, name=f"vendor-{place}") for api in APIS] for place, url in enumerate(urls)]
    closed = f"http://127.0.0.1:{free_port()}"
    dead = [[adapter(api, closed, name=f"vendor-{place}") for api in APIS] for place in range(PLACES)]
    task = progress.add_task("provider_deadlines: calls", total=len(cases))
    todo = iter(cases)
    seen: list[Seen] = []

    async def caller() -> None:
        for case in todo:
            # A chain of its own, so that no breaker has been opened by other cases.
            chain = Chain(
                [
                    (dead if fault == "refused" else vendors)[place][api]
                    for place, (fault, api) in enumerate(zip(case.faults, case.apis, strict=True))
                ]
            )
            seen.append(await _one(chain, case))
            progress.advance(task)

    try:
        for vendor in vendors[0]:
            await _one(Chain([vendor]), cases[0])  # the SDKs import when they are first used
        settle()
        async with asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(caller())
    finally:
        for one in itertools.chain.from_iterable((*vendors, *dead)):
            await _close(one)
    return seen


async def _close(provider: Provider) -> None:
    await provider.aclose()


async def _one(chain: Chain, case: Case) -> Seen:
    deadline = asyncio.get_running_loop().time() + case.deadline_s
    bare = asyncio.create_task(_bare_late_ms(deadline))
    answered = False
    with suppress(ProviderError):
        answered = await _ask(chain, case, deadline)
    # The loop's own clock stands still while it works.
    late_ms = (time.monotonic() - deadline) * MS
    return Seen(case, late_ms, await bare, answered)


async def _ask(chain: Chain, case: Case, deadline: float) -> bool:
    asked = request(deadline, text=question(case.faults))
    if not case.streamed:
        return bool(await chain.complete(asked))
    async with aclosing(chain.stream(asked)) as events:
        return any([isinstance(event, Completion) async for event in events])


async def _bare_late_ms(deadline: float) -> float:
    try:
        async with asyncio.timeout_at(deadline):
            await asyncio.sleep(3_600)
    except TimeoutError:
        pass
    return (time.monotonic() - deadline) * MS
