"""The deadline holds, whatever breaks, wherever, however long the chain, streamed or not: exactly, in virtual time."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

import pytest
from fakes.acting_provider import FOREVER_S, Act, ActingProvider, request
from fakes.virtual_clock import on_virtual_clock
from hypothesis import example, given
from hypothesis import strategies as st

from registry.messages import Attempt, Completion, CompletionRequest
from serving.providers.base import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    Garbled,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    SchemaFailure,
    TimedOut,
    Unreachable,
)
from serving.providers.board import Board
from serving.providers.chain import CHAIN_MAX, Chain
from serving.providers.hedge import Hedge

ERRORS = [
    None,
    RateLimited("no"),
    RateLimited("no", retry_after_s=3.0),
    Overloaded("no"),
    Overloaded("no", should_retry=True),
    TimedOut("no"),
    Unreachable("no"),
    Garbled("no"),
    Rejected("no"),
    ContextTooLong("no"),
    SchemaFailure("no", answer="{"),
    AuthenticationFailed("no"),
    ContentRefused("no"),
]
FLOAT_S = 1e-9
"""What adding and subtracting seconds may round."""

acts = st.builds(
    Act,
    pieces=st.sampled_from([(), ("x",), ("x", "y", "z")]),
    wait_s=st.sampled_from([0.0, 0.2, 1.0, 7.0, FOREVER_S]),
    error=st.sampled_from(ERRORS),
)


@dataclass(frozen=True, slots=True)
class Caller:
    """One request: when it comes, how long it has, and when its caller gives up."""

    arrives_s: float
    left_s: float
    gives_up_s: float | None
    streamed: bool


callers = st.builds(
    Caller,
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.01, 0.7, 4.0, 30.0]),
    st.sampled_from([None, None, 0.3, 2.0]),
    st.booleans(),
)


def virtual_ns() -> int:
    """The board's clock on the loop's time."""
    return round(asyncio.get_running_loop().time() * 1e9)


async def ask(chain: Chain, asked: CompletionRequest, *, streamed: bool) -> None:
    """Ask; every way out is an answer or one of our errors, at the deadline at the latest."""
    answer: object = None
    try:
        if streamed:
            async with aclosing(chain.stream(asked)) as events:
                async for event in events:
                    answer = event
        else:
            answer = await chain.complete(asked)
        assert isinstance(answer, Completion)
    except ProviderError:
        pass
    finally:
        assert asyncio.get_running_loop().time() <= asked.deadline + FLOAT_S


@given(
    st.lists(st.lists(acts, min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(callers, min_size=1, max_size=5),
    st.booleans(),
)
@example(  # a stall at every place of the longest chain
    vendors=[[Act(wait_s=FOREVER_S)]] * CHAIN_MAX,
    everyone=[Caller(0.0, 30.0, None, streamed) for streamed in (False, True)],
    hedged=True,
)
@on_virtual_clock
async def test_nothing_outlives_the_deadline(vendors: list[list[Act]], everyone: list[Caller], hedged: bool) -> None:  # noqa: FBT001 - a parameter
    """Each request ends by its deadline, every attempt is billed once, and neither a task nor a turn is left behind."""
    bill: list[Attempt] = []
    doubles = [ActingProvider(name=f"v{number}", acts=acts) for number, acts in enumerate(vendors)]
    chain = Chain(doubles, board=Board.private(clock=virtual_ns), hedge=hedged, concurrent_max=2)
    for link in chain.links:
        if isinstance(link.provider, Hedge):
            link.provider._delay_s = lambda _: 0.4
            for _ in range(100):
                link.provider._budget.offer()

    async def call(caller: Caller) -> None:
        await asyncio.sleep(caller.arrives_s)
        await ask(chain, request(caller.left_s, bill=bill), streamed=caller.streamed)

    tasks: list[asyncio.Task[None]] = []
    for caller in everyone:
        task = asyncio.create_task(call(caller))
        tasks.append(task)
        if caller.gives_up_s is not None:
            asyncio.get_running_loop().call_later(caller.arrives_s + caller.gives_up_s, task.cancel)
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert ended is None or isinstance(ended, asyncio.CancelledError), ended
    assert len(bill) == sum(len(double.requests) for double in doubles)
    assert [double.running for double in doubles] == [0] * len(doubles)
    assert [(link.limit.running, link.limit.waiting) for link in chain.links] == [(0, 0)] * len(doubles)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("place", range(3))
def test_one_stalled_provider_costs_no_answer(place: int, streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """With one healthy provider left, a provider that stalls at any other place only takes its share of the time."""

    @on_virtual_clock
    async def main() -> None:
        healthy = 2 if place != 2 else 1
        doubles = [
            ActingProvider(name=str(number), acts=[Act(wait_s=0.1 if number == healthy else FOREVER_S)])
            for number in range(3)
        ]
        chain, asked = Chain(doubles, board=Board.private(clock=virtual_ns)), request(8)
        if streamed:
            events = [event async for event in chain.stream(asked)]
            assert isinstance(events[-1], Completion)
        else:
            assert (await chain.complete(asked)).provider == str(healthy)

    main()
