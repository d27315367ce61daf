"""Hedging: a late answer is asked for a second time; the first one wins, and the loser is ended and billed."""

import asyncio
from collections.abc import Sequence

import pytest
from fakes.acting_provider import FOREVER_S, USAGE, Act, ActingProvider, request, texts
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Attempt, Completion, CompletionRequest, Usage
from serving.providers.base import ContentRefused, Overloaded, ProviderError, Unreachable
from serving.providers.hedge import Hedge, hedge_budget
from serving.providers.metering import Metered
from serving.providers.traffic_budget import TrafficBudget

QUICK = Act(pieces=("quick",), wait_s=0.1)
SLOW = Act(pieces=("slow",), wait_s=4.0)
STALLS = Act(pieces=(), wait_s=FOREVER_S)


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def hedge(vendor: ActingProvider, delay_s: float | None = 1.0, extra: float = 9.0) -> Hedge:
    """A hedge after a second, with money for `extra` second attempts."""
    return Hedge(Metered(vendor), lambda _: delay_s, TrafficBudget(share=0.0, start=extra, cap=9.0))


async def answer(provider: Hedge, asked: CompletionRequest, *, streamed: bool) -> str:
    """The text, either way."""
    return "".join(await texts(provider.stream(asked))) if streamed else (await provider.complete(asked)).text


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("acts", "text", "seconds", "asked"),
    [
        ([QUICK, QUICK], "quick", 0.2, 1),  # not late
        ([SLOW, QUICK], "quick", 1.2, 2),  # the second is first
        ([STALLS, QUICK], "quick", 1.2, 2),
        ([SLOW, STALLS], "slow", 8.0, 2),  # the first is first after all
        ([SLOW, Act(pieces=(), error=Overloaded("no"))], "slow", 8.0, 2),  # a failed second is no loss
        ([Act(pieces=(), wait_s=1.5, error=Overloaded("no")), SLOW], "slow", 9.0, 2),  # nor is a failed first
    ],
)
def test_the_first_answer_wins(acts: Sequence[Act], text: str, seconds: float, asked: int, streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """Whoever answers first is the answer; a failure waits for the other, and every attempt is billed once."""

    @on_virtual_clock
    async def main() -> None:
        bill: list[Attempt] = []
        vendor, started = ActingProvider(acts=acts), now()
        assert await answer(hedge(vendor), request(60, bill=bill), streamed=streamed) == text
        assert now() - started == pytest.approx(seconds)
        assert (len(vendor.requests), len(bill), vendor.running) == (asked, asked, 0)

    main()


@on_virtual_clock
async def test_the_loser_is_billed() -> None:
    """The cancelled attempt is told with an estimate before the winner's answer is handed on."""
    bill: list[Attempt] = []
    await hedge(ActingProvider(acts=[SLOW, QUICK])).complete(request(60, bill=bill))
    assert {(a.outcome, a.usage, a.estimated) for a in bill} == {
        ("answered", USAGE, False),
        ("cancelled", Usage(input=2), True),
    }


@pytest.mark.parametrize("streamed", [False, True])
def test_when_both_fail_the_first_error_is_told(streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """The error is that of the attempt that would have been made anyway."""

    @on_virtual_clock
    async def main() -> None:
        vendor = ActingProvider(
            acts=[Act(pieces=(), wait_s=3.0, error=Unreachable("1")), Act(pieces=(), error=Overloaded("2"))]
        )
        with pytest.raises(Unreachable):
            await answer(hedge(vendor), request(60), streamed=streamed)

    main()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("first_s", "second_s"), [(1.5, 4.0), (9.0, 2.0), (3.0, 2.0)])
def test_refused_content_ends_the_race(first_s: float, second_s: float, streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """A refusal is the answer, whichever attempt met it, also when the other one answers in the same moment."""

    @on_virtual_clock
    async def main() -> None:
        refused = ContentRefused("declined")
        first = Act(pieces=(), wait_s=first_s, error=refused if first_s < 9 else None)
        second = Act(pieces=(), wait_s=second_s, error=refused if first_s == 9 else None)
        vendor, started = ActingProvider(acts=[first, second]), now()
        with pytest.raises(ContentRefused):
            await answer(hedge(vendor), request(60), streamed=streamed)
        assert now() - started == pytest.approx(min(first_s, 1.0 + second_s))
        assert (len(vendor.requests), vendor.running) == (2, 0)

    main()


@pytest.mark.parametrize(("delay_s", "extra", "left_s"), [(None, 9.0, 60), (1.0, 0.0, 60), (9.0, 9.0, 8.5)])
@pytest.mark.parametrize("streamed", [False, True])
def test_when_nobody_is_asked_twice(delay_s: float | None, extra: float, left_s: float, streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """Without experience, money or time for it, one attempt is all there is."""

    @on_virtual_clock
    async def main() -> None:
        vendor = ActingProvider(acts=[SLOW])
        assert await answer(hedge(vendor, delay_s, extra), request(left_s), streamed=streamed) == "slow"
        assert len(vendor.requests) == 1

    main()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cancelled_race_leaves_nobody_running(streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """Who is cancelled while two attempts run ends and pays both."""

    @on_virtual_clock
    async def main() -> None:
        bill: list[Attempt] = []
        vendor = ActingProvider(acts=[STALLS])
        task = asyncio.create_task(answer(hedge(vendor), request(60, bill=bill), streamed=streamed))
        await asyncio.sleep(2)
        assert vendor.running == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (vendor.running, [a.outcome for a in bill]) == (0, ["cancelled", "cancelled"])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    main()


@on_virtual_clock
async def test_the_loser_ends_even_when_the_reader_is_cancelled_meanwhile() -> None:
    """A cancellation while the loser is being ended waits for it, and then goes on."""

    class Stubborn(ActingProvider):
        """Takes a second to give up."""

        async def complete(self, request: CompletionRequest) -> Completion:
            try:
                return await super().complete(request)
            except asyncio.CancelledError:
                await asyncio.sleep(1)
                self.closed = True
                raise

    vendor = Stubborn(acts=[STALLS, QUICK])
    task = asyncio.create_task(hedge(vendor).complete(request(60)))
    await asyncio.sleep(1.5)  # the winner is there, the loser is giving up
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert vendor.closed


@on_virtual_clock
async def test_two_streams_that_begin_in_the_same_moment() -> None:
    """One is read to its end, the other is closed and billed at once."""
    bill: list[Attempt] = []
    vendor = ActingProvider(acts=[Act(pieces=("a", "b"), wait_s=2.0), Act(pieces=("a", "b"), wait_s=1.0)])
    events = hedge(vendor).stream(request(60, bill=bill))
    await anext(events)
    assert (vendor.running, [a.outcome for a in bill]) == (1, ["cancelled"])
    await events.aclose()
    assert vendor.running == 0


@on_virtual_clock
async def test_a_stream_is_raced_to_its_first_piece_only() -> None:
    """Once a stream has begun, its failures are the caller's."""
    vendor = ActingProvider(acts=[STALLS, Act(pieces=("x",), wait_s=0.1, error=Unreachable("cut"))])
    with pytest.raises(ProviderError, match="cut"):
        await texts(hedge(vendor).stream(request(60)))


@pytest.mark.parametrize("offered", [10, 100, 1_000])
def test_extra_calls_stay_below_a_twentieth(offered: int) -> None:
    """However many answers are late, at most 5 % more calls are made."""

    @on_virtual_clock
    async def main() -> None:
        vendor = ActingProvider(acts=[SLOW])
        hedged = Hedge(vendor, lambda _: 1.0, hedge_budget())
        for _ in range(offered):
            await hedged.complete(request(60))
        assert offered * 1.04 - 1 <= len(vendor.requests) <= offered * 1.05

    main()


@on_virtual_clock
async def test_a_model_that_reasons_is_not_asked_twice() -> None:
    """A stream that has begun is not late, however long its first words take."""
    vendor = ActingProvider(acts=[Act(pieces=("slow",), wait_s=5.0, begins=True)])
    assert await texts(hedge(vendor).stream(request(60))) == ["slow"]
    assert len(vendor.requests) == 1
