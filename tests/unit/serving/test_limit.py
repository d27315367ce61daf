"""The limit: so many at once, a short queue in order of arrival, and a clear word to the rest."""

import asyncio
from contextlib import aclosing

import pytest
from fakes.acting_provider import Act, ActingProvider, request, texts
from fakes.virtual_clock import on_virtual_clock
from hypothesis import given
from hypothesis import strategies as st

from serving.providers.base import CircuitOpen, Saturated
from serving.providers.limit import HELD_S_GUESS, Limit


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def limit(vendor: ActingProvider, concurrent_max: int = 2, waiting_max: int = 3) -> Limit:
    """A small limit."""
    return Limit(vendor, concurrent_max=concurrent_max, waiting_max=waiting_max)


@on_virtual_clock
async def test_no_more_than_allowed_run_at_once() -> None:
    """Those beyond the limit wait, and all are served, in order of arrival."""
    vendor = ActingProvider(acts=[Act(pieces=(), wait_s=1.0)])
    limited = limit(vendor)
    await asyncio.gather(*(limited.complete(request(9, prompt=str(n))) for n in range(5)))
    assert vendor.most == 2
    assert [asked.messages[0].content for asked in vendor.requests] == ["0", "1", "2", "3", "4"]


@on_virtual_clock
async def test_a_full_queue_says_so_at_once() -> None:
    """Nobody is kept waiting for a turn that is not there, and the count is told."""
    told: list[tuple[str, str]] = []
    limited = Limit(
        ActingProvider(acts=[Act(wait_s=1.0)]),
        concurrent_max=1,
        waiting_max=1,
        count=lambda name, event: told.append((name, event)),
    )
    busy = [asyncio.create_task(limited.complete(request(9))) for _ in range(2)]
    await asyncio.sleep(0.5)
    started = now()
    with pytest.raises(Saturated) as caught:
        await limited.complete(request(9))
    assert (now(), caught.value.code, told) == (started, "rate-limited", [("a", "saturated")])
    assert caught.value.details == {"retry_after_s": caught.value.retry_after_s}
    await asyncio.gather(*busy)


@on_virtual_clock
async def test_the_wait_is_what_the_queue_takes() -> None:
    """Retry-After is the time in which those who are here will have been served, from how long requests last."""
    limited = limit(ActingProvider(acts=[Act(pieces=(), wait_s=10.0)]), waiting_max=6)
    for _ in range(30):
        await asyncio.gather(*(limited.complete(request()) for _ in range(2)))
    busy = [asyncio.create_task(limited.complete(request())) for _ in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(Saturated) as caught:
        await limited.complete(request())
    started = now()
    await asyncio.gather(*busy)
    assert caught.value.retry_after_s == pytest.approx(now() - started, rel=0.2)


@on_virtual_clock
async def test_nobody_waits_for_a_provider_that_is_left_alone() -> None:
    """Who would have to wait is told at once why it makes no sense; who has a turn is left to the breaker inside."""
    vendor = ActingProvider(acts=[Act(pieces=(), wait_s=1.0)])
    limited = Limit(vendor, concurrent_max=1, refusal=lambda: CircuitOpen("left alone", retry_after_s=3.0))
    busy = asyncio.create_task(limited.complete(request(9)))
    await asyncio.sleep(0)
    started = now()
    with pytest.raises(CircuitOpen):
        await limited.complete(request(9))
    assert (now(), limited.waiting) == (started, 0)
    await busy


@pytest.mark.parametrize("streamed", [False, True])
def test_turns_that_are_not_used_do_not_shorten_the_wait(streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """What the breaker inside keeps back is no request that was served quickly."""

    @on_virtual_clock
    async def main() -> None:
        kept_back = Act(pieces=(), error=CircuitOpen("no", retry_after_s=1.0))
        limited = limit(ActingProvider(acts=[*[kept_back] * 50, Act(wait_s=9.0)]), concurrent_max=1, waiting_max=9)
        for _ in range(50):
            with pytest.raises(CircuitOpen):
                await (texts(limited.stream(request())) if streamed else limited.complete(request()))
        busy = [asyncio.create_task(limited.complete(request())) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(Saturated) as caught:
            await limited.complete(request())
        assert caught.value.retry_after_s == 10 * HELD_S_GUESS
        await asyncio.gather(*busy)

    main()


@on_virtual_clock
async def test_no_turn_before_the_deadline() -> None:
    """Who waits in vain learns it at the deadline; the provider was not asked."""
    vendor = ActingProvider(acts=[Act(pieces=(), wait_s=5.0)])
    limited = limit(vendor, concurrent_max=1)
    busy = asyncio.create_task(limited.complete(request(9)))
    await asyncio.sleep(0)
    end = now() + 3.0
    with pytest.raises(Saturated):
        await limited.complete(request(3))
    assert (now(), len(vendor.requests), limited.waiting) == (end, 1, 0)
    await busy


@on_virtual_clock
async def test_a_stream_keeps_its_turn_until_it_is_closed() -> None:
    """A reader who leaves makes room at once."""
    limited = limit(ActingProvider(acts=[Act(pieces=("a", "b"), wait_s=1.0)]), concurrent_max=1)
    async with aclosing(limited.stream(request(9))) as events:
        await anext(events)
        assert limited.running == 1
        second = asyncio.create_task(texts(limited.stream(request(9))))
        await asyncio.sleep(0)
        assert limited.waiting == 1
    assert await second == ["a", "b"]
    assert (limited.running, limited.waiting) == (0, 0)


@on_virtual_clock
async def test_a_turn_that_comes_too_late_goes_to_the_next() -> None:
    """Who is cancelled in the moment in which its turn comes hands it on."""
    limited = limit(ActingProvider(acts=[Act(pieces=("a",), wait_s=1.0)]), concurrent_max=1)
    events = limited.stream(request(9))
    await anext(events)
    second, third = (asyncio.create_task(limited.complete(request(9))) for _ in range(2))
    await asyncio.sleep(0)
    await events.aclose()  # gives the turn to the second, which has not run since
    second.cancel()
    assert (await third).text == "a"
    assert (second.cancelled(), limited.running) == (True, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.5, 1.0, 2.0]),  # arrives
            st.sampled_from([None, 0.0, 0.5, 1.0, 2.0]),  # is cancelled so long after
            st.sampled_from([0.5, 1.0, 3.0, 9.0]),  # has so long
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(1, 3),
    st.integers(0, 4),
)
@on_virtual_clock
async def test_nobody_leaves_a_turn_behind(
    callers: list[tuple[float, float | None, float, bool]], concurrent_max: int, waiting_max: int
) -> None:
    """However callers arrive, give up and run out of time, the limit holds, and all turns are free at the end."""
    vendor = ActingProvider(acts=[Act(pieces=("x",), wait_s=0.5)])
    limited = limit(vendor, concurrent_max, waiting_max)

    async def call(arrives_s: float, left_s: float, *, streamed: bool) -> None:
        await asyncio.sleep(arrives_s)
        asked = request(left_s)
        await (texts(limited.stream(asked)) if streamed else limited.complete(asked))

    tasks: list[asyncio.Task[None]] = []
    for arrives_s, cancelled_s, left_s, streamed in callers:
        task = asyncio.create_task(call(arrives_s, left_s, streamed=streamed))
        tasks.append(task)
        if cancelled_s is not None:
            asyncio.get_running_loop().call_later(arrives_s + cancelled_s, task.cancel)
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert ended is None or isinstance(ended, Saturated | asyncio.CancelledError)
    assert vendor.most <= concurrent_max
    assert (limited.running, limited.waiting, vendor.running) == (0, 0, 0)
    await limited.complete(request(9))
