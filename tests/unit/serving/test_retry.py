"""Retries: only what is worth it, after the right wait, and never much more traffic."""

import asyncio

import pytest
from fakes.acting_provider import Act, ActingProvider, request, texts
from fakes.virtual_clock import on_virtual_clock
from hypothesis import given
from hypothesis import strategies as st

from registry.messages import Completion
from serving.providers.base import (
    AuthenticationFailed,
    CircuitOpen,
    ContentRefused,
    ContextTooLong,
    Garbled,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Saturated,
    SchemaFailure,
    TimedOut,
    Unreachable,
)
from serving.providers.retry import BASE_S, Retry, retry_budget
from serving.providers.traffic_budget import TrafficBudget


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def longest(_low: float, high: float) -> float:
    """Draws the longest wait."""
    return high


def retry(vendor: ActingProvider) -> Retry:
    """A retry with money to spend that always waits its longest."""
    return Retry(vendor, TrafficBudget(share=0.0, start=9.0, cap=9.0), uniform=longest)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (RateLimited("no"), 3),
        (RateLimited("no", retry_after_s=5.0), 3),
        (RateLimited("no", retry_after_s=5.1), 1),
        (RateLimited("no", should_retry=False), 1),
        (RateLimited("no", retry_after_s=5.1, should_retry=True), 1),
        (Overloaded("no"), 3),
        (Overloaded("no", retry_after_s=5.1), 1),
        (Overloaded("no", should_retry=False), 1),
        (Unreachable("no"), 3),
        (TimedOut("no"), 3),
        (Garbled("no"), 3),
        (Rejected("no"), 1),
        (Rejected("no", should_retry=True), 3),
        (ContextTooLong("no"), 1),
        (SchemaFailure("no"), 1),
        (AuthenticationFailed("no"), 1),
        (ModelNotFound("no"), 1),
        (ContentRefused("no"), 1),
        (CircuitOpen("no", retry_after_s=0.1), 1),
        (Saturated("no", retry_after_s=0.1), 1),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_worth_it(error: ProviderError, asked: int, streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """Passing failures, or what `x-should-retry` names, are tried three times in all, unless the vendor wants rest."""

    @on_virtual_clock
    async def main() -> None:
        vendor = ActingProvider(acts=[Act(pieces=(), error=error)])
        with pytest.raises(type(error)):
            await (texts(retry(vendor).stream(request(60))) if streamed else retry(vendor).complete(request(60)))
        assert len(vendor.requests) == asked

    main()


@on_virtual_clock
async def test_the_answer_of_a_retry_is_the_answer() -> None:
    """The caller does not notice that a first attempt failed; the count does."""
    told: list[str] = []
    vendor = ActingProvider(acts=[Act(error=Overloaded("no")), Act()])
    retried = Retry(vendor, retry_budget(), count=lambda _, event: told.append(event))
    assert (await retried.complete(request(9))).text == "yes"
    assert told == ["retried"]


@on_virtual_clock
async def test_waits_grow_and_honour_retry_after() -> None:
    """The longest waits double, on top of what the vendor asks for, with a 503 as with a 429."""
    errors = [RateLimited("no", retry_after_s=2.0), Overloaded("no", retry_after_s=3.0)]
    vendor = ActingProvider(acts=[*(Act(pieces=(), error=error) for error in errors), Act()])
    started = now()
    await retry(vendor).complete(request(60))
    assert now() - started == pytest.approx(2.0 + BASE_S + 3.0 + 2 * BASE_S)


@pytest.mark.parametrize("left_s", [2.2, 2.0, 0.1])
def test_no_wait_beyond_the_deadline(left_s: float) -> None:
    """A wait that the deadline does not allow is not begun: the next provider is asked instead."""

    @on_virtual_clock
    async def main() -> None:
        vendor = ActingProvider(acts=[Act(pieces=(), error=RateLimited("no", retry_after_s=2.0)), Act()])
        started = now()
        with pytest.raises(RateLimited):
            await retry(vendor).complete(request(left_s))
        assert (now(), len(vendor.requests)) == (started, 1)

    main()


@on_virtual_clock
async def test_a_stream_that_began_is_not_repeated() -> None:
    """After the first piece a failure is the caller's; before it another attempt is made."""
    late = ActingProvider(acts=[Act(pieces=("x",), error=Unreachable("cut")), Act()])
    with pytest.raises(Unreachable):
        await texts(retry(late).stream(request(9)))
    assert len(late.requests) == 1
    early = ActingProvider(acts=[Act(pieces=(), error=Unreachable("cut")), Act(pieces=("y",))])
    events = [event async for event in retry(early).stream(request(9))]
    assert isinstance(events[-1], Completion)
    assert (events[-1].text, len(early.requests)) == ("y", 2)


@pytest.mark.parametrize("offered", [1, 10, 200])
def test_a_dead_provider_gets_little_more_traffic(offered: int) -> None:
    """When everything fails, retries are one and at most 8.5 % of the requests that come."""

    @on_virtual_clock
    async def main() -> None:
        vendor = ActingProvider(acts=[Act(pieces=(), error=Unreachable("no"))])
        retried = Retry(vendor, retry_budget(), uniform=longest)
        for _ in range(offered):
            with pytest.raises(Unreachable):
                await retried.complete(request(60))
        assert offered < len(vendor.requests) <= offered + 1 + 0.085 * offered

    main()


@given(
    st.lists(st.booleans(), max_size=400),
    st.sampled_from([0.05, 0.085, 0.1]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([1.0, 10.0, 50.0]),
)
def test_the_budget_is_never_overdrawn(asks: list[bool], share: float, start: float, cap: float) -> None:
    """Whenever extra requests are asked for, no more than start + share * offered are granted."""
    budget = TrafficBudget(share=share, start=start, cap=cap)
    granted = 0
    for offered, wants in enumerate(asks, 1):
        budget.offer()
        granted += wants and budget.take()
        assert granted <= start + share * offered + 1e-6


def test_a_quiet_time_saves_up_to_the_cap() -> None:
    """After any number of offered requests, no more than the cap can be spent at once."""
    budget = TrafficBudget(share=0.085, start=1.0, cap=10.0)
    for _ in range(100_000):
        budget.offer()
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]
